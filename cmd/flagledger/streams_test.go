package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestStreams holds many event streams open on one process, changes a flag and waits until every one of them has been told. It fails when a stream is
// left out or the process takes more than 500 MB, and prints the memory and the times. Without STREAMS (make streams: 5,000) there are 200.
func TestStreams(t *testing.T) {
	const mostMemory = 500_000_000 >> 20 // MiB, with STREAMS=5000 and fewer
	count, changes := 200, 3
	if asked := os.Getenv("STREAMS"); asked != "" {
		n, err := strconv.Atoi(asked)
		if err != nil || n < 1 {
			t.Fatalf("STREAMS=%q: want a positive number", asked)
		}
		count, changes = n, 20
	}
	var files syscall.Rlimit // Go has raised it as far as it goes, here and in the program
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		t.Fatal(err)
	}
	if files.Cur < uint64(count+500) {
		t.Skipf("%d streams need more than the %d files that a process may open (ulimit -n)", count, files.Cur)
	}
	p := ready(t, "--data-dir", t.TempDir())
	p.openShop("checkout")
	_, before := memory(p.cmd.Process.Pid)

	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	events := make(chan told, count)
	opening := make(chan struct{}, 64) // at a time
	for i := range count {
		all.Go(func() {
			for ctx.Err() == nil { // the server ends streams after a while, and SDKs open them again
				if err := follow(ctx, p.url, opening, func(updated string) { events <- told{i, updated, time.Now()} }); err != nil && ctx.Err() == nil {
					events <- told{stream: i, updated: err.Error()}
					return
				}
			}
		})
	}
	// until waits until all streams have been told of the environment as it is, and returns when, in order.
	until := func() (times []time.Time) {
		t.Helper()
		want := p.do(request{path: "/api/v1/flags/", header: map[string]string{"X-Environment-Key": clientKey}}, nil).header.Get("X-Flagsmith-Document-Updated-At")
		informed := make(map[int]bool, count)
		patient := time.After(4 * patience)
		for len(informed) < count {
			select {
			case e := <-events:
				switch {
				case e.at.IsZero():
					t.Fatalf("stream %d: %s", e.stream, e.updated)
				case e.updated == want && !informed[e.stream]:
					informed[e.stream] = true
					times = append(times, e.at)
				}
			case <-p.exited:
				t.Fatalf("the program has ended: %v", p.err)
			case <-patient:
				t.Fatalf("%d of %d streams have been told of %s", len(informed), count, want)
			}
		}
		slices.SortFunc(times, time.Time.Compare)
		return times
	}
	until()
	peak, own := memory(p.cmd.Process.Pid)
	var took []time.Duration
	for i := range changes {
		begin := time.Now()
		p.do(request{method: http.MethodPatch, path: live + "/features/checkout", body: fmt.Sprintf(`{"value":"change %d","reason":"streams"}`, i)}, nil)
		for _, at := range until() {
			took = append(took, at.Sub(begin))
		}
	}
	slices.Sort(took)
	afterwards, _ := memory(p.cmd.Process.Pid)
	t.Logf("%d streams: %d MiB of its own (%d without), at most %d MiB resident, %d MiB after %d changes; from the sending of a change until a stream is told: p50 %v, p99 %v, all %v",
		count, own, before, peak, afterwards, changes, took[len(took)/2].Round(10*time.Microsecond), took[len(took)*99/100].Round(10*time.Microsecond), took[len(took)-1].Round(10*time.Microsecond))
	if count <= 5000 && afterwards > mostMemory {
		t.Errorf("%d MiB, want at most %d", afterwards, mostMemory)
	}
}

// told is an event that a stream got; without a time it is how the stream failed.
type told struct {
	stream  int
	updated string
	at      time.Time
}

// follow reads an event stream of the shop to its end.
func follow(ctx context.Context, url string, opening chan struct{}, tell func(updated string)) error {
	opening <- struct{}{}
	opened := sync.OnceFunc(func() { <-opening })
	defer opened()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	if _, err := fmt.Fprintf(conn, "GET /sse/environments/%s/stream HTTP/1.1\r\nHost: flagledger\r\nAccept: text/event-stream\r\n\r\n", clientKey); err != nil {
		return err
	}
	res, err := http.ReadResponse(bufio.NewReaderSize(conn, 512), nil)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s", res.Status)
	}
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(make([]byte, 0, 256), 1024)
	for lines.Scan() {
		if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
			tell(strings.TrimSuffix(strings.TrimPrefix(data, `{"updated_at": `), "}"))
			opened()
		}
	}
	return lines.Err()
}
