package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"flagledger/eventstore"
	httpapi "flagledger/http"
	"flagledger/migrations"
	"flagledger/projections"
)

// A writer makes changes of its own, one after the other, for as long as it is let. One whose request dies asks again with the same key.
type writer struct {
	name  string
	next  func(n int) request // change number n
	acked map[string]uint64   // position by reason
	died  int                 // requests without an answer
}

// crashing is what is done to a program that is killed again and again.
type crashing struct {
	t    *testing.T
	mu   sync.Mutex
	cond *sync.Cond
	p    *program // nil while it is down
	runs int
	done bool
	acks chan struct{} // one or none waits

	checkpoints map[string]string // root by size, of checkpoints that were given out
}

// checkpoint asks for one. What it says must hold ever after.
func (c *crashing) checkpoint(p *program) {
	a := p.send(context.Background(), request{path: "/admin/v1/log/checkpoint"})
	if a.err != nil || a.status != http.StatusOK {
		return // it died, or is about to
	}
	lines := strings.SplitN(string(a.body), "\n", 4)
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(lines) < 4 || c.checkpoints[lines[1]] != "" && c.checkpoints[lines[1]] != lines[2] {
		c.t.Errorf("checkpoint %q; of that size there was the root %q", a.body, c.checkpoints[lines[1]])
		return
	}
	c.checkpoints[lines[1]] = lines[2]
}

// program waits until one runs after the given number of runs; nil: it is over.
func (c *crashing) program(after int) (*program, int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.done && (c.p == nil || c.runs <= after) {
		c.cond.Wait()
	}
	if c.done {
		return nil, 0
	}
	return c.p, c.runs
}

func (c *crashing) over() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.done
}

func (c *crashing) set(p *program, done bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.p, c.done = p, done
	if p != nil {
		c.runs++
	}
	c.cond.Broadcast()
}

func (c *crashing) write(w *writer) {
	run := 0
	for n := 1; ; n++ {
		reason := fmt.Sprintf("%s %d", w.name, n)
		r := w.next(n)
		r.header = map[string]string{"Idempotency-Key": reason}
		r.body = fmt.Sprintf(`{"reason":%q,`, reason) + r.body[1:]
		for {
			p, now := c.program(run)
			if p == nil {
				return
			}
			a := p.send(context.Background(), r)
			if a.err != nil {
				run = now // it died: the next one
				w.died++
				continue
			}
			position, err := strconv.ParseUint(a.header.Get("Flagledger-Position"), 10, 64)
			if !a.recorded() || err != nil {
				c.t.Errorf("%s: %d %s, position %v", reason, a.status, a.body, err)
				return
			}
			run = now - 1
			w.acked[reason] = position
			if n%5 == 0 {
				c.checkpoint(p)
			}
			select {
			case c.acks <- struct{}{}:
			default:
			}
			break
		}
	}
}

