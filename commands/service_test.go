package commands_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"flagledger/commands"
	"flagledger/domain"
	"flagledger/domain/evaluation"
	"flagledger/eventstore/storetest"
)

// A change is recorded with everything it says of itself, as one commit, and
// seen by whoever asks afterwards.
func TestDo(t *testing.T) {
	l := newLedger(t)
	result := l.must(t, shop()...)
	entry, err := l.views.AuditEntry(result.Position, nil)
	if err != nil {
		t.Fatal(err)
	}
	ch, c := change(), entry.Commit
	if c.Actor != ch.Actor || c.Client != ch.Client || c.Source != ch.Source || c.Reason != ch.Reason || c.Ticket != ch.Ticket ||
		c.CorrelationID != ch.CorrelationID || c.Project != domain.ProjectID("shop") || c.ID == "" || c.Time.IsZero() {
		t.Errorf("recorded is %+v", c)
	}
	if result.Position != 1 || len(c.Events) != 7 || len(result.Events) != 7 || result.Before.Exists() || result.After.Features.Len() != 2 {
		t.Errorf("got %+v", result)
	}
	if got := l.project(); got.Position != 1 || got.LastID != result.After.LastID {
		t.Errorf("the views are at %d and have given out %d, want %d", got.Position, got.LastID, result.After.LastID)
	}
	for i, o := range result.Objects {
		if slices.Contains(result.Objects[:i], o) {
			t.Errorf("object %s is told twice", o)
		}
		if got := result.After.Revision(o); got != 1 {
			t.Errorf("object %s is at revision %d, want 1", o, got)
		}
	}

	// Without an undertaking of their own, commits are their own.
	alone := change(commands.UpdateProject{Name: new("n")})
	alone.CorrelationID = ""
	if result, err = l.Do(t.Context(), alone); err != nil {
		t.Fatal(err)
	}
	if entry, err = l.views.AuditEntry(result.Position, nil); err != nil || entry.Commit.CorrelationID != entry.Commit.ID {
		t.Errorf("correlation id is %q, want that of the commit; error %v", entry.Commit.CorrelationID, err)
	}

	// What is already so is not recorded.
	result, err = l.Do(t.Context(), alone)
	if err != nil || result.Recorded || result.Position != 2 || !result.Visible || len(result.Events) > 0 || l.last(t) != 2 {
		t.Errorf("the second time: %+v, error %v, log at %d", result, err, l.last(t))
	}

	// The organisation has a log of its own.
	token, _ := commands.NewToken("Ana", []domain.Grant{{Role: domain.Admin}}, now.AddDate(100, 0, 0))
	tokens := change(token)
	tokens.Project = ""
	if result, err = l.Do(t.Context(), tokens); err != nil || result.After.ID != domain.OrganisationID || l.views.Token(token.Hash) == nil {
		t.Errorf("got %+v, error %v, token %v", result, err, l.views.Token(token.Hash))
	}
}

func TestDoRefuses(t *testing.T) {
	l := newLedger(t)
	l.must(t, shop()...)
	rename := func(name string) commands.UpdateProject { return commands.UpdateProject{Name: &name} }
	for name, test := range map[string]struct {
		change func(*commands.Change)
		want   string
	}{
		"nothing":            {func(c *commands.Change) { c.Commands = nil }, "malformed commands: there is no command in the change"},
		"a long reason":      {func(c *commands.Change) { c.Reason = strings.Repeat("x", 2001) }, "limit_reached reason: "},
		"a bell in a ticket": {func(c *commands.Change) { c.Ticket = "\a" }, "malformed ticket: "},
		"a bell in a key":    {func(c *commands.Change) { c.IdempotencyKey = "\a" }, "malformed Idempotency-Key: "},
		"no such project":    {func(c *commands.Change) { c.Project = "bank" }, `not_found project: there is no project "bank"`},
		"no such environment": {func(c *commands.Change) {
			c.Commands = []commands.Command{commands.DeleteEnvironment{Environment: "qa"}}
		}, `not_found environment: `},
		"one of several": {func(c *commands.Change) {
			c.Listed, c.Commands = true, []commands.Command{rename("a"), commands.CreateFeature{Key: "new"}, commands.CreateFeature{Key: "new"}}
		}, `conflict commands[2].key: already a feature "new"`},
		"one of several, without a field": {func(c *commands.Change) {
			c.Listed, c.Commands = true, []commands.Command{rename("a"), commands.DeleteProject{}}
		}, `conflict commands[1]: still has environments`},
		"one of several that are not listed": {func(c *commands.Change) {
			c.Commands = []commands.Command{rename("a"), commands.CreateFeature{Key: "checkout"}}
		}, `conflict key: already a feature`},
		"a dry run of it": {func(c *commands.Change) {
			c.DryRun, c.Commands = true, []commands.Command{commands.CreateFeature{Key: "checkout"}}
		}, `conflict key: `},
	} {
		ch := change(rename("b"))
		test.change(&ch)
		result, err := l.Do(t.Context(), ch)
		if err == nil || !refuses(err, test.want) {
			t.Errorf("%s: got %s, want %s", name, refusal(err), test.want)
		}
		if l.last(t) != 1 || result.Recorded || l.project().Name != "Shop" || l.project().Features.Len() != 2 {
			t.Errorf("%s: something was recorded", name)
		}
	}
}

