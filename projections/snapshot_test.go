package projections_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"flagledger/commands"
	"flagledger/domain"
	"flagledger/domain/evaluation"
	"flagledger/projections"
)

// encodings counts how often each feature was encoded for each environment.
type encodings map[string]int

func (e encodings) encode(_ *domain.Project, env *domain.Environment, f *domain.Feature, o *evaluation.Outcome) []byte {
	e[env.Key+"/"+f.Key]++
	return fmt.Appendf(nil, "%s=%s", f.Key, o.Value.String())
}

// made forgets what was encoded, and tells it.
func (e encodings) made() []string {
	names := slices.Sorted(maps.Keys(e))
	clear(e)
	return names
}

// Of the environments that a change concerns, and in them of the flags, only
// what can have changed is compiled again.
func TestSnapshotCompilesWhatChanged(t *testing.T) {
	made := encodings{}
	l := newLedgerWith(t, t.TempDir(), projections.Options{Schema: 1, Encode: made.encode}).closing(t)
	l.do(t, append(opening(), overriding("prod", "checkout", "us", "x"),
		commands.CreateSegment{Key: "own", Feature: "search", Rules: onTrait("a", "b")},
		commands.SetIdentityOverride{Environment: "prod", Feature: "search", Identifier: "ana"})...)
	if got, want := made.made(), []string{"dev/checkout", "dev/search", "prod/checkout", "prod/search"}; !slices.Equal(got, want) {
		t.Fatalf("at first: %v, want %v", got, want)
	}
	const all = "dev/checkout dev/search prod/checkout prod/search"
	for _, test := range []struct {
		name    string
		command commands.Command
		touched string // environments with a new snapshot
		made    string // flags compiled again
	}{
		{"a state", setting("prod", "checkout", "v2"), "prod", "prod/checkout"},
		{"a segment in use", commands.UpdateSegment{Segment: "us", Rules: new(onTrait("country", "CA"))}, "dev prod", "prod/checkout"},
		{"a segment not in use", commands.UpdateSegment{Segment: "beta", Rules: new(onTrait("email", "x"))}, "dev prod", ""},
		{"the name of a segment in use", commands.UpdateSegment{Segment: "us", Name: new("Americans")}, "dev prod", "prod/checkout"},
		{"a feature", commands.UpdateFeature{Feature: "search", Description: new("d")}, "dev prod", "dev/search prod/search"},
		{"variants", commands.SetVariants{Feature: "search", Variants: []commands.VariantInput{{Key: "a", Weight: 30}, {Key: "b"}}}, "dev prod", "dev/search prod/search"},
		{"an override", overriding("dev", "search", "own", "y"), "dev", "dev/search"},
		{"an override away", commands.RemoveSegmentOverride{Environment: "dev", Feature: "search", Segment: "own"}, "dev", "dev/search"},
		{"an identity", commands.SetIdentityOverride{Environment: "prod", Feature: "search", Identifier: "ben"}, "prod", ""},
		{"a setting", commands.UpdateEnvironment{Environment: "dev", Settings: commands.Settings{HideSensitiveData: new(true)}}, "dev", "dev/checkout dev/search"},
		{"a setting of the project", commands.UpdateProject{HideDisabledFlags: new(true)}, "dev prod", all},
		{"the name of an environment", commands.UpdateEnvironment{Environment: "dev", Name: new("Dev")}, "dev", "dev/checkout dev/search"},
		{"the name of the project", commands.UpdateProject{Name: new("n")}, "dev prod", ""},
		{"a new feature", commands.CreateFeature{Key: "new"}, "dev prod", "dev/new prod/new"},
		{"a feature away", commands.DeleteFeature{Feature: "new"}, "dev prod", ""},
		{"an SDK key", commands.CreateSDKKey{Environment: "prod", ID: "k", Kind: domain.ClientKey, Name: "web", Key: "client_web"}, "", ""},
		{"an environment", commands.CreateEnvironment{Key: "qa"}, "qa", "qa/checkout qa/search"},
		{"an environment away", commands.DeleteEnvironment{Environment: "qa"}, "", ""},
	} {
		before := map[string]*projections.Snapshot{}
		for key := range l.shop().Environments.All() {
			before[key] = l.snapshot(key)
		}
		position := l.do(t, test.command)
		var touched []string
		for key := range l.shop().Environments.All() {
			s, was := l.snapshot(key), before[key]
			if s == was {
				continue
			}
			touched = append(touched, key)
			if s.Position != position || !s.Updated.Equal(minute(position)) || !s.Modified.Equal(s.Updated.Truncate(time.Second)) || s.Version != l.CurrentVersion(l.id(key)) {
				t.Errorf("%s: the snapshot of %s is of version %d at %d, %s", test.name, key, s.Version, s.Position, s.Updated)
			}
			if was == nil {
				continue
			}
			select {
			case <-was.Superseded():
			default:
				t.Errorf("%s: the old snapshot of %s does not know that it is old", test.name, key)
			}
			for _, flag := range s.Evaluation.Flags() {
				again := slices.Contains(made.peek(), key+"/"+flag.Name)
				if old := was.Evaluation.Flag(flag.Name); (old == flag) == again {
					t.Errorf("%s: %s/%s was compiled again: %t, want %t", test.name, key, flag.Name, old != flag, again)
				}
			}
		}
		if got := fmt.Sprint(touched); got != "["+test.touched+"]" {
			t.Errorf("%s: touched are %s, want %s", test.name, got, test.touched)
		}
		if got := fmt.Sprint(made.made()); got != "["+test.made+"]" {
			t.Errorf("%s: compiled again are %s, want %s", test.name, got, test.made)
		}
		for key, env := range l.shop().Environments.All() {
			anew, err := l.Compile(nil, l.shop(), env)
			if err != nil {
				t.Fatal(err)
			}
			id := &evaluation.Identity{Identifier: "ana", Traits: []evaluation.Trait{{Key: "country", Value: evaluation.String("CA")}}}
			got, want := l.snapshot(key).Evaluation.Evaluate(nil, id), anew.Evaluation.Evaluate(nil, id)
			if !slices.EqualFunc(got, want, func(a, b *evaluation.Outcome) bool {
				return a.Flag.Name == b.Flag.Name && a.Enabled == b.Enabled && a.Value == b.Value && a.Reason == b.Reason && a.Variant == b.Variant
			}) {
				t.Errorf("%s: the snapshot of %s answers otherwise than one from nothing", test.name, key)
			}
		}
		made.made()
	}
	l.close(t)
	l.open(t)
	if got := fmt.Sprint(made.made()); got != "["+all+"]" {
		t.Errorf("opened again: %s", got)
	}
}

