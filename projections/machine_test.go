package projections_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"flagledger/commands"
	"flagledger/domain"
	"flagledger/domain/evaluation"
	"flagledger/projections"
)

// What random commands are about. Few of each, so that they meet.
var (
	environmentKeys = rapid.SampledFrom([]string{"dev", "prod", "prod", "qa"})
	featureKeys     = rapid.SampledFrom([]string{"f", "f", "g", "g", "h", "i"})
	segmentKeys     = rapid.SampledFrom([]string{"r", "s", "s", "t", "u"})
	people          = []string{"ana", "ben"}
	variantKeys     = []string{"x", "y", "z"}
	texts           = rapid.SampledFrom([]string{"", "one", "two"})
	values          = rapid.SampledFrom([]evaluation.Value{evaluation.Null(), evaluation.Bool(true), evaluation.Int(7), evaluation.String("a"), evaluation.String("b")})
)

// optional draws something or leaves it out.
func optional[T any](t *rapid.T, label string, g *rapid.Generator[T]) *T {
	return rapid.Ptr(g, true).Draw(t, label)
}

// drawState draws a state of a feature, mostly one that it can have.
func drawState(t *rapid.T, f *domain.Feature) commands.StateInput {
	in := commands.StateInput{Enabled: optional(t, "enabled", rapid.Bool())}
	if rapid.Bool().Draw(t, "with a value") {
		in.Value = commands.Some(values.Draw(t, "value"))
	}
	if rapid.Bool().Draw(t, "with weights") {
		in.Weights = commands.Some(map[string]float64{})
		if f != nil {
			for _, v := range f.Variants {
				in.Weights.Value[v.Key] = rapid.SampledFrom([]float64{0, 12.5, 33, 51}).Draw(t, "weight")
			}
		}
	}
	return in
}

func drawVariants(t *rapid.T) []commands.VariantInput {
	var all []commands.VariantInput
	for _, key := range variantKeys[:rapid.IntRange(0, len(variantKeys)).Draw(t, "variants")] {
		all = append(all, commands.VariantInput{Key: key, Value: values.Draw(t, "value"), Weight: rapid.SampledFrom([]float64{0, 10, 30}).Draw(t, "weight")})
	}
	return all
}

func drawRules(t *rapid.T) commands.Rules {
	rules := make(commands.Rules, rapid.IntRange(1, 2).Draw(t, "rules"))
	for i := range rules {
		rules[i].Type = rapid.SampledFrom([]evaluation.RuleType{evaluation.All, evaluation.Any, evaluation.None}).Draw(t, "type")
		for range rapid.IntRange(1, 2).Draw(t, "conditions") {
			rules[i].Conditions = append(rules[i].Conditions, rapid.SampledFrom([]evaluation.Condition{
				{Property: "country", Operator: evaluation.Equal, Value: "US"}, {Property: "country", Operator: evaluation.In, Value: "US,CA"},
				{Property: "plan", Operator: evaluation.IsSet}, {Operator: evaluation.PercentageSplit, Value: "50"},
				{Property: "$.identity.identifier", Operator: evaluation.NotEqual, Value: "ben"},
			}).Draw(t, "condition"))
		}
	}
	return rules
}