// The commands of one change are decided one after the other, each in the state
// that the ones before it lead to, and recorded together.
func TestDoSeveral(t *testing.T) {
	l := newLedger(t)
	l.must(t, shop()...)
	result := l.must(t,
		commands.CreateSegment{Key: "new", Rules: when("a", evaluation.Equal, "b")},
		commands.CreateFeature{Key: "new"},
		override("new", "new", enabled(true)),
		commands.RemoveSegmentOverride{Environment: "prod", Feature: "new", Segment: "new"},
		commands.DeleteSegment{Segment: "new"},
		commands.UpdateFeature{Feature: "new", Description: new("d")},
		commands.UpdateFeature{Feature: "new", Description: new("d")},
	)
	var types []string
	for _, e := range result.Events {
		types = append(types, e.EventType())
	}
	want := []string{"segment.created.v2", "feature.created.v1", "segment_override.set.v1", "segment_override.removed.v1", "segment.deleted.v1", "feature.updated.v1"}
	if !slices.Equal(types, want) || l.last(t) != 2 || l.project().Features.Get("new").Description != "d" || l.project().Segments.Get("new") != nil {
		t.Errorf("recorded are %v at %d, want %v", types, l.last(t), want)
	}
}

func TestDryRun(t *testing.T) {
	l := newLedger(t)
	l.must(t, shop()...)
	before := l.project()
	dry := change(
		commands.CreateFeature{Key: "new"},
		commands.SetFeatureState{Environment: "prod", Feature: "new", StateInput: enabled(true)},
		commands.SetIdentityOverride{Environment: "prod", Feature: "new", Identifier: "ana"},
	)
	dry.DryRun, dry.IdempotencyKey, dry.RequestHash = true, "once", "hash"
	for range 2 {
		result, err := l.Do(t.Context(), dry)
		if err != nil {
			t.Fatal(err)
		}
		if result.Recorded || result.Position != 1 || len(result.Events) != 3 || result.Before != before || !result.After.Environments.Get("prod").States.Get("new").Enabled {
			t.Errorf("got %+v", result)
		}
	}
	if l.last(t) != 1 || l.project() != before || len(l.persons.(persons)) > 0 {
		t.Errorf("a dry run left its traces: log at %d, persons %v", l.last(t), l.persons)
	}
	dry.DryRun = false
	if result, err := l.Do(t.Context(), dry); err != nil || !result.Recorded || result.Replayed {
		t.Errorf("the change after its dry run: %+v, error %v", result, err)
	}
}

// If-Match compares with the revision of the object, which is the position of
// the commit that changed it last.
func TestIfMatch(t *testing.T) {
	l := newLedger(t)
	l.must(t, shop()...)
	us := domain.Object{Kind: domain.KindSegment, Key: "us"}
	l.must(t, commands.UpdateSegment{Segment: "us", Description: new("2")})
	l.must(t, commands.UpdateSegment{Segment: "beta", Description: new("3")})
	ch := change(commands.UpdateSegment{Segment: "us", Description: new("4")})
	ch.Object, ch.IfMatch = us, 1
	_, err := l.Do(t.Context(), ch)
	e, ok := errors.AsType[*domain.Error](err)
	if !ok || e.Kind != domain.Stale || e.Revision != 2 || e.Field != "If-Match" || !strings.Contains(e.Detail, "segment:us is at revision 2, not 1") {
		t.Errorf("stale: %#v", e)
	}
	ch.IfMatch = 2
	if result, err := l.Do(t.Context(), ch); err != nil || result.After.Revision(us) != 4 {
		t.Errorf("current: %+v, error %v", result, err)
	}
	if _, err := l.Do(t.Context(), ch); !refuses(err, "stale If-Match: is at revision 4, not 2") {
		t.Errorf("again: %s", refusal(err))
	}
	ch.Object = domain.Object{Kind: domain.KindSegment, Key: "none"}
	if _, err := l.Do(t.Context(), ch); !refuses(err, "stale If-Match: segment:none is at revision 0, not 2") {
		t.Errorf("of nothing: %s", refusal(err))
	}
}

