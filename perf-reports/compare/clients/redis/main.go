// A load client for Redis streams, for what redis-benchmark cannot do: redisload ADDRESS consume|latency KEY RECORDS SIZE ARGUMENT
//
// consume: reads RECORDS from the streams KEY0 to KEY5 with XREAD COUNT ARGUMENT. latency: XADD of ARGUMENT records per
// second to KEY0, each timed from when it was due until XREAD BLOCK on a connection of its own has it. Prints one line of
// JSON.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sort"
	"strconv"
	"time"
)

const streams = 6

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

// connection speaks RESP2.
type connection struct {
	socket net.Conn
	reader *bufio.Reader
}

func dial(address string) *connection {
	socket, err := net.Dial("tcp", address)
	must(err)
	return &connection{socket, bufio.NewReaderSize(socket, 1<<20)}
}

func (to *connection) send(words ...string) {
	var out bytes.Buffer
	fmt.Fprintf(&out, "*%d\r\n", len(words))
	for _, word := range words {
		fmt.Fprintf(&out, "$%d\r\n%s\r\n", len(word), word)
	}
	_, err := to.socket.Write(out.Bytes())
	must(err)
}

// bulk is handed the bytes of each bulk string; they are valid until it returns.
func (to *connection) answer(scratch *[]byte, bulk func([]byte)) {
	line, err := to.reader.ReadSlice('\n')
	must(err)
	kind, rest := line[0], string(line[1:len(line)-2])
	switch kind {
	case '-':
		must(errors.New(rest))
	case '$':
		if length := number(rest); length >= 0 {
			if cap(*scratch) < length+2 {
				*scratch = make([]byte, length+2)
			}
			body := (*scratch)[:length+2]
			_, err := io.ReadFull(to.reader, body)
			must(err)
			bulk(body[:length])
		}
	case '*':
		for range max(number(rest), 0) {
			to.answer(scratch, bulk)
		}
	}
}

func report(records, total int, took time.Duration, latencies []float64) {
	result := map[string]any{"records": records, "bytes": total, "seconds": took.Seconds()}
	if len(latencies) > 0 {
		sort.Float64s(latencies)
		at := func(part float64) float64 { return latencies[min(int(part*float64(len(latencies))), len(latencies)-1)] }
		result["p50_ms"], result["p99_ms"] = at(.5), at(.99)
		result["p999_ms"], result["max_ms"] = at(.999), at(1)
	}
	must(json.NewEncoder(os.Stdout).Encode(result))
}

func isID(word []byte) bool {
	dash := bytes.IndexByte(word, '-')
	if dash <= 0 || len(word) > 40 {
		return false
	}
	for i, letter := range word {
		if i != dash && (letter < '0' || letter > '9') {
			return false
		}
	}
	return true
}

// read asks once and returns the last id of the stream and how many values of `size` bytes or more there were.
func (to *connection) read(key, after string, options []string, scratch *[]byte, each func([]byte)) (string, int) {
	to.send(append(append([]string{"XREAD"}, options...), "STREAMS", key, after)...)
	last, values := after, 0
	to.answer(scratch, func(word []byte) {
		switch {
		case isID(word):
			last = string(word)
		case len(word) > 1 && string(word) != key:
			values++
			each(word)
		}
	})
	return last, values
}

func consume(address, key string, records, batch int) {
	from := dial(address)
	var scratch []byte
	begun := time.Now()
	got, total, options := 0, 0, []string{"COUNT", strconv.Itoa(batch)}
	ids := make([]string, streams)
	for i := range ids {
		ids[i] = "0-0"
	}
	for got < records {
		before := got
		for i := range ids {
			if ids[i] == "" {
				continue
			}
			last, values := from.read(key+strconv.Itoa(i), ids[i], options, &scratch, func(value []byte) { total += len(value) })
			ids[i] = last
			if got += values; values < batch {
				ids[i] = ""
			}
		}
		if got == before {
			must(fmt.Errorf("the streams end after %d records", got))
		}
	}
	report(got, total, time.Since(begun), nil)
}

func latency(address, key string, records, size, rate int) {
	key += "0"
	latencies := make([]float64, 0, records)
	reader, writer := dial(address), dial(address)
	done := make(chan bool)
	go func() {
		var scratch []byte
		options := []string{"COUNT", "1000", "BLOCK", "5000"}
		for after := "0-0"; len(latencies) < records; {
			after, _ = reader.read(key, after, options, &scratch, func(value []byte) {
				due, err := strconv.ParseInt(string(value[:19]), 10, 64)
				must(err)
				latencies = append(latencies, float64(time.Now().UnixNano()-due)/1e6)
			})
		}
		close(done)
	}()
	go func() {
		var scratch []byte
		for range records {
			writer.answer(&scratch, func([]byte) {})
		}
	}()
	filler := string(bytes.Repeat([]byte{'x'}, size-19))
	begun := time.Now()
	for i := range records {
		due := begun.Add(time.Duration(float64(i) * 1e9 / float64(rate)))
		time.Sleep(time.Until(due))
		writer.send("XADD", key, "*", "v", strconv.FormatInt(due.UnixNano(), 10)+filler)
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
		must(errors.New("usage: redisload ADDRESS consume|latency KEY RECORDS SIZE ARGUMENT"))
	}
	key, records, size, argument := os.Args[3], number(os.Args[4]), number(os.Args[5]), number(os.Args[6])
	switch os.Args[2] {
	case "consume":
		consume(os.Args[1], key, records, argument)
	case "latency":
		latency(os.Args[1], key, records, size, argument)
	default:
		must(fmt.Errorf("no such mode: %s", os.Args[2]))
	}
}
