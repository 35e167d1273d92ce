package main

import (
	"fmt"
	"strconv"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

var codecs = map[string]kgo.CompressionCodec{
	"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
	"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
}

func produceChecks() {
	acks := map[string]kgo.Acks{"0": kgo.NoAck(), "1": kgo.LeaderAck(), "all": kgo.AllISRAcks()}
	for _, codec := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		for _, level := range []string{"0", "1", "all"} {
			check(fmt.Sprintf("produce %s acks=%s", codec, level), func() {
				opts := []kgo.Opt{kgo.RequiredAcks(acks[level]), kgo.DisableIdempotentWrite()}
				produceShapes(codec+"-"+level, level != "0", append(opts, kgo.ProducerBatchCompression(codecs[codec]))...)
			})
		}
		check("produce "+codec+" idempotent", func() {
			produceShapes(codec+"-idempotent", true, kgo.ProducerBatchCompression(codecs[codec]))
		})
		check("produce "+codec+" 900 KB records", func() { large(codec) })
	}
	check("many small records keep their order", manySmall)
	check("keys go to their murmur2 partition", placement)
	check("auto-create by produce", autoCreate)
	check("record over max.message.bytes is refused", oversized)
}

func produceShapes(label string, offsetsKnown bool, opts ...kgo.Opt) {
	t := topic("shapes-"+label, 3)
	c := client(opts...)
	defer c.Close()
	sent := shapes(t, 3)
	send(c, sent)
	more := shapes(t, 3)
	send(c, more)
	sent = append(sent, more...)
	compare(sent, readAll(t, len(sent)), offsetsKnown)
}

func large(codec string) {
	t := topic("large-"+codec, 1)
	c := client(kgo.ProducerBatchCompression(codecs[codec]))
	defer c.Close()
	var sent []*kgo.Record
	for i := 0; i < 4; i++ {
		// One a batch: two would be over the broker's limit.
		r := &kgo.Record{Topic: t, Value: randomBytes(900_000)}
		send(c, []*kgo.Record{r})
		sent = append(sent, r)
	}
	compare(sent, readAll(t, len(sent)), true)
	compare(sent, readAll(t, len(sent), kgo.FetchMaxBytes(100), kgo.FetchMaxPartitionBytes(100)), true)
}

func manySmall() {
	t := topic("small", 4)
	c := client(kgo.ProducerBatchMaxBytes(4096))
	defer c.Close()
	var sent []*kgo.Record
	for i := 0; i < 40_000; i++ {
		sent = append(sent, &kgo.Record{Topic: t, Partition: int32(i % 4), Value: []byte(strconv.Itoa(i))})
	}
	send(c, sent)
	compare(sent, readAll(t, len(sent)), true)
}

func placement() {
	t := topic("placement", 7)
	c := client(kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)))
	defer c.Close()
	var sent []*kgo.Record
	for i := 0; i < 300; i++ {
		sent = append(sent, &kgo.Record{Topic: t, Key: []byte(fmt.Sprintf("user-%d", i%30)), Value: randomBytes(20)})
	}
	send(c, sent)
	compare(sent, readAll(t, len(sent)), true)
	byKey := map[string]int32{}
	for _, r := range sent {
		before, seen := byKey[string(r.Key)]
		that(!seen || before == r.Partition, "key %s in two partitions", r.Key)
		byKey[string(r.Key)] = r.Partition
	}
	// The Java client's partition of the same keys.
	same(int32(javaPartition([]byte("user-7"), 7)), byKey["user-7"], "partition of user-7")
}

// javaPartition is Kafka's Utils.murmur2, positive, modulo the number of partitions.
func javaPartition(key []byte, partitions int) int {
	const m, r = 0x5bd1e995, 24
	h := uint32(0x9747b28c) ^ uint32(len(key))
	for ; len(key) >= 4; key = key[4:] {
		k := uint32(key[0]) | uint32(key[1])<<8 | uint32(key[2])<<16 | uint32(key[3])<<24
		k *= m
		k ^= k >> r
		k *= m
		h = h*m ^ k
	}
	switch len(key) {
	case 3:
		h ^= uint32(key[2]) << 16
		fallthrough
	case 2:
		h ^= uint32(key[1]) << 8
		fallthrough
	case 1:
		h = (h ^ uint32(key[0])) * m
	}
	h ^= h >> 13
	h *= m
	h ^= h >> 15
	return int(h&0x7fffffff) % partitions
}

func autoCreate() {
	t := name("auto")
	c := client(kgo.AllowAutoTopicCreation())
	defer c.Close()
	sent := []*kgo.Record{{Topic: t, Value: []byte("first")}}
	send(c, sent)
	compare(sent, readAll(t, 1), true)
}

func oversized() {
	t := topic("oversized", 1)
	c := client(kgo.ProducerBatchCompression(kgo.NoCompression()))
	defer c.Close()
	err := c.ProduceSync(within(patience), &kgo.Record{Topic: t, Value: randomBytes(2_000_000)}).FirstErr()
	fails(kerr.MessageTooLarge, err, "2 MB record")
	sent := []*kgo.Record{{Topic: t, Value: []byte("small")}}
	send(c, sent)
	same(int64(0), sent[0].Offset, "offset after the refusal")
}
