package domain

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha3"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strconv"

	"flagledger/domain/evaluation"
)

// VariantsIn are the variants of the feature as the environment sees them.
func (e *Environment) VariantsIn(f *Feature) []Variant {
	if pin := e.VariantsPins.Get(f.Key); pin != nil {
		return pin.Variants
	}
	return f.Variants
}

// RulesIn are the rules of the segment as the environment sees them.
func (e *Environment) RulesIn(s *Segment) []evaluation.Rule {
	if pin := e.SegmentPins.Get(s.Key); pin != nil {
		return pin.Rules
	}
	return s.Rules
}

// EvaluationSegment is the segment as the environment evaluates it.
func (e *Environment) EvaluationSegment(s *Segment) evaluation.Segment {
	return evaluation.Segment{Key: strconv.Itoa(int(s.ID)), Name: s.Name, Rules: e.RulesIn(s)}
}

// EvaluationFeature is the feature as the environment evaluates it; compiled
// gives the environment's compiled segments by key.
func (e *Environment) EvaluationFeature(f *Feature, compiled func(segment string) *evaluation.CompiledSegment) evaluation.Feature {
	variants := e.VariantsIn(f)
	state := e.States.Get(f.Key)
	out := evaluation.Feature{
		ID: f.ID, Name: f.Key, Multivariate: len(variants) > 0, ServerKeyOnly: f.ServerKeyOnly,
		State: evaluationState(state.Seed, state.Enabled, state.Value, state.Weights, variants),
	}
	if o := e.Overrides.Get(f.Key); o != nil {
		out.Overrides = make([]evaluation.Override, len(o.List))
		for i, s := range o.List {
			out.Overrides[i] = evaluation.Override{
				Segment: compiled(s.Segment),
				State:   evaluationState(s.Seed, s.Enabled, s.Value, s.Weights, variants),
			}
		}
	}
	return out
}

func evaluationState(seed int32, enabled bool, value evaluation.Value, weights map[string]float64, variants []Variant) evaluation.State {
	s := evaluation.State{Seed: strconv.Itoa(int(seed)), Enabled: enabled, Value: value}
	for _, v := range variants {
		s.Variants = append(s.Variants, evaluation.Variant{ID: v.ID, Key: v.Key, Value: v.Value, Weight: weights[v.Key], Priority: int64(v.ID)})
	}
	return s
}

// A Digest identifies the evaluation content of an environment: the states,
// variants, overrides and their order, the rules of the segments in use and the
// identity overrides, but not names, descriptions or who changed them when. It
// is what a rollback restores.
//
// It is an LtHash (Bellare and Micciancio 1997; parameters of Facebook's
// LtHash16: 1024 lanes of 16 bits): the sum of one expanded hash per part of
// the content, so that a change costs what it changes and not the whole.
//
// The lanes are stored as bytes, little endian. Numbers of 64 bits are eight of
// them at a time: no carry leaves a lane.
type Digest [2 * 1024]byte

// topBits are those of the four lanes in a number of 64 bits.
const topBits = 0x8000_8000_8000_8000

// String is Sum in hex.
func (d *Digest) String() string {
	sum := d.Sum()
	return hex.EncodeToString(sum[:])
}

// Sum is the SHA-256 of the lanes: what versions are known by.
func (d *Digest) Sum() [sha256.Size]byte { return sha256.Sum256(d[:]) }

// An expansion is the hash of a part, as long as a digest.
type expansion [len(Digest{})]byte

func (d *Digest) add(e *expansion) {
	for i := 0; i < len(d); i += 8 {
		x, y := binary.LittleEndian.Uint64(d[i:]), binary.LittleEndian.Uint64(e[i:])
		binary.LittleEndian.PutUint64(d[i:], (x&^topBits+y&^topBits)^(x^y)&topBits)
	}
}

