package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

// soakConnections is how many clients ask without a pause. They keep a small
// machine busy, and leave something for changes and streams.
const soakConnections = 4

// health is how a server is at one time of a soak.
type health struct {
	memory     int // resident and its own, in bytes: without the pages of files, which the system can take back
	goroutines int
}

// soak asks W1 for a long time, with changes going on and streams open. It
// fails on the first wrong answer, and when memory or goroutines grow.
func soak(ctx context.Context, o options, stdout io.Writer) (err error) {
	dir, err := os.MkdirTemp("", "flagledger-soak-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	p, err := startLedger(ctx, o, filepath.Join(dir, "data"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	a, w := admin{p.address}, w1
	w.identities = max(100, int(float64(w.identities)*o.scale))
	if _, err := a.create(ctx, w); err != nil {
		return err
	}

	running, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	events, tells := make(chan told, o.streams), atomic.Int64{}
	var listeners, loads sync.WaitGroup
	defer listeners.Wait()
	defer cancel(nil)
	for i := range o.streams {
		listeners.Go(func() {
			if err := listen(running, p.address, w, i, events); err != nil {
				cancel(err)
			}
		})
	}
	go func() {
		for {
			select {
			case <-events:
				tells.Add(1)
			case <-running.Done():
				return
			}
		}
	}()

	var asked, changed result
	for _, one := range []struct {
		load
		result *result
	}{
		{load{connections: soakConnections, request: rotating(w.identify())}, &asked},
		{load{connections: soakConnections, request: w.toggles(), perSecond: o.changes}, &changed},
	} {
		one.address, one.during, one.status = p.address, o.duration, http.StatusOK
		loads.Go(func() {
			var err error
			if *one.result, err = one.run(running); err != nil {
				cancel(err)
			}
		})
	}
	samples, err := p.watch(running, a, o.duration)
	loads.Wait()
	if err := errors.Join(context.Cause(running), err); err != nil {
		return fmt.Errorf("%w\n%s", err, p.log())
	}
	if _, err := a.send(ctx, http.MethodGet, "/readyz", nil, nil, nil); err != nil {
		return err
	}
	// The first third is for what fills up: caches, buffers, connections.
	third := len(samples) / 3
	early, late := typical(samples[third:2*third]), typical(samples[2*third:])
	found := fmt.Sprintf("%s; %v of W1 with %v changes/s and %d streams\n\n"+
		"- W1: %s requests, %s, p50 %s, p99 %s, p99.9 %s, no error\n"+
		"- changes: %s, p50 %s, p99 %s, no error; streams told %s times\n"+
		"- memory of its own: %s in the second third, %s in the last one; goroutines: %d, %d\n",
		machine(time.Now()), o.duration, o.changes, o.streams,
		grouped(asked.requests), perSecond(asked.perSecond()), short(asked.quantile(50)), short(asked.quantile(99)), short(asked.quantile(99.9)),
		grouped(changed.requests), short(changed.quantile(50)), short(changed.quantile(99)), grouped(int(tells.Load())),
		mebibytes(early.memory), mebibytes(late.memory), early.goroutines, late.goroutines)
	_, err = fmt.Fprint(stdout, found)
	return errors.Join(err, grown(early, late), o.put("soak", found))
}

// watch samples the health of a server again and again.
func (p *process) watch(ctx context.Context, a admin, during time.Duration) (samples []health, err error) {
	const count = 60
	again := time.NewTicker(during / count)
	defer again.Stop()
	for len(samples) < count {
		select {
		case <-again.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		status, err := p.stat.NewStatus()
		if err != nil {
			return nil, fmt.Errorf("memory of process %d: %w", p.stat.PID, err)
		}
		goroutines, err := a.metric(ctx, "go_goroutines")
		if err != nil {
			return nil, err
		}
		samples = append(samples, health{int(status.RssAnon), int(goroutines)})
	}
	return samples, nil
}

func typical(samples []health) health {
	return health{
		median(samples, func(h health) int { return h.memory }),
		median(samples, func(h health) int { return h.goroutines }),
	}
}

// grown is an error when there is more of something than chance explains.
func grown(early, late health) error {
	if late.memory > early.memory*5/4+16<<20 {
		return fmt.Errorf("memory has grown from %s to %s", mebibytes(early.memory), mebibytes(late.memory))
	}
	if late.goroutines > early.goroutines*5/4+20 {
		return fmt.Errorf("goroutines have grown from %d to %d", early.goroutines, late.goroutines)
	}
	return nil
}
