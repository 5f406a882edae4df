package evaluation

import "flagledger/domain/evaluation/md5x"

// NewEnvironment assembles compiled parts; the order of flags and segments is that of the answers. It is cheap, so that
// after a change to one flag all other parts are used again.
func NewEnvironment(key, name string, flags []*Flag, segments []*CompiledSegment) *Environment {
	e := &Environment{
		Key: key, Name: name,
		flags:     flags,
		flagIndex: make(map[string]int32, len(flags)),
		firstOf:   make([]int32, len(flags)),
		segments:  segments[:len(segments):len(segments)],
		listed:    len(segments),
	}
	segmentIndex := make(map[*CompiledSegment]int32, len(segments))
	for i, s := range segments {
		segmentIndex[s] = int32(i)
	}
	states := len(flags)
	for _, f := range flags {
		states += len(f.overrides)
	}
	e.candidates = make([]candidate, 0, states)
	for i, f := range flags {
		e.flagIndex[f.Name] = int32(i)
		e.hidden = e.hidden || f.ServerKeyOnly
		e.firstOf[i] = int32(len(e.candidates))
		for j := range f.overrides {
			s := f.overrides[j].segment
			index, ok := segmentIndex[s]
			if !ok {
				index = int32(len(e.segments))
				segmentIndex[s] = index
				e.segments = append(e.segments, s)
			}
			e.candidates = append(e.candidates, f.overrides[j].candidate(index))
		}
		e.candidates = append(e.candidates, f.state.candidate(everybody))
	}
	e.placeProperties()
	// What is asked together should be in one batch: the splits of the environment's states, which everybody meets who is
	// in no override, then those of segments, then those of overrides.
	p := newPlacing(e)
	p.states(false)
	e.placeRules(p)
	p.states(true)
	return e
}

// placeProperties gives every property of the segments a slot, so that each is looked up at most once in an evaluation.
func (e *Environment) placeProperties() {
	e.traitIndex = make(map[string]int32)
	traitOf := func(name string) int32 {
		i, ok := e.traitIndex[name]
		if !ok {
			i = int32(len(e.traitIndex))
			e.traitIndex[name] = i
		}
		return i
	}
	slotOf := make(map[property]int32)
	e.firstSlot = make([]int32, len(e.segments))
	for i, s := range e.segments {
		e.firstSlot[i] = int32(len(e.slots))
		for _, p := range s.properties {
			slot, ok := slotOf[p]
			if !ok {
				slot = int32(len(e.properties))
				slotOf[p] = slot
				e.properties = append(e.properties, lookup{property: p, literal: traitOf(p.name), named: traitOf(p.trait)})
			}
			e.slots = append(e.slots, slot)
		}
	}
}

// placeRules copies the segments' rules for this environment: all lie together in their order, and their conditions too,
// so that an evaluation waits less for memory.
func (e *Environment) placeRules(p *placing) {
	used := make([]bool, len(e.segments))
	for _, c := range e.candidates {
		if c.segment != everybody {
			used[c.segment] = true
		}
	}
	conditions := 0
	for _, s := range e.segments {
		conditions += s.conditions
	}
	p.conditions = make([]compiledCondition, 0, conditions)
	e.rules = make([]compiledRule, len(e.segments))
	for i, s := range e.segments {
		e.rules[i] = p.rule(s.rule, e.slots[e.firstSlot[i]:], used[i])
	}
}

// placing finds places for what an environment is assembled of.
type placing struct {
	env        *Environment
	unfilled   map[sameLength]int // batches that may have room
	conditions []compiledCondition
}

// sameLength is what salts in a batch have in common.
type sameLength struct {
	property int32
	length   int
}

func newPlacing(e *Environment) *placing { return &placing{env: e, unfilled: map[sameLength]int{}} }

// salt finds a place for one more salt that is hashed with the property.
func (p *placing) salt(property int32, salt string) place {
	if !md5x.Fast || len(salt)+1 > md5x.MaxPrefix {
		return alone
	}
	e, kind := p.env, sameLength{property, len(salt)}
	at, ok := p.unfilled[kind]
	if !ok || e.batches[at].salts == md5x.Lanes {
		at = len(e.batches)
		p.unfilled[kind] = at
		e.batches = append(e.batches, batch{})
	}
	b := &e.batches[at]
	var prefix [md5x.MaxPrefix]byte
	b.prefixes.Put(b.salts, append(append(prefix[:0], salt...), ','))
	b.salts++
	return place(at*md5x.Lanes + b.salts - 1)
}

// states places the splits of the environment's states, or those of overrides.
func (p *placing) states(overrides bool) {
	for i := range p.env.candidates {
		if c := &p.env.candidates[i]; c.plain == nil && (c.segment != everybody) == overrides {
			c.hash = p.salt(theIdentityKey, c.state.seed)
		}
	}
}

// rule is a segment's rule on the places of the environment's properties, and of its splits when the segment is used.
func (p *placing) rule(r compiledRule, slots []int32, used bool) compiledRule {
	first := len(p.conditions)
	for _, c := range r.conditions {
		c.property = slots[c.property]
		if s, ok := c.test.(*split); ok && used {
			of := c.property
			if p.env.properties[of].source == fromSplitKey {
				of = theIdentityKey
			}
			c.hash = p.salt(of, s.salt)
		}
		p.conditions = append(p.conditions, c)
	}
	r.conditions = p.conditions[first:len(p.conditions):len(p.conditions)]
	rules := make([]compiledRule, len(r.rules))
	for i := range rules {
		rules[i] = p.rule(r.rules[i], slots, used)
	}
	r.rules = rules
	return r
}