func (d *Digest) remove(e *expansion) {
	for i := 0; i < len(d); i += 8 {
		x, y := binary.LittleEndian.Uint64(d[i:]), binary.LittleEndian.Uint64(e[i:])
		binary.LittleEndian.PutUint64(d[i:], (x|topBits-y&^topBits)^(x^^y)&topBits)
	}
}

// A part is the smallest piece of an environment's content that is hashed.
type part struct {
	kind ObjectKind // feature, segment or identity
	key  string
}

// partContent is what a part is, in its canonical form.
type partContent struct {
	canonical []byte
	shared    bool       // by environments
	expanded  *expansion // nil: not needed yet, or not any more
}

func (c *partContent) expand() *expansion {
	if c.expanded == nil {
		c.expanded = (*expansion)(sha3.SumSHAKE128(c.canonical, len(expansion{})))
	}
	return c.expanded
}

// same tells whether two parts are alike; nil is a part that is not there.
func (c *partContent) same(o *partContent) bool {
	return c == o || c != nil && o != nil && bytes.Equal(c.canonical, o.canonical)
}

// Contents finds out what commits change of the content of environments. It
// remembers what parts were, so that one that changes again is encoded and hashed
// once, not as it was and as it is. The zero value remembers nothing yet. A
// Contents must not be used by two goroutines at once.
type Contents struct {
	known map[partID]*[2]knownPart // the newest one first
}

// maxKnown is how many parts a Contents remembers, each of which takes the 2 KiB
// of its hash and what it is encoded to.
const maxKnown = 4096

// partID names a part among all projects. Rules that are not pinned are those of
// environment 0: they are the same everywhere.
type partID struct {
	project     string
	environment int32
	part        part
}

// origins are what a part is made of, none of which ever changes. The zero value
// is that of a part that is not there.
type origins struct {
	feature   *Feature
	state     *FeatureState
	overrides *SegmentOverrides
	variants  *VariantsPin
	segment   *Segment
	pin       *SegmentPin
	identity  *IdentityOverrides
}

type knownPart struct {
	from    origins
	content *partContent
}

func (p *Project) origins(env *Environment, at part) (from origins) {
	switch at.kind {
	case KindFeature:
		if from.feature = p.Features.Get(at.key); from.feature != nil {
			from.state, from.overrides, from.variants = env.States.Get(at.key), env.Overrides.Get(at.key), env.VariantsPins.Get(at.key)
		}
	case KindSegment:
		if from.segment = p.Segments.Get(at.key); from.segment != nil && env.UsesSegment(at.key) {
			from.pin = env.SegmentPins.Get(at.key)
		} else {
			from.segment = nil
		}
	case KindIdentity:
		from.identity = env.Identities.Get(at.key)
	}
	return from
}

// part is a part of an environment, nil where it has none.
func (c *Contents) part(p *Project, env *Environment, at part, from origins) *partContent {
	if from == (origins{}) {
		return nil
	}
	shared := at.kind == KindSegment && from.pin == nil
	id := partID{p.ID, env.ID, at}
	if shared {
		id.environment = 0
	}
	known := c.known[id]
	if known == nil {
		if c.known == nil || len(c.known) >= maxKnown {
			c.known = map[partID]*[2]knownPart{}
		}
		known = new([2]knownPart)
		c.known[id] = known
	}
	for _, k := range known {
		if k.from == from {
			return k.content
		}
	}
	content := p.content(env, at)
	content.shared = shared
	known[0], known[1] = knownPart{from, content}, known[0]
	return content
}