// A retry under an idempotency key has the first answer: at once, after a
// restart, and after the views were made anew. Another request is refused.
func TestIdempotency(t *testing.T) {
	l := newLedger(t)
	l.must(t, shop()...)
	once := change(commands.CreateFeature{Key: "new"})
	once.IdempotencyKey, once.RequestHash = "once", "hash"
	first, err := l.Do(t.Context(), once)
	if err != nil || !first.Recorded || first.Replayed {
		t.Fatalf("got %+v, error %v", first, err)
	}
	l.must(t, commands.CreateFeature{Key: "another"})
	again := func(when string) {
		t.Helper()
		result, err := l.Do(t.Context(), once)
		if err != nil || !result.Replayed || !result.Recorded || !result.Visible || result.Position != first.Position {
			t.Errorf("%s: %+v, error %v", when, result, err)
		}
		other := once
		other.RequestHash = "another hash"
		if _, err := l.Do(t.Context(), other); !refuses(err, `invalid Idempotency-Key: "once" was used for another request, recorded at position 2; use a new key`) {
			t.Errorf("%s, another request: %s", when, refusal(err))
		}
		if l.last(t) != 3 {
			t.Errorf("%s: recorded again", when)
		}
	}
	again("at once")
	l.restart(t, false)
	again("after a restart")
	l.restart(t, true)
	again("after a rebuild")

	// Keys belong to a project, and what was not recorded uses none up.
	bank := change(commands.CreateProject{Key: "bank"})
	bank.Project, bank.IdempotencyKey, bank.RequestHash = "bank", "once", "yet another"
	if result, err := l.Do(t.Context(), bank); err != nil || result.Replayed {
		t.Errorf("in another project: %+v, error %v", result, err)
	}
	twice := change(commands.CreateFeature{Key: "new"})
	twice.IdempotencyKey = "twice"
	if _, err := l.Do(t.Context(), twice); !refuses(err, "conflict key: ") {
		t.Errorf("a refused one: %s", refusal(err))
	}
	nothing := change(commands.UpdateFeature{Feature: "new", Archived: new(false)})
	nothing.IdempotencyKey, nothing.RequestHash = "nothing", "hash"
	if result, err := l.Do(t.Context(), nothing); err != nil || result.Recorded {
		t.Errorf("one with nothing to record: %+v, error %v", result, err)
	}
	nothing.RequestHash = "another hash"
	if _, err := l.Do(t.Context(), nothing); !refuses(err, `invalid Idempotency-Key: "nothing" was used for another request, which had nothing to record; use a new key`) {
		t.Errorf("another request under the key of one with nothing to record: %s", refusal(err))
	}
	twice.Commands = []commands.Command{commands.CreateFeature{Key: "newer"}}
	if result, err := l.Do(t.Context(), twice); err != nil || result.Replayed {
		t.Errorf("its key again: %+v, error %v", result, err)
	}
}

// Of retries that come at the same time, also to two processes, one is recorded.
func TestIdempotencyAtTheSameTime(t *testing.T) {
	store := storetest.New(t)
	processes := []*ledger{join(t, store, persons{}), join(t, store, persons{})}
	processes[0].must(t, shop()...)
	if err := processes[1].views.Wait(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	once := change(commands.CreateFeature{Key: "new"})
	once.IdempotencyKey, once.RequestHash = "once", "hash"
	var recorded sync.Map
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			result, err := processes[i%2].Do(t.Context(), once)
			if err != nil {
				t.Errorf("request %d: %v", i, err)
			}
			recorded.Store(result.Position, true)
		})
	}
	wg.Wait()
	for position := range recorded.Range {
		if position != uint64(2) {
			t.Errorf("an answer says position %v, want 2", position)
		}
	}
	if got := processes[0].last(t); got != 2 {
		t.Errorf("the log is at %d, want 2", got)
	}
}

