// The franz-go client against the broker at $BOOTSTRAP (or the first argument).
package main

import (
	"fmt"
	"os"

	"github.com/twmb/franz-go/pkg/kadm"
)

func main() {
	bootstrap = "127.0.0.1:9092"
	if env := os.Getenv("BOOTSTRAP"); env != "" {
		bootstrap = env
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