func (e encodings) peek() []string { return slices.Collect(maps.Keys(e)) }

// Each outcome has the answer that the encoder made for it, also those of
// identities' own overrides.
func TestSnapshotBodies(t *testing.T) {
	made := encodings{}
	l := newLedgerWith(t, t.TempDir(), projections.Options{Schema: 1, Encode: made.encode}).closing(t)
	l.do(t, append(opening(), overriding("prod", "checkout", "us", "x"),
		commands.SetIdentityOverride{Environment: "prod", Feature: "search", Identifier: "ana", Variant: new("b")},
		commands.SetIdentityOverride{Environment: "prod", Feature: "checkout", Identifier: "ana", Value: commands.Some(evaluation.Int(7))})...)
	s := l.snapshot("prod")
	ana := fmt.Sprintf("person-%d-ana", s.Environment.ID)
	american := []evaluation.Trait{{Key: "country", Value: evaluation.String("US")}}
	for name, test := range map[string]struct {
		identity *evaluation.Identity
		want     string
	}{
		"anybody":      {nil, "checkout=v1 search=null"},
		"an American":  {&evaluation.Identity{Identifier: "visitor", Traits: american}, "checkout=x search=null"},
		"Ana herself":  {&evaluation.Identity{Identifier: "ana", Traits: american, Overrides: s.IdentityOverrides(ana)}, "checkout=7 search=B"},
		"an unknown":   {&evaluation.Identity{Identifier: "ben", Overrides: s.IdentityOverrides("")}, "checkout=v1 search=null"},
		"somebody new": {&evaluation.Identity{Identifier: "ben", Overrides: s.IdentityOverrides("nobody")}, "checkout=v1 search=null"},
	} {
		var got []string
		for _, o := range s.Evaluation.Evaluate(nil, test.identity) {
			got = append(got, string(o.Body))
		}
		if name != "Ana herself" && test.identity != nil { // the split gives them what it gives them
			got[1] = "search=null"
		}
		if fmt.Sprint(got) != "["+test.want+"]" {
			t.Errorf("%s gets %v, want %s", name, got, test.want)
		}
	}
	overrides := s.IdentityOverrides(ana)
	if again := s.IdentityOverrides(ana); &again[0] != &overrides[0] {
		t.Error("the overrides of an identity are made twice")
	}
	if o := overrides[1]; o.Variant != "b" || o.Reason != "TARGETING_MATCH; segment=identity_overrides" || o.Flag != s.Evaluation.Flag("search") {
		t.Errorf("the override is %+v", o)
	}
	l.do(t, commands.SetVariants{Feature: "search", Variants: []commands.VariantInput{{Key: "a", Weight: 30}, {Key: "b", Value: evaluation.String("new")}}})
	if got := string(l.snapshot("prod").IdentityOverrides(ana)[1].Body); got != "search=new" {
		t.Errorf("after a change of the variant the override answers %s", got)
	}
	if got := string(overrides[1].Body); got != "search=B" {
		t.Errorf("the old snapshot answers %s by now", got)
	}
}

