//go:build ignore

package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// franz-go: every codec out, a group in. usage: main BOOTSTRAP
func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	codecs := map[string]kgo.CompressionCodec{"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression()}
	for name, codec := range codecs {
		client, err := kgo.NewClient(kgo.SeedBrokers(os.Args[1]), kgo.ClientID("franz-go"), kgo.ProducerBatchCompression(codec), kgo.AllowAutoTopicCreation(), kgo.ProducerLinger(50*time.Millisecond))
		if err != nil {
			panic(err)
		}
		for i := 0; i < 5; i++ {
			record := &kgo.Record{Topic: "golden-franz-go-" + name, Key: []byte("k"), Value: []byte("value value value value value value"), Headers: []kgo.RecordHeader{{Key: "h", Value: []byte("x")}}}
			client.Produce(ctx, record, func(_ *kgo.Record, err error) {
				if err != nil {
					fmt.Println(err)
				}
			})
		}
		client.Flush(ctx)
		client.Close()
	}
	client, _ := kgo.NewClient(kgo.SeedBrokers(os.Args[1]), kgo.ClientID("franz-go"), kgo.ConsumerGroup("golden-franz-go"), kgo.ConsumeTopics("golden-franz-go-lz4"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	fetches := client.PollFetches(ctx)
	fmt.Println("franz-go", fetches.NumRecords())
	client.CommitUncommittedOffsets(ctx)
	client.Close()
}