// content is a part of an environment, nil where it has none.
func (p *Project) content(env *Environment, at part) *partContent {
	var c any
	switch at.kind {
	case KindFeature:
		f := p.Features.Get(at.key)
		if f == nil {
			return nil
		}
		c = featureContent(env, f)
	case KindSegment:
		s := p.Segments.Get(at.key)
		if s == nil || !env.UsesSegment(at.key) {
			return nil
		}
		c = struct {
			ID    int32
			Rules []evaluation.Rule
		}{s.ID, env.RulesIn(s)}
	case KindIdentity:
		o := env.Identities.Get(at.key)
		if o == nil {
			return nil
		}
		list := make([]IdentityOverride, len(o.List))
		for i, s := range o.List {
			s.Changed = Stamp{}
			list[i] = s
		}
		c = list
	}
	body, err := json.Marshal(c)
	if err != nil {
		panic("domain: content of " + string(at.kind) + " " + at.key + ": " + err.Error()) // plain data: cannot fail
	}
	return &partContent{canonical: append([]byte(string(at.kind)+":"+at.key+"\n"), body...)}
}

func featureContent(env *Environment, f *Feature) any {
	type variant struct { // a variant's default weight concerns new environments only
		ID    int32
		Key   string
		Value evaluation.Value
	}
	var variants []variant
	for _, v := range env.VariantsIn(f) {
		variants = append(variants, variant{v.ID, v.Key, v.Value})
	}
	split := func(weights map[string]float64) map[string]float64 { // a weight of 0 is none
		effective := make(map[string]float64, len(weights))
		for _, v := range variants {
			if w := weights[v.Key]; w != 0 {
				effective[v.Key] = w
			}
		}
		return effective
	}
	state := *env.States.Get(f.Key)
	state.Weights, state.Changed = split(state.Weights), Stamp{}
	var list []SegmentOverride // nil where there are none, also where there once were some
	if o := env.Overrides.Get(f.Key); o != nil {
		for _, s := range o.List {
			s.Weights, s.Changed = split(s.Weights), Stamp{}
			list = append(list, s)
		}
	}
	return struct {
		ID        int32
		State     FeatureState
		Variants  []variant
		Overrides []SegmentOverride
	}{f.ID, state, variants, list}
}

// ContentDigest computes the digest of an environment from nothing.
func (p *Project) ContentDigest(env *Environment) *Digest {
	d := new(Digest)
	add := func(at part) {
		if c := p.content(env, at); c != nil {
			d.add(c.expand())
		}
	}
	for key := range p.Features.All() {
		add(part{KindFeature, key})
	}
	for key := range env.Uses.All() {
		add(part{KindSegment, key})
	}
	for key := range env.Identities.All() {
		add(part{KindIdentity, key})
	}
	return d
}

// A ContentChange is what a commit changed of an environment's content.
type ContentChange struct {
	Environment *Environment // as it is after it
	parts       []partChange
}

// partChange is a part of the content before and after; nil where there was or is none.
type partChange struct{ was, is *partContent }

// Update brings the digest of the environment (zero for a new one) to what it
// is after the change.
func (c ContentChange) Update(d *Digest) {
	for _, p := range c.parts {
		if p.was != nil {
			d.remove(p.was.expand())
			if !p.was.shared {
				p.was.expanded = nil
			}
		}
		if p.is != nil {
			d.add(p.is.expand())
		}
	}
}

// Size is about what keeping the change takes, in bytes.
func (c ContentChange) Size() int {
	size := 0
	for _, p := range c.parts {
		for _, content := range []*partContent{p.was, p.is} {
			if content != nil {
				size += len(content.canonical)
			}
		}
	}
	return size
}

// Changes returns the environments that are new, whose content the objects
// changed, or which give another reason for the same: those that get their next
// version.
func (c *Contents) Changes(before, after *Project, objects []Object) []ContentChange {
	var changes []ContentChange
	parts := make(map[part]bool)
	for _, key := range concerned(after, objects) {
		env, old := after.Environments.Get(key), before.Environments.Get(key)
		if old != nil && old.ID != env.ID {
			old = nil // deleted and made again
		}
		if old == env && !sees(env, objects) {
			continue
		}
		change := ContentChange{Environment: env}
		clear(parts)
		touchParts(parts, before, after, key, objects)
		for at := range parts {
			var then origins
			var was *partContent
			if old != nil {
				then = before.origins(old, at)
			}
			now := after.origins(env, at)
			if now == then {
				continue
			}
			if old != nil {
				was = c.part(before, old, at, then)
			}
			if is := c.part(after, env, at, now); !is.same(was) {
				change.parts = append(change.parts, partChange{was, is})
			}
		}
		if old == nil || len(change.parts) > 0 || renamed(before, after, env, objects) {
			changes = append(changes, change)
		}
	}
	return changes
}

