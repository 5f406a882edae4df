package projections

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"flagledger/domain"
	"flagledger/domain/evaluation"
)

// An Encoder makes the answer for one outcome of a feature, to be sent as it is.
type Encoder func(*domain.Project, *domain.Environment, *domain.Feature, *evaluation.Outcome) []byte

// A Snapshot is an environment compiled for evaluation, as of one position. It
// is immutable; the next one replaces it whole.
type Snapshot struct {
	Project     *domain.Project
	Environment *domain.Environment
	Evaluation  *evaluation.Environment
	Version     uint64 // of the evaluation content
	Position    uint64 // of the last commit that touched the environment
	// Updated is when that commit was recorded, by the stream's clock.
	Updated time.Time
	// Modified is Updated to the second, or where an earlier snapshot of the
	// environment has that second, the next that none has: it stands for this one
	// alone, and grows. After many commits in a second it can lie ahead.
	Modified time.Time
	// Tally counts the evaluations of the environment, also those by earlier
	// and later snapshots.
	Tally *Tally

	flags      []compiledFlag // in the order of their keys, as in Evaluation
	segments   map[string]compiledSegment
	encode     Encoder
	overrides  sync.Map // surrogate -> []*evaluation.Outcome, made when first asked for
	kept       sync.Map // name -> func() any
	groups     sync.Map // answer -> *tallyGroup
	superseded chan struct{}
}

// compiledFlag is a flag with what it was compiled from, so that it can be used
// again as long as none of that has changed.
type compiledFlag struct {
	flag     *evaluation.Flag
	feature  *domain.Feature
	state    *domain.FeatureState
	list     *domain.SegmentOverrides
	variants *domain.VariantsPin
	segments []*evaluation.CompiledSegment
}

type compiledSegment struct {
	compiled *evaluation.CompiledSegment
	segment  *domain.Segment
	pin      *domain.SegmentPin
}

// compile makes the snapshot of an environment from the previous one (nil: from
// nothing), compiling only what has changed.
func (v *Views) compile(previous *Snapshot, p *domain.Project, env *domain.Environment, at head) (*Snapshot, error) {
	next := &Snapshot{
		Project: p, Environment: env, Version: at.version, Position: at.touched.Position, Updated: at.touched.Time, Modified: time.Unix(at.modified, 0).UTC(), encode: v.encode,
		superseded: make(chan struct{}),
	}
	next.Tally = newTally()
	var old Snapshot
	encodedAlike := false // what the encoder may look at beside the feature is the same
	if previous != nil {
		old.segments, old.flags = previous.segments, previous.flags
		next.Tally = previous.Tally
		encodedAlike = sameSettings(previous, next)
	}
	if encodedAlike && next.exchangeStates(previous) {
		return next, nil
	}
	next.flags, next.segments = make([]compiledFlag, 0, p.Features.Len()), make(map[string]compiledSegment, p.Segments.Len())
	segments := make([]*evaluation.CompiledSegment, 0, p.Segments.Len())
	for key, s := range p.Segments.All() {
		if s.Feature != "" && !env.UsesSegment(key) {
			continue // a feature's own segment counts only where it has an override
		}
		c := compiledSegment{segment: s, pin: env.SegmentPins.Get(key)}
		if was := old.segments[key]; was.segment == c.segment && was.pin == c.pin {
			c.compiled = was.compiled
		} else {
			var err error
			if c.compiled, err = evaluation.CompileSegment(env.EvaluationSegment(s)); err != nil {
				return nil, fmt.Errorf("compile segment %s for %s/%s: %w", key, p.Key, env.Key, err)
			}
		}
		next.segments[key] = c
		segments = append(segments, c.compiled)
	}
	flags := make([]*evaluation.Flag, 0, p.Features.Len())
	for key, f := range p.Features.All() {
		c := compiledFlag{feature: f, state: env.States.Get(key), list: env.Overrides.Get(key), variants: env.VariantsPins.Get(key)}
		if c.list != nil {
			for _, o := range c.list.List {
				segment := next.segments[o.Segment].compiled
				if segment == nil {
					return nil, fmt.Errorf("compile feature %s for %s/%s: there is no segment %s", key, p.Key, env.Key, o.Segment)
				}
				c.segments = append(c.segments, segment)
			}
		}
		for len(old.flags) > 0 && old.flags[0].feature.Key < key {
			old.flags = old.flags[1:]
		}
		if len(old.flags) > 0 && encodedAlike && old.flags[0].sameAs(c) {
			c.flag = old.flags[0].flag
		} else {
			compiled := env.EvaluationFeature(f, func(segment string) *evaluation.CompiledSegment { return next.segments[segment].compiled })
			c.flag = evaluation.CompileFeature(compiled, next.encoder(f, c.decidedBy))
		}
		next.flags = append(next.flags, c)
		flags = append(flags, c.flag)
	}
	next.Evaluation = evaluation.NewEnvironment(env.ClientKey, env.Name, flags, segments)
	return next, nil
}

