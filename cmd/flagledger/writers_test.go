package main

import (
	"fmt"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
)

// Sixteen writers change one project at the same time. Every change is recorded once, all of them in one order, and no version is left out.
func TestWriters(t *testing.T) {
	writers, each := 16, 63 // more than 1,000
	if testing.Short() {
		each = 10
	}
	dir := t.TempDir()
	p := ready(t, "--data-dir", dir)
	p.openShop("checkout", "search")
	before := p.position()

	positions := make([]uint64, writers*each)
	var writing sync.WaitGroup
	for w := range writers {
		feature := []string{"checkout", "search"}[w%2]
		writing.Go(func() {
			for n := range each {
				i := w*each + n
				a := p.send(t.Context(), request{method: "PATCH", path: live + "/features/" + feature, body: fmt.Sprintf(`{"value":"%d","reason":"change %d"}`, i+1, i)})
				position, err := strconv.ParseUint(a.header.Get("Flagledger-Position"), 10, 64)
				if !a.recorded() || err != nil {
					t.Errorf("change %d: %d %s, errors %v, %v", i, a.status, a.body, a.err, err)
					return
				}
				positions[i] = position
			}
		})
	}
	writing.Wait()
	if t.Failed() {
		return
	}
	p.awaitPosition(slices.Max(positions))
	if got, want := p.position(), before+uint64(len(positions)); got != want {
		t.Errorf("the log ends at position %d, want %d", got, want)
	}
	history := p.audit("&project=shop")
	at := map[uint64]string{}
	for _, e := range history {
		at[e.Position] = e.Reason
	}
	last := map[int]uint64{} // by writer
	for i, position := range positions {
		if want := fmt.Sprintf("change %d", i); at[position] != want {
			t.Errorf("at position %d is %q, want %q", position, at[position], want)
		}
		delete(at, position)
		if position <= last[i/each] {
			t.Errorf("change %d is at position %d, the same writer's one before at %d", i, position, last[i/each])
		}
		last[i/each] = position
	}
	if want := len(history) - len(positions); len(at) != want {
		t.Errorf("%d entries are of none of the changes, want %d", len(at), want)
	}
	checkVersions(t, history)
	p.stop(syscall.SIGTERM)
	checkRebuild(t, dir)
}
