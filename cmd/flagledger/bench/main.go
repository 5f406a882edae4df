// Bench measures a built Flagledger as its users meet it: over HTTP, with its
// data on disk, as a process of its own. What it compares with is measured in
// the same run, on the same machine, in turns: Echo, which reads a body of the
// same size and writes a fixed body of the same size.
//
//	go run ./cmd/flagledger/bench http   the table of docs/performance.md
//	go run ./cmd/flagledger/bench soak   long load with changes and streams
//	go run ./cmd/flagledger/bench put    what another tool has found, into the documents
//
// The workloads are made from a fixed seed (workload.go) and loaded through the
// administration. CPU is what the operating system charged the server for, so
// that what the load itself costs does not count.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"syscall"
	"time"
)

// options are what a run is told.
type options struct {
	binary string         // of Flagledger
	rows   *regexp.Regexp // which to measure
	round  time.Duration  // how long one measurement takes
	rounds int            // how often each is repeated; the median counts
	scale  float64        // part of what takes long to make: identities, overrides, commits, streams
	update string         // the files that the table goes into, with commas between

	duration time.Duration // of a soak
	changes  float64       // per second, of a soak
	streams  int           // of a soak
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) == 0 {
		return errors.New("want http, soak, put or floor")
	}
	var o options
	rows := ""
	f := flag.NewFlagSet("bench "+args[0], flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&o.binary, "binary", "bin/flagledger", "the program to measure")
	f.StringVar(&rows, "rows", ".", "regular expression of the rows to measure")
	f.DurationVar(&o.round, "round", 2*time.Second, "how long one measurement takes")
	f.IntVar(&o.rounds, "rounds", 5, "how often each is repeated; the median counts")
	f.Float64Var(&o.scale, "scale", 1, "part of the identities, overrides, commits and streams, for a trial")
	f.StringVar(&o.update, "update", "", "files in which the table is replaced, with commas between")
	f.DurationVar(&o.duration, "duration", 15*time.Minute, "of a soak")
	f.Float64Var(&o.changes, "changes", 20, "per second, of a soak")
	f.IntVar(&o.streams, "streams", 500, "event streams, of a soak")
	if err := f.Parse(args[1:]); err != nil {
		return err
	}
	var err error
	if o.rows, err = regexp.Compile(rows); err != nil {
		return fmt.Errorf("-rows: %w", err)
	}
	switch args[0] {
	case "http":
		return benchHTTP(ctx, o, stdout, stderr)
	case "soak":
		return soak(ctx, o, stdout)
	case "put":
		return put(o, f.Arg(0), os.Stdin, stdout)
	case "floor":
		return serveFloor(ctx, stdout)
	default:
		return fmt.Errorf("%q: want http, soak or floor", args[0])
	}
}

// put prints what it reads, and makes it the text of that name in the files that
// are to be updated.
func put(o options, name string, found io.Reader, stdout io.Writer) error {
	text, err := io.ReadAll(io.TeeReader(found, stdout))
	if err != nil {
		return err
	}
	if len(text) == 0 {
		return fmt.Errorf("nothing was found for %s", name)
	}
	return o.put(name, string(text))
}
