package main

import (
	"context"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

func groupChecks() {
	check("commit, and a new member resumes after it", resume)
	check("two members share partitions, one leaves (range)", func() { share("range", kgo.RangeBalancer()) })
	check("two members share partitions, one leaves (cooperative)", func() { share("sticky", kgo.CooperativeStickyBalancer()) })
	check("a static member returns to its partitions", staticMember)
	check("offsets committed and fetched by the admin client", adminCommit)
}

// member is a group consumer that polls by itself and keeps what it holds and what came.
type member struct {
	client   *kgo.Client
	mutex    sync.Mutex
	assigned map[int32]bool
	changes  int
	records  []*kgo.Record
	done     chan struct{}
}

func join(group, t string, opts ...kgo.Opt) *member {
	m := &member{assigned: map[int32]bool{}, done: make(chan struct{})}
	change := func(held bool) func(context.Context, *kgo.Client, map[string][]int32) {
		return func(_ context.Context, _ *kgo.Client, partitions map[string][]int32) {
			m.mutex.Lock()
			defer m.mutex.Unlock()
			for _, p := range partitions[t] {
				m.assigned[p] = held
				m.changes++
			}
		}
	}
	m.client = client(append(opts, kgo.ConsumerGroup(group), kgo.ConsumeTopics(t), kgo.DisableAutoCommit(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.SessionTimeout(6*time.Second),
		kgo.HeartbeatInterval(200*time.Millisecond),
		kgo.OnPartitionsAssigned(change(true)), kgo.OnPartitionsRevoked(change(false)), kgo.OnPartitionsLost(change(false)))...)
	go func() {
		defer close(m.done)
		for {
			fetches := m.client.PollFetches(context.Background())
			if fetches.IsClientClosed() {
				return
			}
			m.mutex.Lock()
			m.records = append(m.records, fetches.Records()...)
			m.mutex.Unlock()
		}
	}()
	return m
}

func (m *member) held() (held []int32, records, changes int) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	for p := int32(0); p < 100; p++ {
		if m.assigned[p] {
			held = append(held, p)
		}
	}
	return held, len(m.records), m.changes
}

func (m *member) leave() {
	m.client.Close()
	<-m.done
}

func settle(what string, holds func() bool) {
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(10 * time.Millisecond) {
		that(time.Now().Before(deadline), "not in time: %s", what)
	}
}

func holds(m *member, partitions int) bool {
	held, _, _ := m.held()
	return len(held) == partitions
}

func numbers(t string, partitions, count int) []*kgo.Record {
	c := client()
	defer c.Close()
	var sent []*kgo.Record
	for i := 0; i < count; i++ {
		sent = append(sent, &kgo.Record{Topic: t, Partition: int32(i % partitions), Value: []byte(strconv.Itoa(i))})
	}
	send(c, sent)
	return sent
}

func resume() {
	t, group := topic("resume", 1), name("resume-group")
	sent, _ := fill(t, 40)
	first := join(group, t)
	settle("40 records", func() bool { _, records, _ := first.held(); return records == 40 })
	must(first.client.CommitRecords(within(patience), sent[24]), "commit")
	first.leave()
	second := join(group, t)
	settle("15 records", func() bool { _, records, _ := second.held(); return records >= 15 })
	compare(sent[25:], second.records, true)
	second.leave()
}

func share(label string, balancer kgo.GroupBalancer) {
	t, group := topic("share-"+label, 4), name("share-group-"+label)
	first := join(group, t, kgo.Balancers(balancer))
	settle("first holds 4", func() bool { return holds(first, 4) })
	second := join(group, t, kgo.Balancers(balancer))
	settle("each holds 2", func() bool { return holds(first, 2) && holds(second, 2) })
	sent := numbers(t, 4, 100)
	settle("100 records", func() bool {
		_, a, _ := first.held()
		_, b, _ := second.held()
		return a+b == 100 && a > 0 && b > 0
	})
	compare(sent, append(append([]*kgo.Record{}, first.records...), second.records...), true)
	must(first.client.CommitUncommittedOffsets(within(patience)), "commit")
	must(second.client.CommitUncommittedOffsets(within(patience)), "commit")
	second.leave()
	settle("first holds 4 again", func() bool { return holds(first, 4) })
	_, before, _ := first.held()
	numbers(t, 4, 20)
	settle("20 more records", func() bool { _, records, _ := first.held(); return records == before+20 })
	first.leave()
}

func staticMember() {
	t, group := topic("static", 4), name("static-group")
	first := join(group, t, kgo.InstanceID("one"))
	second := join(group, t, kgo.InstanceID("two"))
	settle("each holds 2", func() bool { return holds(first, 2) && holds(second, 2) })
	before, _, _ := second.held()
	_, _, changes := first.held()
	second.leave()
	back := join(group, t, kgo.InstanceID("two"))
	settle("the member is back", func() bool { return holds(back, 2) })
	after, _, _ := back.held()
	that(before[0] == after[0] && before[1] == after[1], "expected %v, got %v", before, after)
	_, _, now := first.held()
	same(changes, now, "changes of the other member")
	back.leave()
	first.leave()
}

func adminCommit() {
	t, group := topic("admin-commit", 2), name("admin-commit-group")
	offsets := kadm.Offsets{}
	offsets.Add(kadm.Offset{Topic: t, Partition: 1, At: 7, LeaderEpoch: -1, Metadata: "a note"})
	responses, err := admin.CommitOffsets(within(patience), group, offsets)
	must(err, "commit")
	must(responses.Error(), "commit")
	fetched, err := admin.FetchOffsets(within(patience), group)
	must(err, "fetch")
	same(1, len(fetched[t]), "partitions with an offset")
	same(int64(7), fetched[t][1].At, "offset")
	same("a note", fetched[t][1].Metadata, "metadata")
}