// drawCommand draws any command. Many are refused: there is no such thing, or
// there is one already.
func drawCommand(t *rapid.T, l *ledger, deleting bool) commands.Command {
	env, feature, segment := environmentKeys.Draw(t, "environment"), featureKeys.Draw(t, "feature"), segmentKeys.Draw(t, "segment")
	content := []func() commands.Command{
		func() commands.Command { return commands.SetVariants{Feature: feature, Variants: drawVariants(t)} },
		func() commands.Command {
			return commands.SetFeatureState{Environment: env, Feature: feature, StateInput: drawState(t, l.shop().Features.Get(feature))}
		},
		func() commands.Command {
			return commands.UpdateSegment{Segment: segment, Name: new("n" + texts.Draw(t, "name")), Rules: new(drawRules(t))}
		},
		func() commands.Command {
			return commands.SetSegmentOverride{Environment: env, Feature: feature, Segment: segment, Place: optional(t, "place", rapid.IntRange(0, 2)), StateInput: drawState(t, l.shop().Features.Get(feature))}
		},
		func() commands.Command {
			return commands.RemoveSegmentOverride{Environment: env, Feature: feature, Segment: segment}
		},
		func() commands.Command {
			var order []string
			if e := l.shop().Environments.Get(env); e != nil {
				order = rapid.Permutation(e.Overrides.Get(feature).Order()).Draw(t, "order")
			}
			return commands.OrderSegmentOverrides{Environment: env, Feature: feature, Order: order}
		},
		func() commands.Command {
			c := commands.SetIdentityOverride{Environment: env, Feature: feature, Identifier: rapid.SampledFrom(people).Draw(t, "person"), Enabled: optional(t, "enabled", rapid.Bool())}
			if rapid.Bool().Draw(t, "with a variant") {
				c.Variant = new(rapid.SampledFrom(variantKeys).Draw(t, "variant"))
			} else if rapid.Bool().Draw(t, "with a value") {
				c.Value = commands.Some(values.Draw(t, "value"))
			}
			return c
		},
		func() commands.Command {
			return commands.RemoveIdentityOverride{Environment: env, Feature: feature, Identifier: rapid.SampledFrom(people).Draw(t, "person")}
		},
		func() commands.Command {
			c := commands.Rollback{Environment: env}
			if e := l.shop().Environments.Get(env); e != nil {
				newest := l.CurrentVersion(projections.EnvironmentID{Project: l.shop().ID, ID: e.ID})
				c.Version = rapid.Uint64Range(1, max(newest, 1)).Draw(t, "version")
			}
			c.RestoreDeleted = deleting && rapid.Bool().Draw(t, "restore")
			if deleting && rapid.Bool().Draw(t, "selected") {
				c.Features = []string{feature}
			}
			return c
		},
	}
	all := []func() commands.Command{
		func() commands.Command { return commands.CreateEnvironment{Key: env} },
		func() commands.Command {
			return commands.CloneEnvironment{Source: environmentKeys.Draw(t, "source"), Key: env}
		},
		func() commands.Command {
			return commands.UpdateEnvironment{Environment: env, Name: new("n" + texts.Draw(t, "name")), Settings: commands.Settings{HideSensitiveData: optional(t, "hide", rapid.Bool())}}
		},
		func() commands.Command {
			return commands.UpdateProject{Description: new(texts.Draw(t, "description")), HideDisabledFlags: optional(t, "hide", rapid.Bool())}
		},
		func() commands.Command {
			return commands.CreateFeature{Key: feature, DefaultEnabled: rapid.Bool().Draw(t, "on"), InitialValue: values.Draw(t, "value"), Variants: drawVariants(t)}
		},
		func() commands.Command {
			return commands.UpdateFeature{Feature: feature, Description: new(texts.Draw(t, "description")), ServerKeyOnly: optional(t, "server", rapid.Bool())}
		},
		func() commands.Command {
			c := commands.CreateSegment{Key: segment, Rules: drawRules(t)}
			if rapid.Bool().Draw(t, "for a feature") {
				c.Feature = feature
			}
			return c
		},
		func() commands.Command { return commands.UnpinSegment{Environment: env, Segment: segment} },
		func() commands.Command { return commands.UnpinVariants{Environment: env, Feature: feature} },
		func() commands.Command {
			return commands.SetContext{Key: rapid.SampledFrom([]string{"country", "plan"}).Draw(t, "trait"), Type: domain.StringContext, Description: texts.Draw(t, "description")}
		},
		func() commands.Command {
			c, _ := commands.NewSDKKey(env, "key", rapid.SampledFrom([]domain.SDKKeyKind{domain.ClientKey, domain.ServerKey}).Draw(t, "kind"), epoch.AddDate(1, 0, 0))
			return c
		},
	}
	if deleting {
		all = append(all,
			func() commands.Command { return commands.DeleteEnvironment{Environment: env} },
			func() commands.Command { return commands.DeleteFeature{Feature: feature} },
			func() commands.Command { return commands.DeleteSegment{Segment: segment} },
			func() commands.Command { return commands.RemoveContext{Key: "country"} },
			func() commands.Command {
				if e := l.shop().Environments.Get(env); e != nil {
					for id := range e.Keys.All() {
						return commands.RevokeSDKKey{Environment: env, ID: id}
					}
				}
				return commands.DeleteProject{}
			},
			func() commands.Command {
				surrogate := "person-0-nobody"
				if e := l.shop().Environments.Get(env); e != nil {
					surrogate = l.Lookup("", e.ID, rapid.SampledFrom(people).Draw(t, "person"))
				}
				return commands.EraseIdentity{Environment: env, Surrogate: surrogate}
			},
			func() commands.Command {
				return commands.Undo{Selection: domain.Selection{Position: rapid.Uint64Range(1, uint64(len(l.log))).Draw(t, "position")}}
			},
		)
	}
	if rapid.IntRange(0, 3).Draw(t, "of content") > 0 {
		all = content
	}
	return rapid.SampledFrom(all).Draw(t, "command")()
}

