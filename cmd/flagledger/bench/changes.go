package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// toggles are requests each of which changes the value of one feature of a
// project. Those of one number are all different, so that each is a commit.
func (w workload) toggles() func([]byte, int) []byte {
	return func(b []byte, n int) []byte {
		path := "/admin/v1/projects/" + w.project + "/environments/" + environment + "/features/" + featureKey(n%w.features)
		return append(b, message("PATCH", path, []string{"Authorization: Bearer " + adminToken}, text(object{"value": fmt.Sprintf("value %d", n), "reason": "bench"}))...)
	}
}

// commits makes so many changes to a project.
func (a admin) commits(ctx context.Context, w workload, n int) error {
	_, err := load{address: a.address, connections: 4, total: n, status: http.StatusOK, request: w.toggles()}.run(ctx)
	return err
}

// syncs is how long the disk takes to make 4 KiB durable, by percentiles 50 and 99.
func (b *bench) syncs(n int) (p50, p99 time.Duration, err error) {
	file, err := os.Create(filepath.Join(b.dir, "sync"))
	if err != nil {
		return 0, 0, err
	}
	latency, block := newLatency(), make([]byte, 4096)
	for range n {
		begin := time.Now()
		if _, err = file.Write(block); err == nil {
			err = file.Sync()
		}
		if err == nil {
			err = latency.RecordValue(int64(time.Since(begin)))
		}
		if err != nil {
			return 0, 0, errors.Join(err, file.Close())
		}
	}
	return time.Duration(latency.ValueAtQuantile(50)), time.Duration(latency.ValueAtQuantile(99)), file.Close()
}

// changes measures changes beside the disk's fsync.
func (b *bench) changes(ctx context.Context) error {
	p, err := b.start(ctx, "changes")
	if err != nil {
		return err
	}
	a := admin{p.address}
	projects := make([]workload, 8)
	for i := range projects {
		projects[i] = b.w1
		projects[i].project = fmt.Sprintf("changes-%d", i)
		if _, err := a.create(ctx, projects[i]); err != nil {
			return err
		}
	}
	count := max(20, int(1000*b.scale))
	p50, p99, err := b.syncs(count)
	if err != nil {
		return err
	}
	l := load{address: p.address, connections: 1, total: count, status: http.StatusOK, request: projects[0].toggles()}
	r, err := l.run(ctx)
	if err != nil {
		return err
	}
	b.table.add("change, durable and visible in the views", fmt.Sprintf("p50 %s, p99 %s", short(r.quantile(50)), short(r.quantile(99))),
		fmt.Sprintf("fsync of 4 KiB: p50 %s, p99 %s", short(p50), short(p99)), fmt.Sprintf("%.1f x", r.quantile(50).Seconds()/p50.Seconds()), "p50 <= 3 fsyncs + 1 ms, p99 <= 20 ms")

	for _, spread := range []int{1, 8} {
		requests := make([]func([]byte, int) []byte, spread)
		for i := range requests {
			requests[i] = projects[i].toggles()
		}
		l := load{address: p.address, connections: 16, during: 5 * b.round, status: http.StatusOK, request: func(buf []byte, n int) []byte {
			return requests[n%spread](buf, 1_000_000*spread+n/spread)
		}}
		r, err := l.run(ctx)
		if err != nil {
			return err
		}
		s50, _, err := b.syncs(count)
		if err != nil {
			return err
		}
		b.table.compared(fmt.Sprintf("sustained changes, 16 writers, %d project(s) (p99 %s), beside fsyncs", spread, short(r.quantile(99))), ">= 0.5 x", r.perSecond(), 1/s50.Seconds(), perSecond)
	}
	return b.stop(p)
}

// told is one event that one stream got.
type told struct {
	stream  int
	updated float64
	at      time.Time
}

// listen follows an event stream of the environment, again and again since the
// server ends it now and then.
func listen(ctx context.Context, address string, w workload, stream int, events chan<- told) error {
	for {
		if err := listenOnce(ctx, address, w, stream, events); err != nil && ctx.Err() == nil {
			return fmt.Errorf("stream %d: %w", stream, err)
		}
		if ctx.Err() != nil {
			return nil
		}
	}
}

