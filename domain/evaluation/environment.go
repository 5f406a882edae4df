package evaluation

import (
	"sync"

	"flagledger/domain/evaluation/md5x"
)

// Trait is one attribute of an identity.
type Trait struct {
	Key   string
	Value Value // null is as good as no trait
}

// Identity is who asks.
type Identity struct {
	Identifier string
	Key        string     // what splits hash; "" means <environment key>_<identifier>
	Traits     []Trait    // of two with the same key the last counts
	Overrides  []*Outcome // the identity's own overrides, of Flag.IdentityOutcome; they win over everything
}

// Environment is a set of flags with the segments that decide them. It is immutable.
type Environment struct {
	Key  string
	Name string

	flags      []*Flag
	flagIndex  map[string]int32
	candidates []candidate // for each flag in turn, its overrides in their order and the environment's state
	firstOf    []int32     // where a flag's begin
	hidden     bool        // some flag is ServerKeyOnly

	segments  []*CompiledSegment // the listed ones, then those that only an override knows
	listed    int
	rules     []compiledRule // for each segment its rule, on the places of properties
	slots     []int32        // for each segment in turn, the places in properties of its properties
	firstSlot []int32        // where a segment's begin
	batches   []batch

	properties []lookup
	traitIndex map[string]int32 // the names of all traits that a property can be
}

// candidate is a state that a flag may be in. What an evaluation looks at lies together.
type candidate struct {
	segment int32    // the place of the override's segment; everybody for the environment's state
	hash    place    // of the state's split
	plain   *Outcome // nil when the state is split
	state   *compiledState
}

// everybody is the segment of a candidate for which no segment is asked.
const everybody = -1

// lookup is a property with the places that the traits it can be have in an evaluator.
type lookup struct {
	property
	literal, named int32
}

// Flags returns the flags in their order. The slice must not be changed.
func (e *Environment) Flags() []*Flag { return e.flags }

// HasServerKeyOnly reports whether one of the flags is ServerKeyOnly.
func (e *Environment) HasServerKeyOnly() bool { return e.hidden }

// Flag returns the flag of that name, nil when there is none.
func (e *Environment) Flag(name string) *Flag {
	if i, ok := e.flagIndex[name]; ok {
		return e.flags[i]
	}
	return nil
}

// Evaluate appends the outcome of every flag, in flag order, to dst. A nil identity asks for the environment's own
// answers: no segments, no splits.
func (e *Environment) Evaluate(dst []*Outcome, id *Identity) []*Outcome {
	if id == nil {
		for _, f := range e.flags {
			dst = append(dst, f.state.plain)
		}
		return dst
	}
	ev := e.begin(id)
	defer ev.end()
	ev.steps = zeroed(ev.steps, len(e.batches)*md5x.Lanes)
	first := len(dst)
	for i := range e.flags {
		dst = append(dst, ev.pick(ev.candidate(i)))
	}
	for _, o := range id.Overrides {
		if i, ok := e.place(o.Flag); ok {
			dst[first+i] = o
		}
	}
	return dst
}

// EvaluateFlag answers one of the environment's flags; nil when f is none of them.
func (e *Environment) EvaluateFlag(f *Flag, id *Identity) *Outcome {
	i, ok := e.place(f)
	if !ok {
		return nil
	}
	if id == nil {
		return e.flags[i].state.plain
	}
	if o := id.override(f); o != nil {
		return o
	}
	ev := e.begin(id)
	defer ev.end()
	return ev.pick(ev.candidate(i))
}

// Segments returns those of the environment's segments that the identity is in, in their order; none for nil.
func (e *Environment) Segments(id *Identity) []*CompiledSegment {
	if id == nil {
		return nil
	}
	ev := e.begin(id)
	defer ev.end()
	var in []*CompiledSegment
	for i, s := range e.segments[:e.listed] {
		if ev.inSegment(int32(i)) {
			in = append(in, s)
		}
	}
	return in
}

// place finds the flag of the same feature, which may have been compiled again since f was.
func (e *Environment) place(f *Flag) (int, bool) {
	i, ok := e.flagIndex[f.Name]
	return int(i), ok && e.flags[i].ID == f.ID
}

// override is the identity's own answer for the flag, nil when it has none. Of two the last counts, as in Evaluate.
func (id *Identity) override(f *Flag) *Outcome {
	for i := len(id.Overrides) - 1; i >= 0; i-- {
		if o := id.Overrides[i]; o.Flag.Name == f.Name && o.Flag.ID == f.ID {
			return o
		}
	}
	return nil
}

