package projections_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"flagledger/commands"
	"flagledger/commands/commandtest"
	"flagledger/domain"
	"flagledger/domain/evaluation"
	"flagledger/projections"
)

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
	for _, id := range commandtest.Identities() {
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
	for _, id := range commandtest.Identities() {
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
	m.do(t, commandtest.Opening("shop")...)
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

// world is what commands are drawn from.
func (m *machine) world(deleting bool) commandtest.World {
	w := commandtest.World{
		Project: m.shop(), Deleting: deleting,
		Version: func(environment int32) uint64 {
			return m.CurrentVersion(projections.EnvironmentID{Project: m.shop().ID, ID: environment})
		},
		Surrogate: func(environment int32, identifier string) string { return m.Lookup("", environment, identifier) },
	}
	if deleting {
		w.Position = rapid.Uint64Range(1, uint64(len(m.log)))
	}
	return w
}

func (m *machine) try(t *rapid.T, deleting bool) (recorded bool) {
	before, commits := m.shop(), len(m.log)
	var all []commands.Command
	for range rapid.SampledFrom([]int{1, 1, 1, 1, 1, 2, 3}).Draw(t, "commands") {
		all = append(all, m.world(deleting).Command(t))
	}
	result, err := m.service.Do(context.Background(), commands.Change{Project: "shop", Commands: all, Actor: domain.Actor{ID: "ana"}, Reason: "tested"})
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
		case last.digest == version.Digest && sameNames(last.snapshot, p, env):
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

// sameNames tells whether the segments in use are called what they were called in a snapshot.
func sameNames(s *projections.Snapshot, p *domain.Project, env *domain.Environment) bool {
	for key := range env.Uses.All() {
		if was := s.Project.Segments.Get(key); was == nil || was.Name != p.Segments.Get(key).Name {
			return false
		}
	}
	return true
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
				version, err := m.VersionAt(projections.EnvironmentID{Project: p.ID, ID: env.ID}, uint64(position))
				if err != nil {
					t.Fatalf("version at %d: %v", position, err)
				}
				made := m.states[version.Position]
				if got, want := answersFromNothing(t, made, made.Environments.Get(key)), answersFromNothing(t, p, env); !maps.EqualFunc(got, want, maps.Equal) {
					t.Fatalf("at %d %s answers as version %d\n%v\nand when that was made\n%v", position, key, version.Version, want, got)
				}
				if got, want := past.ContentDigest(past.Environments.Get(key)), p.ContentDigest(env); *got != *want {
					t.Fatalf("at %d %s has digest %s, and had %s", position, key, got, want)
				}
			}
		}
		for id, versions := range m.versions {
			for i, then := range versions {
				past, err := m.At(id, then.position)
				if err != nil {
					t.Fatalf("version %d of %v: %v", i+1, id, err)
				}
				env := past.Environments.Get(then.snapshot.Environment.Key)
				if got, want := answersFromNothing(t, past, env), answersOf(then.snapshot); !maps.EqualFunc(got, want, maps.Equal) {
					t.Fatalf("version %d of %s answers %v\nand live it did %v", i+1, env.Key, got, want)
				}
			}
		}

		m.blamed(t)
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

// blamed checks of every element that it has been what it is since the commit that is blamed for it, and was not before.
func (m *machine) blamed(t *rapid.T) {
	p := m.shop()
	for key, env := range p.Environments.All() {
		for feature := range p.Features.All() {
			elements := env.Elements(p, feature)
			since, err := m.Blame(m.id(key), elements, p.Position)
			if err != nil {
				t.Fatalf("blame %s of %s: %v", feature, key, err)
			}
			for i, el := range elements {
				same := func(position uint64) bool {
					then := *m.states[position]
					if was := then.Environments.Get(key); was == nil || was.ID != env.ID { // what environments share is older
						then.Environments = then.Environments.Set(key, &domain.Environment{ID: env.ID, Key: key})
					}
					return el.Same(p, &then)
				}
				if since[i] == 0 || same(since[i]-1) {
					t.Fatalf("blamed for %s of %s in %s at %d is %d, before which it was the same", el.Name, feature, key, p.Position, since[i])
				}
				for at := since[i]; at <= p.Position; at++ {
					if !same(at) {
						t.Fatalf("blamed for %s of %s in %s at %d is %d, and at %d it was different", el.Name, feature, key, p.Position, since[i], at)
					}
				}
			}
		}
	}
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

// What was deleted comes back with a rollback that is asked to restore it, and goes again when that is rolled back in the same way: the digests
// are what they were, there and, after both, everywhere. Only a key that was taken meanwhile, somebody who was erased and what came later
// stand in the way.
func TestRollbackRestoring(t *testing.T) {
	root := memoryDir(t)
	rapid.Check(t, func(t *rapid.T) {
		m := newMachine(t, subdirectory(t, root))
		for range 14 {
			m.step(t, true)
		}
		keys := slices.Sorted(maps.Keys(maps.Collect(m.shop().Environments.All())))
		if len(keys) == 0 {
			return
		}
		key := rapid.SampledFrom(keys).Draw(t, "environment")
		id := m.id(key)
		version := rapid.Uint64Range(1, m.CurrentVersion(id)).Draw(t, "version")
		then, begin, digests := m.versions[id][version-1], m.CurrentVersion(id), m.digests()
		back := func(version uint64) []string {
			c := commands.Rollback{Environment: key, Version: version, RestoreDeleted: true}
			plan, err := m.service.Preview(context.Background(), m.shop(), c)
			if err != nil {
				t.Fatal(err)
			}
			commits := len(m.log)
			m.do(t, c)
			if len(m.log) > commits {
				m.check(t)
			}
			return plan.Warnings
		}
		inTheWay := func(warnings []string) bool {
			return slices.ContainsFunc(warnings, func(w string) bool {
				return strings.Contains(w, "exists now") || strings.Contains(w, "erased since") || strings.Contains(w, "its initial state")
			})
		}
		warnings := back(version)
		if got := m.digests()[key]; got != then.digest && !inTheWay(warnings) {
			t.Fatalf("rolled back to version %d of %s the digest is %s, and was %s, with warnings %q", version, key, got, then.digest, warnings)
		}
		again := back(begin)
		if got := m.digests(); !maps.Equal(got, digests) && !inTheWay(again) {
			t.Fatalf("the rollback of %s to version %d rolled back leads to %s, want %s, with warnings %q and then %q", key, version, got, digests, warnings, again)
		}
		m.close(t)
	})
}

// Undoing the last commit leads back to the version before, everywhere, and
// undoing that to where it was. What is done to environments, keys and the project
// itself is refused, and who is erased stays so; else nothing can stand in the way.
func TestUndoOfTheLast(t *testing.T) {
	root := memoryDir(t)
	rapid.Check(t, func(t *rapid.T) {
		m := newMachine(t, subdirectory(t, root))
		for range 10 {
			before := m.shop()
			digests := m.digests()
			if !m.try(t, true) || m.shop().ID != before.ID {
				continue
			}
			now := m.digests()
			if !m.undo(t) {
				continue
			}
			if got := m.digests(); !maps.Equal(got, digests) {
				t.Fatalf("undoing %s leads to\n%v, was\n%v", m.log[len(m.log)-2].Raw, got, digests)
			}
			if m.undo(t); !maps.Equal(m.digests(), now) {
				t.Fatalf("undoing that leads to\n%v, was\n%v", m.digests(), now)
			}
		}
		m.close(t)
	})
}

// undo takes the last commit back, and tells whether it could be.
func (m *machine) undo(t *rapid.T) bool {
	last := m.log[len(m.log)-1]
	_, err := m.service.Do(context.Background(), commands.Change{Project: "shop", Reason: "tested", Commands: []commands.Command{commands.Undo{Selection: domain.Selection{Position: last.Position}, Manage: true}}})
	if _, refused := errors.AsType[*domain.Error](err); err != nil && !refused {
		t.Fatalf("undo %s: %v", last.Raw, err)
	}
	if len(m.log) > int(last.Position) {
		m.check(t)
	}
	for _, e := range last.Events {
		switch e.(type) {
		case domain.IdentityErased, domain.ProjectCreated, domain.ProjectDeleted, domain.EnvironmentCreated, domain.EnvironmentDeleted,
			domain.SDKKeyCreated, domain.SDKKeyRevoked:
			return false
		}
	}
	if err != nil {
		t.Fatalf("undo of the last commit %s: %v", last.Raw, err)
	}
	return true
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