func TestKeep(t *testing.T) {
	l := newLedger(t, t.TempDir()).closing(t)
	l.do(t, opening()...)
	built := 0
	build := func(s *projections.Snapshot) any {
		built++
		return fmt.Sprint(built, " of version ", s.Version)
	}
	s := l.snapshot("prod")
	first := fmt.Sprint("1 of version ", s.Version)
	for range 3 {
		if got := s.Keep("document", build); got != first {
			t.Errorf("kept is %v, want %s", got, first)
		}
	}
	if got, want := s.Keep("another", build), fmt.Sprint("2 of version ", s.Version); got != want {
		t.Errorf("another one is %v, want %s", got, want)
	}
	l.do(t, setting("prod", "checkout", "v2"))
	if got, want := l.snapshot("prod").Keep("document", build), fmt.Sprint("3 of version ", s.Version+1); got != want {
		t.Errorf("of the next snapshot it is %v, want %s", got, want)
	}
	if got := s.Keep("document", build); got != first {
		t.Errorf("the old snapshot keeps %v by now", got)
	}
	if l.Snapshot(projections.EnvironmentID{Project: l.shop().ID, ID: 99}) != nil {
		t.Error("no environment has a snapshot")
	}
}

// A feature's own segment is in a snapshot only where it has an override.
func TestSnapshotSegments(t *testing.T) {
	l := newLedger(t, t.TempDir()).closing(t)
	l.do(t, append(opening(), commands.CreateSegment{Key: "own", Feature: "search", Rules: onTrait("country", "US")})...)
	american := &evaluation.Identity{Identifier: "a", Traits: []evaluation.Trait{{Key: "country", Value: evaluation.String("US")}}}
	in := func() []string {
		var names []string
		for _, s := range l.snapshot("prod").Evaluation.Segments(american) {
			names = append(names, s.Name)
		}
		return names
	}
	if got := in(); !slices.Equal(got, []string{"us"}) {
		t.Errorf("without an override: %v", got)
	}
	l.do(t, overriding("prod", "search", "own", "x"))
	if got := in(); !slices.Equal(got, []string{"own", "us"}) {
		t.Errorf("with an override: %v", got)
	}
	l.do(t, commands.RemoveSegmentOverride{Environment: "prod", Feature: "search", Segment: "own"})
	if got := in(); !slices.Equal(got, []string{"us"}) {
		t.Errorf("without it again: %v", got)
	}
}