// sees tells whether the content of an environment that is itself as it was can
// have changed with the objects.
func sees(env *Environment, objects []Object) bool {
	return slices.ContainsFunc(objects, func(o Object) bool {
		return o.Kind == KindFeature || o.Kind == KindSegment && env.UsesSegment(o.Key)
	})
}

// renamed tells whether something has another name that answers depend on: a
// segment in use, as the reasons that are given with answers say it, or the
// environment, where the rules of a segment in use ask for its name.
func renamed(before, after *Project, env *Environment, objects []Object) bool {
	return slices.ContainsFunc(objects, func(o Object) bool {
		switch {
		case o.Kind == KindSegment && env.UsesSegment(o.Key):
			was, is := before.Segments.Get(o.Key), after.Segments.Get(o.Key)
			return was != nil && was.Name != is.Name
		case o.Kind == KindEnvironment && o.Key == env.Key:
			was := before.Environments.Get(o.Key)
			return was != nil && was.Name != env.Name && after.AsksName(env)
		}
		return false
	})
}

// AsksName tells whether the rules of a segment in use ask for the name of the
// environment.
func (p *Project) AsksName(env *Environment) bool {
	asks := false
	for key := range env.Uses.All() {
		walkRules(env.RulesIn(p.Segments.Get(key)), func(r *evaluation.Rule) {
			asks = asks || slices.ContainsFunc(r.Conditions, func(c evaluation.Condition) bool { return c.Property == "$.environment.name" })
		})
	}
	return asks
}

// concerned are the environments whose content the objects can be part of.
func concerned(p *Project, objects []Object) []string {
	var keys []string
	for _, o := range objects {
		switch o.Kind {
		case KindProject, KindEnvironment, KindFeature, KindSegment:
			return p.Environments.Keys()
		}
		if o.Environment != "" && p.Environments.Get(o.Environment) != nil {
			keys = append(keys, o.Environment)
		}
	}
	return slices.Compact(slices.Sorted(slices.Values(keys)))
}

// touchParts adds the parts of the environment that the objects can concern.
func touchParts(parts map[part]bool, before, after *Project, env string, objects []Object) {
	touch := func(kind ObjectKind, key string) { parts[part{kind, key}] = true }
	for _, o := range objects {
		switch {
		case o.Kind == KindFeature || o.Kind == KindSegment:
			touch(o.Kind, o.Key)
		case o.Environment != env:
		case o.Kind == KindFeatureState || o.Kind == KindVariantsPin:
			touch(KindFeature, o.Key)
		case o.Kind == KindSegmentPin:
			touch(KindSegment, o.Key)
		case o.Kind == KindIdentity:
			touch(KindIdentity, o.Key)
		case o.Kind == KindSegmentOverrides:
			touch(KindFeature, o.Key)
			for _, p := range []*Project{before, after} { // segments can come into use or fall out of it
				if e := p.Environments.Get(env); e != nil {
					for _, segment := range e.Overrides.Get(o.Key).Order() {
						touch(KindSegment, segment)
					}
				}
			}
		}
	}
}

// IdentityValue is the value that an identity override serves: that of the
// variant it names, or else its own.
func (e *Environment) IdentityValue(f *Feature, o IdentityOverride) evaluation.Value {
	for _, v := range e.VariantsIn(f) {
		if v.Key == o.Variant {
			return v.Value
		}
	}
	return o.Value
}
