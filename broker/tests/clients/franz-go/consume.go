package main

import (
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

func consumeChecks() {
	check("offsets and consuming by timestamp", byTime)
	check("start at beginning, end and an offset", positions)
	check("a waiting fetch is answered when a record arrives", longPoll)
	check("delete records moves the beginning", deleteRecords)
	check("a topic deleted and made again holds only new records", recreate)
	check("leader epoch end offsets", epochs)
}

// fill puts count numbers into partition 0, one second apart.
func fill(t string, count int) ([]*kgo.Record, time.Time) {
	c := client(kgo.ProducerBatchMaxBytes(1024))
	defer c.Close()
	start := time.Now().Add(-time.Hour).Truncate(time.Second)
	var sent []*kgo.Record
	for i := 0; i < count; i++ {
		sent = append(sent, &kgo.Record{Topic: t, Value: []byte(strconv.Itoa(i)),
			Timestamp: start.Add(time.Duration(i) * time.Second)})
	}
	send(c, sent)
	return sent, start
}

func from(t string, offset kgo.Offset, opts ...kgo.Opt) *kgo.Client {
	partitions := map[string]map[int32]kgo.Offset{t: {0: offset}}
	return client(append(opts, kgo.ConsumePartitions(partitions))...)
}

func byTime() {
	t := topic("time", 1)
	sent, start := fill(t, 50)
	for _, c := range []struct{ at, offset int64 }{{0, 0}, {42_000, 42}, {42_001, 43}, {49_001, 50}} {
		listed, err := admin.ListOffsetsAfterMilli(within(patience), start.UnixMilli()+c.at, t)
		must(err, "offsets by time")
		offset, _ := listed.Lookup(t, 0)
		must(offset.Err, "offsets by time")
		same(c.offset, offset.Offset, "offset at "+strconv.FormatInt(c.at, 10))
	}
	c := from(t, kgo.NewOffset().AfterMilli(start.UnixMilli()+30_500))
	defer c.Close()
	compare(sent[31:], poll(c, 19), true)
}

func positions() {
	t := topic("positions", 1)
	sent, _ := fill(t, 50)
	c := from(t, kgo.NewOffset().AtStart())
	defer c.Close()
	compare(sent, poll(c, 50), true)
	c.SetOffsets(map[string]map[int32]kgo.EpochOffset{t: {0: {Epoch: -1, Offset: 33}}})
	compare(sent[33:], poll(c, 17), true)
	end := from(t, kgo.NewOffset().AtEnd())
	defer end.Close()
	end.PollFetches(within(300 * time.Millisecond))
	more, _ := fill(t, 3)
	compare(more, poll(end, 3), true)
	relative := from(t, kgo.NewOffset().AtEnd().Relative(-5))
	defer relative.Close()
	same(int64(48), poll(relative, 5)[0].Offset, "five before the end")
}

func longPoll() {
	t := topic("long-poll", 1)
	c := from(t, kgo.NewOffset().AtStart(), kgo.FetchMaxWait(5*time.Second))
	defer c.Close()
	c.PollFetches(within(300 * time.Millisecond))
	sent, _ := fill(t, 1)
	start := time.Now()
	compare(sent, poll(c, 1), true)
	that(time.Since(start) < 2*time.Second, "the parked fetch took %v", time.Since(start))
}

func deleteRecords() {
	t := topic("purged", 1)
	sent, _ := fill(t, 50)
	offsets := kadm.Offsets{}
	offsets.AddOffset(t, 0, 20, -1)
	responses, err := admin.DeleteRecords(within(patience), offsets)
	must(err, "delete records")
	must(responses[t][0].Err, "delete records")
	same(int64(20), responses[t][0].LowWatermark, "low watermark")
	compare(sent[20:], readAll(t, 30), true)
}

func recreate() {
	t := topic("reborn", 1)
	fill(t, 30)
	_, err := admin.DeleteTopic(within(patience), t)
	must(err, "delete")
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		if _, err = admin.CreateTopic(within(patience), 1, 1, nil, t); err == nil {
			break
		}
		that(time.Now().Before(deadline), "create again: %v", err)
	}
	led(t, 1)
	sent, _ := fill(t, 4)
	same(int64(0), sent[0].Offset, "first offset of the new topic")
	compare(sent, readAll(t, 4), true)
}

func epochs() {
	t := topic("epochs", 1)
	fill(t, 5)
	request := kadm.OffsetForLeaderEpochRequest{}
	request.Add(t, 0, readAll(t, 5)[0].LeaderEpoch)
	responses, err := admin.OffsetForLeaderEpoch(within(patience), request)
	must(err, "offset for leader epoch")
	must(responses[t][0].Err, "offset for leader epoch")
	same(int64(5), responses[t][0].EndOffset, "end of the epoch")
}