// drawIdentities are people of whom some have overrides.
func drawIdentities() []*evaluation.Identity {
	trait := func(key, value string) evaluation.Trait {
		return evaluation.Trait{Key: key, Value: evaluation.String(value)}
	}
	all := []*evaluation.Identity{
		{Identifier: "ana", Traits: []evaluation.Trait{trait("country", "US")}},
		{Identifier: "ben", Traits: []evaluation.Trait{trait("country", "CA"), trait("plan", "pro")}},
	}
	for i := range 12 {
		all = append(all, &evaluation.Identity{Identifier: fmt.Sprintf("visitor %d", i), Traits: []evaluation.Trait{trait("country", []string{"US", "CA", "MX"}[i%3])}})
	}
	return all
}

// answer is what an identity gets of a feature.
type answer struct {
	enabled bool
	value   evaluation.Value
	variant string
	reason  string // only for comparing two ways to the same state
}

// answersOf evaluates everybody in a snapshot; by feature and identity.
func answersOf(s *projections.Snapshot) map[string]map[string]answer {
	all := map[string]map[string]answer{}
	for _, id := range drawIdentities() {
		id.Overrides = s.IdentityOverrides(fmt.Sprintf("person-%d-%s", s.Environment.ID, id.Identifier))
		note(all, id.Identifier, s.Evaluation.Evaluate(nil, id))
	}
	return all
}

// answersFromNothing evaluates everybody in the environment, compiled for it.
func answersFromNothing(t failer, p *domain.Project, env *domain.Environment) map[string]map[string]answer {
	e, err := p.Evaluator(env)
	if err != nil {
		t.Fatalf("compile: %v", err)
	}
	all := map[string]map[string]answer{}
	for _, id := range drawIdentities() {
		note(all, id.Identifier, e.Compiled.Evaluate(nil, e.Identity(fmt.Sprintf("person-%d-%s", env.ID, id.Identifier), id.Identifier, id.Traits)))
	}
	return all
}

func note(all map[string]map[string]answer, identifier string, outcomes []*evaluation.Outcome) {
	for _, o := range outcomes {
		if all[o.Flag.Name] == nil {
			all[o.Flag.Name] = map[string]answer{}
		}
		all[o.Flag.Name][identifier] = answer{o.Enabled, o.Value, o.Variant, o.Reason}
	}
}

