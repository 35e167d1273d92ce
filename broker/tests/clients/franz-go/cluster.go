package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const patience = 20 * time.Second

var (
	bootstrap string
	run       = strconv.FormatInt(time.Now().UnixMilli(), 36)
	random    = rand.New(rand.NewSource(42))
	admin     *kadm.Client
)

func within(d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	time.AfterFunc(d+time.Second, cancel)
	return ctx
}

func client(opts ...kgo.Opt) *kgo.Client {
	base := []kgo.Opt{
		kgo.SeedBrokers(bootstrap), kgo.FetchMaxWait(50 * time.Millisecond), kgo.ProducerBatchMaxBytes(8 << 20),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.MaxBufferedRecords(100_000),
		kgo.MetadataMinAge(50 * time.Millisecond), kgo.MetadataMaxAge(time.Second),
	}
	c, err := kgo.NewClient(append(base, opts...)...)
	must(err, "client")
	return c
}

func name(n string) string { return "franz-" + n + "-" + run }

func topic(n string, partitions int32) string {
	return topicWith(n, partitions, nil)
}

func topicWith(n string, partitions int32, configs map[string]*string) string {
	unique := name(n)
	_, err := admin.CreateTopic(within(patience), partitions, 1, configs, unique)
	must(err, "create "+unique)
	led(unique, int(partitions))
	return unique
}

// led waits until every partition answers: with acks=0 a record sent before may be lost.
func led(topic string, partitions int) {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		offsets, err := admin.ListEndOffsets(within(patience), topic)
		if err == nil && offsets.Error() == nil && len(offsets[topic]) == partitions {
			return
		}
	}
	that(false, "%s is not led", topic)
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	random.Read(b)
	return b
}

// shapes holds keyed and keyless records, null and empty values, headers with repeated keys and null values.
func shapes(topic string, partitions int) []*kgo.Record {
	start := time.Now().Add(-time.Hour).Truncate(time.Millisecond)
	var records []*kgo.Record
	for i := 0; i < 24; i++ {
		r := &kgo.Record{Topic: topic, Partition: int32(i % partitions),
			Value: randomBytes(10 + i*40), Timestamp: start.Add(time.Duration(i) * time.Millisecond)}
		if i%3 != 0 {
			r.Key = []byte(fmt.Sprintf("key-%d", i))
		}
		switch i % 6 {
		case 4:
			r.Value = nil
		case 5:
			r.Value = []byte{}
		}
		if i%4 == 0 {
			r.Headers = []kgo.RecordHeader{{Key: "trace", Value: randomBytes(16)}, {Key: "twice", Value: []byte{1}},
				{Key: "twice", Value: []byte{2}}, {Key: "none", Value: nil}}
		}
		records = append(records, r)
	}
	return records
}

func send(c *kgo.Client, records []*kgo.Record) {
	for _, result := range c.ProduceSync(within(patience), records...) {
		must(result.Err, "produce")
	}
}

// poll returns the next count records, or fails when they do not come in time.
func poll(c *kgo.Client, count int) []*kgo.Record {
	ctx := within(patience)
	var records []*kgo.Record
	for len(records) < count && ctx.Err() == nil {
		fetches := c.PollFetches(ctx)
		for _, e := range fetches.Errors() {
			that(ctx.Err() != nil, "fetch %s-%d: %v", e.Topic, e.Partition, e.Err)
		}
		records = append(records, fetches.Records()...)
	}
	same(count, len(records), "records consumed")
	return records
}

func readAll(topic string, count int, opts ...kgo.Opt) []*kgo.Record {
	c := client(append(opts, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
	defer c.Close()
	return poll(c, count)
}

// compare: each record sent is in its partition in order, equal to the last byte, and offsets have no gap.
func compare(sent, got []*kgo.Record, offsetsKnown bool) {
	same(len(sent), len(got), "count")
	read := map[int32][]*kgo.Record{}
	for _, r := range got {
		if list := read[r.Partition]; len(list) > 0 {
			same(list[len(list)-1].Offset+1, r.Offset, "next offset")
		}
		read[r.Partition] = append(read[r.Partition], r)
	}
	next := map[int32]int{}
	for _, s := range sent {
		index := next[s.Partition]
		next[s.Partition]++
		that(index < len(read[s.Partition]), "partition %d lacks record %d", s.Partition, index)
		g := read[s.Partition][index]
		where := fmt.Sprintf("record %d of partition %d", index, s.Partition)
		if offsetsKnown {
			same(s.Offset, g.Offset, where+" offset")
		}
		equal(s.Key, g.Key, where+" key")
		equal(s.Value, g.Value, where+" value")
		same(s.Timestamp.UnixMilli(), g.Timestamp.UnixMilli(), where+" timestamp")
		same(len(s.Headers), len(g.Headers), where+" headers")
		for i := range s.Headers {
			same(s.Headers[i].Key, g.Headers[i].Key, where+" header key")
			equal(s.Headers[i].Value, g.Headers[i].Value, where+" header value")
		}
	}
}

// equal tells null from empty.
func equal(expected, got []byte, what string) {
	that(bytes.Equal(expected, got) && (expected == nil) == (got == nil), "%s differs", what)
}
