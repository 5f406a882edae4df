package projections_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"flagledger/domain"
	"flagledger/domain/evaluation"
	"flagledger/projections"
)

// tallied are views of one project with one environment, fed by hand.
type tallied struct {
	*projections.Views
	position uint64
}

var tallyEnvironment = projections.EnvironmentID{Project: domain.ProjectID("shop"), ID: 2}

func newTallied(t testing.TB, features int) *tallied {
	t.Helper()
	views, err := projections.Open(filepath.Join(t.TempDir(), "views.db"), projections.Options{Schema: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := views.Close(); err != nil {
			t.Error(err)
		}
	})
	v := &tallied{Views: views}
	events := []domain.Event{
		domain.ProjectCreated{Key: "shop", Name: "The MART"},
		domain.EnvironmentCreated{ID: 2, Key: "production", Name: "Production", ClientKey: "shop-production", EnvironmentSettings: domain.DefaultEnvironmentSettings()},
		domain.SegmentCreated{ID: 3, Key: "beta", Revision: 1, Name: "Beta users", Rules: []evaluation.Rule{{Type: evaluation.All, Conditions: []evaluation.Condition{
			{Property: "beta", Operator: evaluation.Equal, Value: "yes"},
		}}}},
	}
	for i := range features {
		events = append(events, feature(i))
	}
	v.apply(t, events...)
	return v
}

// feature is one that is split, in halves and a rest.
func feature(i int) domain.FeatureCreated {
	id := int32(10 + 10*i)
	return domain.FeatureCreated{
		ID: id, Key: fmt.Sprintf("feature_%04d", i), DefaultEnabled: true, Seeds: map[string]int32{"production": id + 1},
		Variants: []domain.Variant{
			{ID: id + 2, Key: "a", Value: evaluation.String("a"), Weight: 40},
			{ID: id + 3, Key: "b", Value: evaluation.String("b"), Weight: 40},
		},
	}
}

func (v *tallied) apply(t testing.TB, events ...domain.Event) {
	t.Helper()
	v.position++
	c := domain.Commit{ID: uuid.NewString(), Project: tallyEnvironment.Project, Events: events}
	raw, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Apply(domain.Recorded{Commit: c, Position: v.position, RecordedAt: time.Unix(int64(v.position), 0), Raw: raw}, 0); err != nil {
		t.Fatal(err)
	}
}

func drained(s *projections.Snapshot) map[projections.Label]uint64 {
	counts := map[projections.Label]uint64{}
	s.Tally.Drain(func(l projections.Label, n uint64) { counts[l] += n })
	return counts
}

// Each way to an outcome has a label of its own.
func TestTallyLabels(t *testing.T) {
	v := newTallied(t, 1)
	v.apply(t,
		domain.FeatureCreated{ID: 100, Key: "plain", DefaultEnabled: true, Seeds: map[string]int32{"production": 101}},
		domain.SegmentOverrideSet{Environment: "production", Feature: "plain", Segment: "beta", Seed: 102, Enabled: true},
		domain.SegmentOverrideSet{Environment: "production", Feature: "feature_0000", Segment: "beta", Seed: 103, Enabled: true, Weights: map[string]float64{"b": 100}},
		domain.IdentityOverrideSet{Environment: "production", Feature: "feature_0000", Identity: "s1", Enabled: true, Variant: "a"},
		domain.IdentityOverrideSet{Environment: "production", Feature: "plain", Identity: "s1", Enabled: false},
	)
	s := v.Snapshot(tallyEnvironment)
	beta := []evaluation.Trait{{Key: "beta", Value: evaluation.String("yes")}}
	for _, test := range []struct {
		name     string
		identity *evaluation.Identity
		want     []projections.Label // of feature_0000 and plain
	}{
		{"nobody", nil, []projections.Label{{"feature_0000", "environment", ""}, {"plain", "environment", ""}}},
		{"in a segment", &evaluation.Identity{Identifier: "ada", Traits: beta}, []projections.Label{{"feature_0000", "segment:beta", "b"}, {"plain", "segment:beta", ""}}},
		{
			"with overrides", &evaluation.Identity{Identifier: "eve", Traits: beta, Overrides: s.IdentityOverrides("s1")},
			[]projections.Label{{"feature_0000", "identity", "a"}, {"plain", "identity", ""}},
		},
	} {
		s.Tally.Count(s.Evaluation.Evaluate(nil, test.identity)...)
		want := map[projections.Label]uint64{test.want[0]: 1, test.want[1]: 1}
		if got := drained(s); !maps.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", test.name, got, want)
		}
	}
	for i := range 200 {
		s.Tally.Count(s.Evaluation.EvaluateFlag(s.Evaluation.Flag("feature_0000"), &evaluation.Identity{Identifier: fmt.Sprint(i)}))
	}
	sum := uint64(0)
	got := drained(s)
	for _, variant := range []string{"a", "b", "control"} {
		n := got[projections.Label{Feature: "feature_0000", Outcome: "environment", Variant: variant}]
		if n == 0 {
			t.Errorf("no one got variant %s", variant)
		}
		sum += n
	}
	if sum != 200 || len(got) != 3 {
		t.Errorf("split: got %v, want 200 in three", got)
	}
	s.Tally.Count()
	if got := drained(s); len(got) > 0 {
		t.Errorf("nothing counted, got %v", got)
	}
}