func listenOnce(ctx context.Context, address string, w workload, stream int, events chan<- told) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	defer func() { _ = conn.Close() }()
	if _, err := conn.Write(message("GET", "/sse/environments/"+w.clientKey()+"/stream", []string{"Accept: text/event-stream"}, "")); err != nil {
		return err
	}
	response, err := http.ReadResponse(bufio.NewReaderSize(conn, 512), nil)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return errors.New(response.Status)
	}
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(make([]byte, 256), 4096)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		var event struct {
			Updated float64 `json:"updated_at"`
		}
		if err := json.Unmarshal([]byte(data), &event); err != nil {
			return err
		}
		select {
		case events <- told{stream, event.Updated, time.Now()}:
		case <-ctx.Done():
			return nil
		}
	}
	return lines.Err()
}

// updated is how recent the server's flags are, and the value of the feature.
func (a admin) updated(ctx context.Context, w workload, feature int) (seconds float64, value string, err error) {
	var flags []struct {
		Feature struct{ Name string }
		Value   any `json:"feature_state_value"`
	}
	header, err := a.send(ctx, http.MethodGet, "/api/v1/flags/", http.Header{"X-Environment-Key": {w.clientKey()}}, nil, &flags)
	if err != nil {
		return 0, "", err
	}
	for _, f := range flags {
		if f.Feature.Name == featureKey(feature) {
			value, _ = f.Value.(string)
		}
	}
	seconds, err = strconv.ParseFloat(header.Get("X-Flagsmith-Document-Updated-At"), 64)
	return seconds, value, err
}

// streamsTold measures how long it takes from the sending of a change until the
// streams are told of it, and checks that the next request then sees it.
func (b *bench) streamsTold(ctx context.Context) error {
	p, err := b.start(ctx, "streams")
	if err != nil {
		return err
	}
	w := b.w1
	w.project = "streams"
	a := admin{p.address}
	if _, err := a.create(ctx, w); err != nil {
		return err
	}
	count := max(10, int(1000*b.scale))
	running, cancel := context.WithCancel(ctx)
	defer cancel()
	events, failed := make(chan told, count), make(chan error, count)
	var all sync.WaitGroup
	for i := range count {
		all.Go(func() {
			if err := listen(running, p.address, w, i, events); err != nil {
				failed <- err
			}
		})
	}
	defer all.Wait()
	defer cancel()

	// until waits until each stream was told of something newer, and hands over the times.
	until := func(newer float64, each func(told) error) error {
		seen := make([]bool, count)
		for n := 0; n < count; {
			select {
			case e := <-events:
				if e.updated <= newer || seen[e.stream] {
					continue
				}
				seen[e.stream] = true
				n++
				if err := each(e); err != nil {
					return err
				}
			case err := <-failed:
				return err
			case <-time.After(30 * time.Second):
				return fmt.Errorf("only %d of %d streams were told", n, count)
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	}
	if err := until(0, func(told) error { return nil }); err != nil {
		return err
	}
	latency := newLatency()
	changes := max(5, int(50*b.scale))
	for i := range changes {
		before, _, err := a.updated(ctx, w, 7)
		if err != nil {
			return err
		}
		value := fmt.Sprintf("told %d", i)
		begin := time.Now()
		answered := make(chan error, 1)
		go func() {
			_, err := a.send(ctx, http.MethodPatch, "/admin/v1/projects/"+w.project+"/environments/"+environment+"/features/"+featureKey(7), nil, object{"value": value, "reason": "bench"}, nil)
			answered <- err
		}()
		first := true
		err = until(before, func(e told) error {
			if first { // who is told can ask at once
				first = false
				if _, now, err := a.updated(ctx, w, 7); err != nil || now != value {
					return fmt.Errorf("a stream was told of %q, and the next request saw %q (%w)", value, now, err)
				}
			}
			return latency.RecordValue(int64(e.at.Sub(begin)))
		})
		if err := errors.Join(err, <-answered); err != nil {
			return err
		}
	}
	b.table.add(fmt.Sprintf("change sent until %s streams are told of it, and the next request sees it (%d changes)", grouped(count), changes),
		fmt.Sprintf("p50 %s, p99 %s", short(time.Duration(latency.ValueAtQuantile(50))), short(time.Duration(latency.ValueAtQuantile(99)))), "", "", "p50 <= 10 ms, p99 <= 50 ms")
	cancel()
	all.Wait()
	return b.stop(p)
}