// Killed in one phase after the other in the middle of a stream of changes, traits and erasures, ten times (CHAOS_ROUNDS, as of make chaos), the
// program has after each restart every change that was acknowledged, exactly once, and every trait that was stored; its views are what a rebuild from
// the log makes; no file has a record of who was erased. Checkpoints that it gave out hold to the end.
func TestKill(t *testing.T) {
	kills := rounds(t, 10, 7)
	dir := t.TempDir()
	p := ready(t, "--data-dir", dir)
	p.openShop("checkout", "search", "banner")
	p.do(request{path: shop + "/segments", body: `{"key":"west","rules":[{"type":"ALL","conditions":[{"property":"country","operator":"IN","value":"US"}]}]}`}, nil)
	p.do(request{method: "PUT", path: live + "/features/banner/segment-overrides/west", body: `{"enabled":false}`}, nil)

	state := func(feature string) func(int) request {
		return func(n int) request {
			return request{method: "PATCH", path: live + "/features/" + feature, body: fmt.Sprintf(`{"value":"%d"}`, n)}
		}
	}
	writers := []*writer{
		{name: "state of checkout", next: state("checkout")},
		{name: "state of search", next: state("search")},
		{name: "new feature", next: func(n int) request {
			return request{path: shop + "/features", body: fmt.Sprintf(`{"key":"feature-%d","variants":[{"key":"a","value":%d,"weight":50}]}`, n, n)}
		}},
		{name: "rules of a segment in use", next: func(n int) request {
			return request{method: "PATCH", path: shop + "/segments/west", body: fmt.Sprintf(`{"rules":[{"type":"ALL","conditions":[{"property":"country","operator":"IN","value":"US,c%d"}]}]}`, n)}
		}},
		{name: "override of a new person", next: func(n int) request {
			return request{method: "PUT", path: live + "/features/banner/identity-overrides/" + fmt.Sprintf("person-%d", n), body: `{"enabled":true}`}
		}},
	}
	c := &crashing{t: t, acks: make(chan struct{}, 1), checkpoints: map[string]string{}}
	killed := map[string]int{} // by phase
	c.cond = sync.NewCond(&c.mu)
	var writing sync.WaitGroup
	for _, w := range writers {
		w.acked = map[string]uint64{}
		writing.Go(func() { c.write(w) })
	}
	var erased, traits int
	writing.Go(func() { erased = c.erase() })
	writing.Go(func() { traits = c.travel() })
	all := phases(dir)
	for n := range kills {
		ph := all[n%len(all)]
		c.set(p, false)
		for range 1 + rand.N(30) { // so many changes later, or some more
			select {
			case <-c.acks:
			case <-p.exited:
				t.Fatalf("the program has ended: %v", p.err)
			case <-time.After(patience):
				t.Fatal("the writers got no answer")
			}
		}
		if !ph.starting {
			ph.await(t, ph.state())
		}
		p.kill()
		c.set(nil, false)
		if ph.starting {
			if ph.withoutView {
				if err := os.Remove(filepath.Join(dir, "views.db")); err != nil {
					t.Fatal(err)
				}
			}
			before := ph.state()
			starting := launch(t, []string{"FLAGLEDGER_ADMIN_TOKEN=" + rootToken}, "serve", "--listen", "127.0.0.1:0", "--data-dir", dir)
			ph.await(t, before)
			for range rand.N(10_000) { // a moment, to tens of milliseconds
				ph.state()
			}
			starting.kill()
		}
		killed[ph.name]++
		p = ready(t, "--data-dir", dir)
	}
	c.set(p, true)
	writing.Wait()
	if t.Failed() {
		return
	}

	recorded := map[string][]uint64{}
	history := p.audit("&project=shop")
	for _, e := range history {
		recorded[e.Reason] = append(recorded[e.Reason], e.Position)
	}
	acked, died := 0, 0
	for _, w := range writers {
		acked += len(w.acked)
		died += w.died
		last := uint64(0)
		for n := range len(w.acked) {
			reason := fmt.Sprintf("%s %d", w.name, n+1)
			if at := w.acked[reason]; !slices.Equal(recorded[reason], []uint64{at}) || at <= last {
				t.Errorf("%q was acknowledged at position %d, behind %d; it is recorded at %v", reason, at, last, recorded[reason])
			}
			last = w.acked[reason]
		}
	}
	t.Logf("killed in %v; %d requests without an answer, %d changes acknowledged, %d recorded, %d persons erased, %d traits stored, %d checkpoints",
		killed, died, acked, len(history), erased, traits, len(c.checkpoints))
	checkVersions(t, history)

	persons := writers[4].acked
	for n := range len(persons) {
		var person struct{ Overrides []struct{ Enabled bool } }
		p.do(request{path: live + fmt.Sprintf("/identities/person-%d", n+1)}, &person)
		if len(person.Overrides) != 1 || !person.Overrides[0].Enabled {
			t.Errorf("person %d has the overrides %v", n+1, person.Overrides)
		}
	}
	p.stop(syscall.SIGTERM)
	if n := checkErased(t, dir); n < erased || erased == 0 {
		t.Errorf("%d erasures are recorded, %d were answered", n, erased)
	}
	views, err := projections.Open(filepath.Join(dir, "views.db"), projections.Options{Schema: migrations.SchemaVersion, Encode: httpapi.EncodeFlag, Upcast: upcast})
	if err != nil {
		t.Fatal(err)
	}
	for size, root := range c.checkpoints {
		n, err := strconv.ParseUint(size, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		if now, err := views.TreeRoot(n); err != nil || now.String() != root {
			t.Errorf("a checkpoint of %s commits had the root %s; now it is %v, %v", size, root, now, err)
		}
	}
	if err := views.Close(); err != nil {
		t.Fatal(err)
	}
	checkRebuild(t, dir)
}

// checkVersions sees that the versions of the shop's environment are 1, 2, 3 ... in the order of the log.
func checkVersions(t *testing.T, history []entry) {
	t.Helper()
	version := uint64(0)
	for _, e := range history {
		now, changed := e.Versions["live"]
		if !changed {
			continue
		}
		if now != version+1 {
			t.Errorf("version %d at position %d follows version %d", now, e.Position, version)
		}
		version = now
	}
	if version == 0 {
		t.Error("there is no version")
	}
}

// checkRebuild compares the views of a data directory that nobody uses with those that its log makes from nothing.
func checkRebuild(t *testing.T, dir string) {
	t.Helper()
	options := projections.Options{Schema: migrations.SchemaVersion, Encode: httpapi.EncodeFlag, Upcast: upcast}
	dump := func(views *projections.Views) (entries []string) {
		err := views.Dump(func(bucket, key, value []byte) error {
			entries = append(entries, fmt.Sprintf("%s %q = %q", bucket, key, value))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return entries
	}
	open := func(path string) *projections.Views {
		views, err := projections.Open(path, options)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := views.Close(); err != nil {
				t.Error(err)
			}
		})
		return views
	}
	store, err := eventstore.Open(t.Context(), eventstore.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	}()
	rebuilt := open(filepath.Join(t.TempDir(), "views.db"))
	end, err := store.LastPosition(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	err = store.Load(t.Context(), 1, func(m eventstore.Message) error {
		rec, err := m.Decode()
		if err != nil {
			return err
		}
		return rebuilt.Apply(rec, end-rec.Position)
	})
	if err != nil {
		t.Fatal(err)
	}
	live := open(filepath.Join(dir, "views.db"))
	if live.Position() != end || rebuilt.Position() != end {
		t.Errorf("the views are at position %d, the rebuilt ones at %d, the log at %d", live.Position(), rebuilt.Position(), end)
	}
	was, is := dump(live), dump(rebuilt)
	for i := range min(len(was), len(is)) {
		if was[i] != is[i] {
			t.Fatalf("entry %d of the views is\n%s\nrebuilt it is\n%s", i, was[i], is[i])
		}
	}
	if len(was) != len(is) || len(was) == 0 {
		t.Errorf("the views have %d entries, the rebuilt ones %d", len(was), len(is))
	}
}
