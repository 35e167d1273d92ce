// The franz-go client against the broker at $BOOTSTRAP (or the first argument).
package main

import (
	"fmt"
	"os"
	"strconv"

	"github.com/twmb/franz-go/pkg/kadm"
)

// How many brokers the cluster has.
var brokerCount = 1

func main() {
	bootstrap = "127.0.0.1:9092"
	if env := os.Getenv("BOOTSTRAP"); env != "" {
		bootstrap = env
	}
	if env := os.Getenv("BROKERS"); env != "" {
		count, err := strconv.Atoi(env)
		must(err, "BROKERS")
		brokerCount = count
	}
	if len(os.Args) > 1 {
		bootstrap = os.Args[1]
	}
	admin = kadm.NewClient(client())
	adminChecks()
	produceChecks()
	consumeChecks()
	groupChecks()
	admin.Close()
	fmt.Printf("%d passed, 0 failed\n", passed)
}