// memoryDir is a directory in memory, where there is one: thousands of small
// transactions would spend their time waiting for the disk.
func memoryDir(t *testing.T) string {
	dir, err := os.MkdirTemp("/dev/shm", "flagledger-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// subdirectory is one for a single run.
func subdirectory(t *rapid.T, root string) string {
	dir, err := os.MkdirTemp(root, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// A machine carries out random changes and remembers what was live at each time.
type machine struct {
	*ledger
	states   []*domain.Project // by position, from 0 on
	versions map[projections.EnvironmentID][]live
}

// live is an environment at one version, as it was when that was the newest.
type live struct {
	digest   string
	position uint64
	snapshot *projections.Snapshot
}

func newMachine(t *rapid.T, dir string) *machine {
	m := &machine{ledger: newLedger(t, dir), versions: map[projections.EnvironmentID][]live{}}
	m.states = []*domain.Project{m.shop()}
	m.do(t, commands.CreateProject{Key: "shop"}, commands.CreateEnvironment{Key: "dev"}, commands.CreateEnvironment{Key: "prod"},
		commands.CreateFeature{Key: "f", Variants: []commands.VariantInput{{Key: "x", Value: evaluation.String("X"), Weight: 30}, {Key: "y", Value: evaluation.String("Y"), Weight: 0}}},
		commands.CreateFeature{Key: "g", InitialValue: evaluation.String("a")}, commands.CreateFeature{Key: "h"},
		commands.CreateSegment{Key: "r", Rules: onTrait("plan", "pro")}, commands.CreateSegment{Key: "s", Rules: onTrait("country", "US")},
		commands.CreateSegment{Key: "t", Feature: "f", Rules: onTrait("country", "CA")},
		overriding("prod", "f", "s", "a"), overriding("prod", "f", "t", "b"), overriding("dev", "g", "r", "b"))
	m.check(t)
	return m
}

// step carries out a random change, and checks what became of it. Of what is
// refused it tries another one, a few times.
func (m *machine) step(t *rapid.T, deleting bool) {
	for range 5 {
		if m.try(t, deleting) {
			break
		}
	}
}

func (m *machine) try(t *rapid.T, deleting bool) (recorded bool) {
	before, commits := m.shop(), len(m.log)
	var all []commands.Command
	for range rapid.SampledFrom([]int{1, 1, 1, 1, 1, 2, 3}).Draw(t, "commands") {
		all = append(all, drawCommand(t, m.ledger, deleting))
	}
	result, err := m.service.Do(context.Background(), commands.Change{Project: "shop", Commands: all, Actor: domain.Actor{ID: "ana"}})
	if err != nil {
		if _, ok := errors.AsType[*domain.Error](err); !ok {
			t.Fatalf("%+v: %v", all, err)
		}
	}
	if !result.Recorded {
		if len(m.log) != commits || m.shop() != before {
			t.Fatalf("%+v, not recorded, changes something", all)
		}
		return false
	}
	for _, c := range all {
		if e, ok := c.(commands.EraseIdentity); ok {
			m.erased[e.Surrogate] = true
		}
	}
	m.check(t)
	if !m.shop().Exists() { // begin again
		m.do(t, commands.CreateProject{Key: "shop"}, commands.CreateEnvironment{Key: "dev"})
		m.check(t)
	}
	return true
}

// check compares what the views say with what can be worked out from nothing.
func (m *machine) check(t *rapid.T) {
	p := m.shop()
	m.states = append(m.states, p)
	if err := p.CheckReferences(domain.ProjectDeleted{Key: "shop"}.Objects(p)); err != nil {
		t.Fatalf("at %d: %v", p.Position, err)
	}
	for key, env := range p.Environments.All() {
		id := m.id(key)
		version, err := m.Version(id, m.CurrentVersion(id))
		if err != nil {
			t.Fatalf("version: %v", err)
		}
		if want := p.ContentDigest(env).String(); version.Digest != want {
			t.Fatalf("at %d the digest of %s is %s, want %s", p.Position, key, version.Digest, want)
		}
		known, last := m.versions[id], live{}
		if len(known) > 0 {
			last = known[len(known)-1]
		}
		s := m.Snapshot(id)
		switch {
		case last.digest == version.Digest:
			if version.Version != uint64(len(known)) || version.Position != last.position {
				t.Fatalf("%s goes to version %+v without a change", key, version)
			}
		case version.Version != uint64(len(known)+1) || version.Position != p.Position:
			t.Fatalf("%s goes from version %d to %+v at %d", key, len(known), version, p.Position)
		default:
			m.versions[id] = append(known, live{version.Digest, version.Position, s})
		}
		if s.Version != version.Version || s.Environment.ID != env.ID {
			t.Fatalf("the snapshot of %s is of version %d, want %d", key, s.Version, version.Version)
		}
		if got, want := answersOf(s), answersFromNothing(t, p, env); !maps.EqualFunc(got, want, maps.Equal) {
			t.Fatalf("at %d %s answers %v\nfrom nothing %v", p.Position, key, got, want)
		}
	}
	for id := range m.versions {
		if p.Environments.Len() == 0 || !slices.ContainsFunc(slices.Collect(maps.Values(maps.Collect(p.Environments.All()))), func(e *domain.Environment) bool { return e.ID == id.ID }) {
			if m.Snapshot(id) != nil {
				t.Fatalf("environment %d is gone and has a snapshot", id.ID)
			}
		}
	}
}

// Whatever is done: the digests are those of the content, versions count its
// changes, the snapshots answer as ones compiled from nothing; and in the end
// the past is what it was, views opened again and made again are the same.
func TestViewsFollowTheLog(t *testing.T) {
	root := memoryDir(t)
	rapid.Check(t, func(t *rapid.T) {
		dir := subdirectory(t, root)
		m := newMachine(t, dir)
		for range 15 {
			m.step(t, true)
		}

		for position, p := range m.states {
			for key, env := range p.Environments.All() {
				past, err := m.At(projections.EnvironmentID{Project: p.ID, ID: env.ID}, uint64(position))
				if err != nil {
					t.Fatalf("at %d: %v", position, err)
				}
				if got, want := imagesOf(t, past, key), imagesOf(t, p, key); !maps.Equal(got, want) {
					t.Fatalf("at %d %s is\n%v\nand was\n%v", position, key, got, want)
				}
				if got, want := past.ContentDigest(past.Environments.Get(key)), p.ContentDigest(env); *got != *want {
					t.Fatalf("at %d %s has digest %s, and had %s", position, key, got, want)
				}
			}
		}

		before, keys := dumpOf(t, m.Views), slices.Collect(maps.Keys(maps.Collect(m.shop().Environments.All())))
		images := imagesOf(t, m.shop(), keys...)
		lastID := m.shop().LastID
		m.close(t)
		m.open(t)
		if got := dumpOf(t, m.Views); !maps.Equal(got, before) {
			t.Fatalf("opened again: %v", differences(got, before))
		}
		if got := imagesOf(t, m.shop(), keys...); !maps.Equal(got, images) || m.shop().LastID != lastID {
			t.Fatalf("opened again the project is %v, was %v", got, images)
		}
		for key, env := range m.shop().Environments.All() {
			if got, want := answersOf(m.snapshot(key)), answersFromNothing(t, m.shop(), env); !maps.EqualFunc(got, want, maps.Equal) {
				t.Fatalf("opened again %s answers %v, want %v", key, got, want)
			}
		}

		pattern := rapid.Uint64Range(1, 7).Draw(t, "commits in a transaction")
		again := replay(t, dir, m.log, func(i int) uint64 {
			if last := i == len(m.log)-1; last || uint64(i)%pattern == 0 {
				return 0
			}
			return 1
		})
		if got := dumpOf(t, again); !maps.Equal(got, before) {
			t.Fatalf("made again: %v", differences(got, before))
		}
		if err := again.Close(); err != nil {
			t.Fatal(err)
		}
		m.close(t)
	})
}

// After a rollback to a version everybody gets of the features of then what they
// got when it was the newest, elsewhere nothing has changed, and rolling the
// rollback back leads to where it began.
func TestRollback(t *testing.T) {
	root := memoryDir(t)
	rapid.Check(t, func(t *rapid.T) {
		dir := subdirectory(t, root)
		m := newMachine(t, dir)
		for range 12 {
			m.step(t, false)
		}
		for range 3 {
			keys := slices.Sorted(maps.Keys(maps.Collect(m.shop().Environments.All())))
			key := rapid.SampledFrom(keys).Draw(t, "environment")
			id := m.id(key)
			version := rapid.Uint64Range(1, m.CurrentVersion(id)).Draw(t, "version")
			then, begin, digests := m.versions[id][version-1], m.CurrentVersion(id), m.digests()

			m.rollback(t, key, version)
			now := answersOf(m.Snapshot(id))
			for feature, want := range answersOf(then.snapshot) {
				for who, want := range want {
					got := now[feature][who]
					got.reason, want.reason = "", "" // names the segment as it is called today
					if got != want {
						t.Fatalf("rolled back to version %d of %s, %s gets %v of %s, and got %v", version, key, who, got, feature, want)
					}
				}
			}
			sameFeatures := then.snapshot.Project.Features.Len() == m.shop().Features.Len()
			if got := m.digests()[key]; (got == then.digest) != sameFeatures {
				t.Fatalf("rolled back to version %d of %s the digest is %s, and was %s", version, key, got, then.digest)
			}
			m.sameElsewhere(t, key, digests)

			m.rollback(t, key, begin)
			if got := m.digests()[key]; got != digests[key] {
				t.Fatalf("the rollback of %s rolled back leads to %s, want %s", key, got, digests[key])
			}
			m.sameElsewhere(t, key, digests)
			commits := len(m.log)
			m.rollback(t, key, m.CurrentVersion(id))
			if len(m.log) != commits {
				t.Fatalf("a rollback of %s to the present recorded %s", key, m.log[commits].Raw)
			}
		}
		m.close(t)
	})
}

func (m *machine) rollback(t *rapid.T, env string, version uint64) {
	commits := len(m.log)
	m.do(t, commands.Rollback{Environment: env, Version: version})
	if len(m.log) > commits {
		m.check(t)
	}
}

func (m *machine) digests() map[string]string {
	all := map[string]string{}
	for key, env := range m.shop().Environments.All() {
		all[key] = m.shop().ContentDigest(env).String()
	}
	return all
}

func (m *machine) sameElsewhere(t *rapid.T, env string, before map[string]string) {
	now := m.digests()
	delete(now, env)
	for key, digest := range now {
		if before[key] != digest {
			t.Fatalf("a rollback of %s changes %s", env, key)
		}
	}
}
