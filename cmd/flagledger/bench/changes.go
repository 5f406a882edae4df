package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
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

// syncs is how long the disk takes to make 4 KiB durable at the end of a file, as a
// log grows, by percentiles 50 and 99.
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
		before, err := p.cpu()
		if err != nil {
			return err
		}
		r, err := l.run(ctx)
		if err != nil {
			return err
		}
		after, err := p.cpu()
		if err != nil {
			return err
		}
		s50, _, err := b.syncs(count)
		if err != nil {
			return err
		}
		b.table.compared(fmt.Sprintf("sustained changes, 16 writers, %d project(s) (p99 %s; server CPU per change %s), beside fsyncs of a growing file", spread, short(r.quantile(99)), short((after-before)/time.Duration(max(r.requests, 1)))), ">= 0.5 x", r.perSecond(), 1/s50.Seconds(), perSecond)
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
	lines := bufio.NewReaderSize(response.Body, 256)
	for {
		line, err := lines.ReadSlice('\n')
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return err
		}
		data, ok := bytes.CutPrefix(line, []byte("data: "))
		if !ok {
			continue
		}
		e := told{stream: stream, at: time.Now()}
		if e.updated, err = updatedAt(data); err != nil {
			return err
		}
		select {
		case events <- e:
		case <-ctx.Done():
			return nil
		}
	}
}

// updatedAt reads the data of an event. A thousand streams read it at once, on the
// processors that the server is measured on, so it knows the form that it has.
func updatedAt(data []byte) (float64, error) {
	number, ok := bytes.CutPrefix(bytes.TrimSpace(data), []byte(`{"updated_at": `))
	number, closed := bytes.CutSuffix(number, []byte("}"))
	if !ok || !closed {
		return 0, fmt.Errorf("event with data %q", data)
	}
	return strconv.ParseFloat(string(number), 64)
}

// updated is how recent the server's flags are, and the flags.
func (a admin) updated(ctx context.Context, w workload) (seconds float64, flags json.RawMessage, err error) {
	header, err := a.send(ctx, http.MethodGet, "/api/v1/flags/", http.Header{"X-Environment-Key": {w.clientKey()}}, nil, &flags)
	if err != nil {
		return 0, nil, err
	}
	seconds, err = strconv.ParseFloat(header.Get("X-Flagsmith-Document-Updated-At"), 64)
	return seconds, flags, err
}

// valueOf is the value of a feature among the flags.
func valueOf(flags json.RawMessage, feature int) (string, error) {
	var all []struct {
		Feature struct{ Name string }
		Value   any `json:"feature_state_value"`
	}
	if err := json.Unmarshal(flags, &all); err != nil {
		return "", err
	}
	for _, f := range all {
		if f.Feature.Name == featureKey(feature) {
			value, _ := f.Value.(string)
			return value, nil
		}
	}
	return "", fmt.Errorf("there is no feature %s", featureKey(feature))
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
		before, _, err := a.updated(ctx, w)
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
		var flags json.RawMessage
		asked := make(chan error, 1)
		err = until(before, func(e told) error {
			if first { // who is told can ask at once
				first = false
				go func() {
					var err error
					_, flags, err = a.updated(ctx, w)
					asked <- err
				}()
			}
			return latency.RecordValue(int64(e.at.Sub(begin)))
		})
		if err := errors.Join(err, <-answered); err != nil {
			return err
		}
		if err := <-asked; err != nil {
			return err
		}
		if now, err := valueOf(flags, 7); err != nil || now != value {
			return fmt.Errorf("a stream was told of %q, and the next request saw %q (%w)", value, now, err)
		}
	}
	b.table.add(fmt.Sprintf("change sent until %s streams are told of it, and the next request sees it (%d changes)", grouped(count), changes),
		fmt.Sprintf("p50 %s, p99 %s", short(time.Duration(latency.ValueAtQuantile(50))), short(time.Duration(latency.ValueAtQuantile(99)))), "", "", "p50 <= 10 ms, p99 <= 50 ms")
	cancel()
	all.Wait()
	return b.stop(p)
}