// exchangeStates makes the snapshot from the previous one where nothing differs but
// states of features, which is what most commits change, at the cost of those. It
// is false, and nothing is made, where more does.
func (s *Snapshot) exchangeStates(previous *Snapshot) bool {
	env, before := s.Environment, previous.Environment
	if s.Project.Features != previous.Project.Features || s.Project.Segments != previous.Project.Segments ||
		env.Overrides != before.Overrides || env.SegmentPins != before.SegmentPins || env.VariantsPins != before.VariantsPins || env.ClientKey != before.ClientKey {
		return false
	}
	exchanged, flags := slices.Clone(previous.flags), slices.Clone(previous.Evaluation.Flags())
	i := 0
	for key, state := range env.States.All() { // in the order of the flags: every feature has one
		if i == len(exchanged) || exchanged[i].feature.Key != key {
			return false
		}
		if c := &exchanged[i]; c.state != state {
			c.state = state
			compiled := env.EvaluationFeature(c.feature, func(segment string) *evaluation.CompiledSegment { return previous.segments[segment].compiled })
			c.flag = evaluation.CompileFeature(compiled, s.encoder(c.feature, c.decidedBy))
			flags[i] = c.flag
		}
		i++
	}
	with, ok := previous.Evaluation.With(flags)
	if !ok || i != len(exchanged) {
		return false
	}
	s.segments, s.flags, s.Evaluation = previous.segments, exchanged, with
	return true
}

func (c compiledFlag) sameAs(o compiledFlag) bool {
	return c.feature == o.feature && c.state == o.state && c.list == o.list && c.variants == o.variants && slices.Equal(c.segments, o.segments)
}

// sameSettings tells whether an encoder would write the same for the same flag.
func sameSettings(a, b *Snapshot) bool {
	return a.Environment.EnvironmentSettings.Same(b.Environment.EnvironmentSettings) &&
		a.Project.ProjectSettings == b.Project.ProjectSettings && a.Environment.Name == b.Environment.Name
}

// decidedBy says what an outcome of the flag comes from.
func (c compiledFlag) decidedBy(o *evaluation.Outcome) string {
	for i, segment := range c.segments {
		if segment == o.Segment {
			return bySegment + c.list.List[i].Segment
		}
	}
	return byEnvironment
}

// encoder completes each outcome of a feature when it is made.
func (s *Snapshot) encoder(f *domain.Feature, decidedBy func(*evaluation.Outcome) string) func(*evaluation.Outcome) []byte {
	return func(o *evaluation.Outcome) []byte {
		o.Slot = s.Tally.slot(Label{f.Key, decidedBy(o), o.Variant})
		if s.encode == nil {
			return nil
		}
		return s.encode(s.Project, s.Environment, f, o)
	}
}

// IdentityOverrides are the outcomes of the identity's own overrides.
func (s *Snapshot) IdentityOverrides(surrogate string) []*evaluation.Outcome {
	if surrogate == "" {
		return nil
	}
	stored := s.Environment.Identities.Get(surrogate)
	if stored == nil {
		return nil
	}
	if made, ok := s.overrides.Load(surrogate); ok {
		return made.([]*evaluation.Outcome)
	}
	outcomes := make([]*evaluation.Outcome, 0, len(stored.List))
	own := func(*evaluation.Outcome) string { return byIdentity }
	for _, o := range stored.List {
		flag, f := s.Evaluation.Flag(o.Feature), s.Project.Features.Get(o.Feature)
		if flag != nil && f != nil {
			outcomes = append(outcomes, flag.IdentityOutcome(o.Enabled, s.Environment.IdentityValue(f, o), o.Variant, s.encoder(f, own)))
		}
	}
	s.overrides.Store(surrogate, outcomes)
	return outcomes
}

// Keep returns what build makes of the snapshot, made once under the name: what
// is the same in many answers. The build is not called for any other snapshot.
func (s *Snapshot) Keep(name any, build func(*Snapshot) any) any {
	made, ok := s.kept.Load(name)
	if !ok {
		made, _ = s.kept.LoadOrStore(name, sync.OnceValue(func() any { return build(s) }))
	}
	return made.(func() any)()
}

// Superseded is closed when a newer snapshot of the environment is published,
// or the environment is gone.
func (s *Snapshot) Superseded() <-chan struct{} { return s.superseded }

// SDKKey is what an SDK key opens.
type SDKKey struct {
	Environment EnvironmentID
	Server      bool
	Key         *domain.SDKKey // nil for the environment's own client key
}

// Snapshot returns the newest snapshot of an environment, or nil.
func (v *Views) Snapshot(id EnvironmentID) *Snapshot { return v.published.Load().snapshots[id] }

// SnapshotByKey returns what an SDK key opens: by a client key itself, or by
// the hex SHA-256 of a server key. The snapshot is nil for an unknown key.
func (v *Views) SnapshotByKey(keyOrHash string) (*Snapshot, SDKKey) {
	st := v.published.Load()
	k, ok := st.keys[keyOrHash]
	if !ok {
		return nil, SDKKey{}
	}
	return st.snapshots[k.Environment], k
}

// indexKeys makes the maps from secrets to what they open. Of a key that two
// environments were given at the same time, in two projects, the first keeps it.
func (st *state) indexKeys() {
	st.keys, st.tokens = map[string]SDKKey{}, map[string]*domain.Token{}
	since := map[string]uint64{}
	add := func(secret string, k SDKKey, created domain.Stamp) {
		if first, taken := since[secret]; !taken || created.Position < first {
			st.keys[secret], since[secret] = k, created.Position
		}
	}
	for _, p := range st.projects {
		for _, t := range p.Tokens.All() {
			st.tokens[t.Hash] = t
		}
		for _, env := range p.Environments.All() {
			id := EnvironmentID{p.ID, env.ID}
			add(env.ClientKey, SDKKey{Environment: id}, env.Created)
			for _, k := range env.Keys.All() {
				if k.Kind == domain.ServerKey {
					add(k.Hash, SDKKey{Environment: id, Server: true, Key: k}, k.Created)
				} else {
					add(k.Key, SDKKey{Environment: id, Key: k}, k.Created)
				}
			}
		}
	}
}