// 16 writers, 1,000 changes of one project, over two processes with views of
// their own: all recorded once, in one order, versions dense, and both
// processes come to the same.
func TestConcurrentWriters(t *testing.T) {
	store := storetest.New(t)
	processes := []*ledger{join(t, store, persons{}), join(t, store, persons{})}
	processes[0].must(t, shop()...)
	if err := processes[1].views.Wait(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	const writers = 16
	changes := 1000
	if testing.Short() {
		changes = 200
	}
	var mu sync.Mutex
	positions := map[uint64]string{}
	var wg sync.WaitGroup
	for w := range writers {
		l := processes[0]
		if w == writers-1 {
			l = processes[1] // one that always loses the race first
		}
		wg.Go(func() {
			for i := w; i < changes; i += writers {
				name := fmt.Sprintf("change %d", i)
				ch := change(commands.SetFeatureState{Environment: "prod", Feature: "checkout", StateInput: value(name)})
				ch.Reason = name
				result, err := l.Do(t.Context(), ch)
				for err != nil && refuses(err, "unavailable : try again") {
					result, err = l.Do(t.Context(), ch)
				}
				if err != nil || !result.Recorded {
					t.Errorf("%s: %+v, error %v", name, result, err)
					return
				}
				if got := result.After.Environments.Get("prod").States.Get("checkout"); got.Value != evaluation.String(name) || got.Changed.Position != result.Position {
					t.Errorf("%s at %d led to %+v", name, result.Position, got)
				}
				mu.Lock()
				positions[result.Position] = name
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(positions) != changes || processes[0].last(t) != uint64(changes+1) {
		t.Fatalf("%d changes recorded, the log is at %d", len(positions), processes[0].last(t))
	}
	for i, l := range processes {
		if err := l.views.Wait(t.Context(), uint64(changes+1)); err != nil {
			t.Fatal(err)
		}
		id := l.environment("prod")
		if got := l.views.CurrentVersion(id); got != uint64(changes+1) {
			t.Errorf("process %d: prod is at version %d, want %d", i, got, changes+1)
		}
		versions, err := l.views.Versions(id, 0, changes+2)
		if err != nil || len(versions) != changes+1 {
			t.Fatalf("process %d: %d versions, error %v", i, len(versions), err)
		}
		for j, v := range versions { // newest first
			if want := uint64(changes + 1 - j); v.Version != want || v.Position != want {
				t.Errorf("process %d: version %d at position %d, want %d", i, v.Version, v.Position, want)
			}
		}
		for position, name := range positions {
			entry, err := l.views.AuditEntry(position, nil)
			if err != nil || entry.Commit.Reason != name {
				t.Fatalf("process %d: at %d stands %q, error %v, want %q", i, position, entry.Commit.Reason, err, name)
			}
		}
	}
	if a, b := dump(t, processes[0]), dump(t, processes[1]); !maps.Equal(a, b) {
		t.Error("the views of the two processes differ")
	}
	processes[1].restart(t, true)
	if a, b := dump(t, processes[0]), dump(t, processes[1]); !maps.Equal(a, b) {
		t.Error("views rebuilt from the log differ")
	}
}

// dump is all that the views have in their file.
func dump(t *testing.T, l *ledger) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := l.views.Dump(func(bucket, key, value []byte) error {
		all[string(bucket)+"\x00"+string(key)] = string(value)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// A process that has not seen what another recorded loses the race, and decides
// again on what it then sees.
func TestLostRace(t *testing.T) {
	store := storetest.New(t)
	a, b := join(t, store, persons{}), join(t, store, persons{})
	a.must(t, shop()...)
	if err := b.views.Wait(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	for i := range 20 { // of two who create the same, one is told that it is there
		key := fmt.Sprintf("new%d", i)
		var wg sync.WaitGroup
		errs := make([]error, 2)
		for j, l := range []*ledger{a, b} {
			wg.Go(func() { _, errs[j] = l.Do(t.Context(), change(commands.CreateFeature{Key: key})) })
		}
		wg.Wait()
		lost := slices.DeleteFunc(errs, func(err error) bool { return err == nil })
		if len(lost) != 1 || !refuses(lost[0], fmt.Sprintf("conflict key: already a feature %q", key)) {
			t.Fatalf("both create %s: %v", key, lost)
		}
	}
	if got := a.last(t); got != 21 {
		t.Errorf("the log is at %d, want 21", got)
	}
}