// evaluator is one identity being evaluated, with what is known of it so far. Evaluators are used again, for their
// memory.
type evaluator struct {
	env *Environment
	id  *Identity
	key []byte // the identity key

	traits   []int32   // for each of env.traitIndex the place of the trait in id.Traits, counted from 1
	operands []operand // for each of env.properties
	segments []verdict // for each of env.segments
	hashing  place     // of the condition that is being looked at
	steps    []uint16  // for each place in env.batches the step on the line, counted from 1; empty to hash one by one

	text, hash []byte // scratch space
}

// operand is the value of a property, with what has been worked out of it.
type operand struct {
	Value
	looked  bool // whether the value has been looked up
	scanned bool // whether version is that of the text
	hashed  bool // whether hash is that of the text, for lists
	hash    uint64
	version version
}

// verdict says whether an identity is in a segment.
type verdict uint8

const (
	unknown verdict = iota
	inside
	outside
)

var evaluators = sync.Pool{New: func() any { return new(evaluator) }}

func (e *Environment) begin(id *Identity) *evaluator {
	ev := evaluators.Get().(*evaluator)
	ev.env, ev.id = e, id
	if id.Key != "" {
		ev.key = append(ev.key[:0], id.Key...)
	} else {
		ev.key = append(append(append(ev.key[:0], e.Key...), '_'), id.Identifier...)
	}
	ev.traits = zeroed(ev.traits, len(e.traitIndex))
	ev.operands = zeroed(ev.operands, len(e.properties))
	ev.segments = zeroed(ev.segments, len(e.segments))
	ev.steps = ev.steps[:0]
	for i, t := range id.Traits {
		if place, ok := e.traitIndex[t.Key]; ok {
			ev.traits[place] = int32(i + 1)
		}
	}
	return ev
}

// end gives the evaluator back. It keeps nothing of the identity alive.
func (ev *evaluator) end() {
	ev.env, ev.id = nil, nil
	clear(ev.operands)
	evaluators.Put(ev)
}

// zeroed returns n zero values, in the memory of s when that is large enough.
func zeroed[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	s = s[:n]
	clear(s)
	return s
}

// candidate is the state of flag i that applies: of the first override whose segment the identity is in, else the
// environment's.
func (ev *evaluator) candidate(i int) *candidate {
	candidates := ev.env.candidates[ev.env.firstOf[i]:]
	for j := range candidates {
		c := &candidates[j]
		if c.segment == everybody || ev.inSegment(c.segment) {
			return c
		}
	}
	return nil // the environment's state is among them
}

// pick chooses among the outcomes of a state.
func (ev *evaluator) pick(c *candidate) *Outcome {
	if c.plain != nil {
		return c.plain
	}
	return c.state.at(ev.bucket(c.hash, c.state.seed, ev.key))
}

// inSegment reports whether the identity is in segment i. It finds out once.
func (ev *evaluator) inSegment(i int32) bool {
	if ev.segments[i] == unknown {
		ev.segments[i] = outside
		if ev.env.rules[i].holds(ev) {
			ev.segments[i] = inside
		}
	}
	return ev.segments[i] == inside
}

// operand is what the property in a slot is for the identity; null when it is nothing. It is looked up once.
func (ev *evaluator) operand(slot int32) *operand {
	x := &ev.operands[slot]
	if !x.looked {
		x.Value, x.looked = ev.lookUp(&ev.env.properties[slot]), true
	}
	return x
}

func (ev *evaluator) lookUp(p *lookup) Value {
	switch p.source {
	case fromNothing:
		return Value{}
	case fromSplitKey:
		return String(ev.identityKey())
	}
	if v := ev.trait(p.literal); v.kind != KindNull {
		return coerce(v)
	}
	switch p.source {
	case fromNamedTrait:
		return coerce(ev.trait(p.named))
	case fromIdentifier:
		return coerce(String(ev.id.Identifier))
	case fromIdentityKey:
		return coerce(String(ev.identityKey()))
	case fromEnvironmentKey:
		return coerce(String(ev.env.Key))
	case fromEnvironmentName:
		return coerce(String(ev.env.Name))
	default:
		return Value{}
	}
}

// identityKey is ev.key as a text, for the conditions that look at it.
func (ev *evaluator) identityKey() string {
	if ev.id.Key != "" {
		return ev.id.Key
	}
	return string(ev.key)
}

func (ev *evaluator) trait(place int32) Value {
	if i := ev.traits[place]; i > 0 {
		return ev.id.Traits[i-1].Value
	}
	return Value{}
}
