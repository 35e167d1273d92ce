// A load client for NATS JetStream: natsload URL produce|consume|latency STREAM RECORDS SIZE ARGUMENT
//
// produce: asynchronous publishes, ARGUMENT of them unacknowledged; latency is from publishing to the acknowledgement.
// consume: reads RECORDS in batches of ARGUMENT. latency: ARGUMENT records per second, each timed from when it was due
// until a consumer has it. Prints one line of JSON.
package main

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"sort"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
)

const subjects = 6

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func number(text string) int {
	value, err := strconv.Atoi(text)
	must(err)
	return value
}

func payload(size int) []byte {
	letters := make([]byte, size)
	random := uint64(88172645463325252)
	for i := range letters {
		random ^= random << 13
		random ^= random >> 7
		random ^= random << 17
		letters[i] = 'A' + byte((random>>33)%26)
	}
	return letters
}

func report(records, bytes int, took time.Duration, latencies []float64) {
	result := map[string]any{"records": records, "bytes": bytes, "seconds": took.Seconds()}
	if len(latencies) > 0 {
		sort.Float64s(latencies)
		at := func(part float64) float64 { return latencies[min(int(part*float64(len(latencies))), len(latencies)-1)] }
		result["p50_ms"], result["p99_ms"] = at(.5), at(.99)
		result["p999_ms"], result["max_ms"] = at(.999), at(1)
	}
	must(json.NewEncoder(os.Stdout).Encode(result))
}

type pending struct {
	future nats.PubAckFuture
	sent   time.Time
}

func produce(stream nats.JetStreamContext, name string, records, size, inFlight int) {
	body := payload(size)
	latencies := make([]float64, 0, records)
	waiting, done := make(chan pending, inFlight), make(chan bool)
	begun := time.Now()
	go func() {
		for one := range waiting {
			select {
			case <-one.future.Ok():
			case err := <-one.future.Err():
				must(err)
			}
			latencies = append(latencies, float64(time.Since(one.sent).Nanoseconds())/1e6)
		}
		close(done)
	}()
	for i := range records {
		sent := time.Now()
		future, err := stream.PublishAsync(name+"."+strconv.Itoa(i%subjects), body, nats.StallWait(time.Minute))
		must(err)
		waiting <- pending{future, sent}
	}
	close(waiting)
	<-done
	report(records, records*size, time.Since(begun), latencies)
}

func consume(stream nats.JetStreamContext, name string, records, batch int) {
	begun := time.Now()
	subscription, err := stream.PullSubscribe(name+".*", "", nats.DeliverAll(), nats.AckNone())
	must(err)
	got, bytes := 0, 0
	for got < records {
		messages, err := subscription.Fetch(min(batch, records-got), nats.MaxWait(10*time.Second))
		must(err)
		got += len(messages)
		for _, message := range messages {
			bytes += len(message.Data)
		}
	}
	report(got, bytes, time.Since(begun), nil)
}

func latency(stream nats.JetStreamContext, name string, records, size, rate int) {
	latencies := make([]float64, 0, records)
	done := make(chan bool)
	_, err := stream.Subscribe(name+".*", func(message *nats.Msg) {
		due := int64(binary.LittleEndian.Uint64(message.Data))
		latencies = append(latencies, float64(time.Now().UnixNano()-due)/1e6)
		if len(latencies) == records {
			close(done)
		}
	}, nats.DeliverNew(), nats.OrderedConsumer())
	must(err)
	body := payload(size)
	begun := time.Now()
	for i := range records {
		due := begun.Add(time.Duration(float64(i) * 1e9 / float64(rate)))
		time.Sleep(time.Until(due))
		record := append([]byte(nil), body...)
		binary.LittleEndian.PutUint64(record, uint64(due.UnixNano()))
		_, err := stream.PublishAsync(name+"."+strconv.Itoa(i%subjects), record)
		must(err)
	}
	select {
	case <-done:
	case <-time.After(time.Minute):
		must(fmt.Errorf("%d of %d records arrived", len(latencies), records))
	}
	report(records, records*size, time.Since(begun), latencies)
}

func main() {
	if len(os.Args) != 7 {
		must(fmt.Errorf("usage: natsload URL produce|consume|latency STREAM RECORDS SIZE ARGUMENT"))
	}
	name, records, size, argument := os.Args[3], number(os.Args[4]), number(os.Args[5]), number(os.Args[6])
	connection, err := nats.Connect(os.Args[1])
	must(err)
	stream, err := connection.JetStream(nats.PublishAsyncMaxPending(max(argument, 1)), nats.MaxWait(30*time.Second))
	must(err)
	if _, err := stream.StreamInfo(name); err != nil {
		_, err = stream.AddStream(&nats.StreamConfig{Name: name, Subjects: []string{name + ".*"}, Storage: nats.FileStorage})
		must(err)
	}
	switch os.Args[2] {
	case "produce":
		produce(stream, name, records, size, argument)
	case "consume":
		consume(stream, name, records, argument)
	case "latency":
		latency(stream, name, records, size, argument)
	default:
		must(fmt.Errorf("no such mode: %s", os.Args[2]))
	}
}
