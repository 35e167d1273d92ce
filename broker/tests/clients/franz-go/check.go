package main

import (
	"fmt"
	"os"
	"time"
)

// failure is thrown by the functions below and ends the suite in check.
type failure string

var passed int

// check runs one named check; the first that fails ends the program.
func check(name string, body func()) {
	start := time.Now()
	defer func() {
		if thrown := recover(); thrown != nil {
			f, ours := thrown.(failure)
			if !ours {
				panic(thrown)
			}
			fmt.Printf("FAIL %s: %s\n%d passed, 1 failed\n", name, string(f), passed)
			os.Exit(1)
		}
	}()
	body()
	passed++
	fmt.Printf("ok   %s (%d ms)\n", name, time.Since(start).Milliseconds())
}

func must(err error, what string) {
	if err != nil {
		panic(failure(fmt.Sprintf("%s: %v", what, err)))
	}
}

func that(condition bool, format string, args ...any) {
	if !condition {
		panic(failure(fmt.Sprintf(format, args...)))
	}
}

func same[T comparable](expected, got T, what string) {
	that(expected == got, "%s: expected %v, got %v", what, expected, got)
}
