package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// A load is requests sent in a closed loop: each connection sends the next one
// when it has the answer to the last. net/http is used to read answers only; its
// client would take as much of the machine as the server.
type load struct {
	address     string
	connections int
	during      time.Duration // how long new requests are sent; 0: until total is reached
	total       int           // how many; 0: as many as during allows
	perSecond   float64       // not more than that many; 0: no limit
	status      int           // what every answer must have
	// request appends the n-th request to an empty buffer.
	request func(b []byte, n int) []byte
}

// A result is what a load met.
type result struct {
	requests int
	bytes    int // of bodies of answers
	elapsed  time.Duration
	latency  *hdrhistogram.Histogram // in nanoseconds
}

func (r result) perSecond() float64 { return float64(r.requests) / r.elapsed.Seconds() }

func (r result) quantile(percent float64) time.Duration {
	return time.Duration(r.latency.ValueAtQuantile(percent))
}

// newLatency records from 1 us to a minute with three digits.
func newLatency() *hdrhistogram.Histogram {
	return hdrhistogram.New(int64(time.Microsecond), int64(time.Minute), 3)
}

// run sends the load. It ends with the first wrong answer.
func (l load) run(ctx context.Context) (result, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var sent atomic.Int64
	results, errs := make([]result, l.connections), make([]error, l.connections)
	begin := time.Now()
	var all sync.WaitGroup
	for i := range l.connections {
		all.Go(func() {
			if results[i], errs[i] = l.connection(ctx, begin, &sent); errs[i] != nil {
				cancel()
			}
		})
	}
	all.Wait()
	sum := result{elapsed: time.Since(begin), latency: newLatency()}
	for _, r := range results {
		sum.requests += r.requests
		sum.bytes += r.bytes
		if r.latency != nil {
			sum.latency.Merge(r.latency)
		}
	}
	return sum, errors.Join(errs...)
}

func (l load) connection(ctx context.Context, begin time.Time, sent *atomic.Int64) (r result, err error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", l.address)
	if err != nil {
		return r, err
	}
	defer func() { _ = conn.Close() }()
	r.latency = newLatency()
	answers := bufio.NewReaderSize(conn, 64<<10)
	var request []byte
	for ctx.Err() == nil && (l.during == 0 || time.Since(begin) < l.during) {
		n := int(sent.Add(1)) - 1
		if l.total > 0 && n >= l.total {
			break
		}
		if l.perSecond > 0 {
			due := begin.Add(time.Duration(float64(n) / l.perSecond * float64(time.Second)))
			if !sleep(ctx, time.Until(due)) {
				break
			}
		}
		request = l.request(request[:0], n)
		start := time.Now()
		size, err := l.exchange(conn, answers, request)
		if err != nil {
			return r, fmt.Errorf("request %d: %w", n, err)
		}
		if err := r.latency.RecordValue(int64(time.Since(start))); err != nil {
			return r, err
		}
		r.requests++
		r.bytes += size
	}
	return r, nil
}

// exchange sends one request and reads its answer.
func (l load) exchange(conn net.Conn, answers *bufio.Reader, request []byte) (size int, err error) {
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := conn.Write(request); err != nil {
		return 0, err
	}
	response, err := http.ReadResponse(answers, nil)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, response.Body.Close()) }()
	if response.StatusCode != l.status {
		body, _ := io.ReadAll(io.LimitReader(response.Body, 1000))
		return 0, fmt.Errorf("%s, want %d: %s", response.Status, l.status, body)
	}
	n, err := io.Copy(io.Discard, response.Body)
	return int(n), err
}

// sleep waits, and tells whether ctx has not ended meanwhile.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// A subject is a process under a load.
type subject struct {
	process *process
	load    load
}

// A figure is what was measured of a subject.
type figure struct {
	perSecond float64
	cpu       time.Duration // of the server, per request
	p50, p99  time.Duration
	size      int // of an answer's body in bytes, on average
}

// measure loads the subjects in turns, so that what else the machine does meets
// all of them, and returns the median of each of their figures.
func measure(ctx context.Context, o options, subjects ...subject) ([]figure, error) {
	rounds := make([][]figure, len(subjects))
	for range o.rounds {
		for i, s := range subjects {
			s.load.during = o.round
			before, err := s.process.cpu()
			if err != nil {
				return nil, err
			}
			r, err := s.load.run(ctx)
			if err != nil {
				return nil, err
			}
			after, err := s.process.cpu()
			if err != nil {
				return nil, err
			}
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			n := max(r.requests, 1)
			rounds[i] = append(rounds[i], figure{r.perSecond(), (after - before) / time.Duration(n), r.quantile(50), r.quantile(99), r.bytes / n})
		}
	}
	medians := make([]figure, len(subjects))
	for i, all := range rounds {
		medians[i] = figure{
			median(all, func(f figure) float64 { return f.perSecond }),
			median(all, func(f figure) time.Duration { return f.cpu }),
			median(all, func(f figure) time.Duration { return f.p50 }),
			median(all, func(f figure) time.Duration { return f.p99 }),
			median(all, func(f figure) int { return f.size }),
		}
	}
	return medians, nil
}

func median[T any, N int | float64 | time.Duration](all []T, of func(T) N) N {
	values := make([]N, len(all))
	for i, one := range all {
		values[i] = of(one)
	}
	slices.Sort(values)
	return values[len(values)/2]
}

// message is a request as it goes over the wire.
func message(method, path string, headers []string, body string) []byte {
	b := fmt.Appendf(nil, "%s %s HTTP/1.1\r\nHost: bench\r\n", method, path)
	for _, h := range headers {
		b = append(append(b, h...), "\r\n"...)
	}
	if body != "" {
		b = fmt.Appendf(b, "Content-Type: application/json\r\nContent-Length: %d\r\n", len(body))
	}
	return append(append(b, "\r\n"...), body...)
}

// rotating sends the same requests again and again.
func rotating(messages [][]byte) func([]byte, int) []byte {
	return func(b []byte, n int) []byte { return append(b, messages[n%len(messages)]...) }
}