// While snapshots follow each other, and some who evaluate lag behind, each
// evaluation is counted once.
func TestTallyOutlivesSnapshots(t *testing.T) {
	v := newTallied(t, 100)
	const goroutines, rounds, commits = 4, 200, 30
	var running sync.WaitGroup
	for range goroutines {
		running.Go(func() {
			var outcomes []*evaluation.Outcome
			s := v.Snapshot(tallyEnvironment)
			for i := range rounds {
				if i%10 == 0 { // old snapshots are in use for a while
					s = v.Snapshot(tallyEnvironment)
				}
				outcomes = s.Evaluation.Evaluate(outcomes[:0], &evaluation.Identity{Identifier: fmt.Sprint(i)})
				s.Tally.Count(outcomes[:100]...)
			}
		})
	}
	total := uint64(0)
	add := func(_ projections.Label, n uint64) { total += n }
	for i := range commits {
		v.apply(t, feature(100+i), domain.FeatureStateSet{Environment: "production", Feature: "feature_0050", Enabled: i%2 == 0})
		for _, s := range v.Snapshots() {
			s.Tally.Drain(add)
		}
	}
	running.Wait()
	v.Snapshot(tallyEnvironment).Tally.Drain(add)
	if want := uint64(goroutines * rounds * 100); total != want {
		t.Errorf("counted %d, want %d", total, want)
	}
}

// Answers that are the same for everybody are counted by the answer, and are
// forgotten with their snapshot, not before.
func TestTallyPrepared(t *testing.T) {
	v := newTallied(t, 2)
	made := 0
	all := func(s *projections.Snapshot) []*evaluation.Outcome {
		made++
		return s.Evaluation.Evaluate(nil, nil)
	}
	first := func(s *projections.Snapshot) []*evaluation.Outcome { return all(s)[:1] }
	old := v.Snapshot(tallyEnvironment)
	for range 3 {
		old.CountPrepared("all", all)
	}
	old.CountPrepared("first", first)
	v.apply(t, feature(2))
	now := v.Snapshot(tallyEnvironment)
	now.CountPrepared("all", all)
	label := func(i int) projections.Label {
		return projections.Label{Feature: feature(i).Key, Outcome: "environment"}
	}
	if got, want := drained(now), (map[projections.Label]uint64{label(0): 5, label(1): 4, label(2): 1}); !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	old.CountPrepared("all", all) // somebody still has it
	if got, want := drained(now), (map[projections.Label]uint64{label(0): 1, label(1): 1}); !maps.Equal(got, want) {
		t.Errorf("late: got %v, want %v", got, want)
	}
	if made != 3 {
		t.Errorf("the outcomes were asked for %d times, want 3", made)
	}
	old.CountPrepared("all", all)
	old = nil
	runtime.GC()
	if got, want := drained(now), (map[projections.Label]uint64{label(0): 1, label(1): 1}); !maps.Equal(got, want) {
		t.Errorf("after its end: got %v, want %v", got, want)
	}
	if got := drained(now); len(got) > 0 {
		t.Errorf("nothing counted, got %v", got)
	}
}

func BenchmarkTally(b *testing.B) {
	for _, flags := range []int{1, 100, 1000} {
		v := newTallied(b, flags)
		s := v.Snapshot(tallyEnvironment)
		outcomes := s.Evaluation.Evaluate(nil, &evaluation.Identity{Identifier: "ada"})
		b.Run(fmt.Sprintf("flags=%d", flags), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s.Tally.Count(outcomes...)
			}
		})
		b.Run(fmt.Sprintf("flags=%d/prepared", flags), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s.CountPrepared(v, func(s *projections.Snapshot) []*evaluation.Outcome { return s.Evaluation.Evaluate(nil, nil) })
			}
		})
		b.Run(fmt.Sprintf("flags=%d/parallel", flags), func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					s.Tally.Count(outcomes...)
				}
			})
		})
	}
}
