package evaluation

import (
	"cmp"
	"slices"
	"strconv"
)

// Control is what the outcome of a multivariate state is called where none of the variants is dealt.
const Control = "control"

// Variant is one value of a multivariate state.
type Variant struct {
	ID       int32
	Key      string // "" when it has none
	Value    Value
	Weight   float64 // percent of identities, 0 to 100
	Priority int64   // the variants' order on the line from 0 to 100: ascending
}

// State is what a feature is in one place: the environment, or a segment override.
type State struct {
	Seed     string // the salt of the split, the SDKs' feature.key: it never changes for the life of the state
	Enabled  bool
	Value    Value
	Variants []Variant
	Metadata any // carried to the state's outcomes
}

// Override is a feature's state for the identities in a segment.
type Override struct {
	Segment *CompiledSegment
	State   State
}

// Feature is a feature in one environment, with its overrides strongest first.
type Feature struct {
	ID            int32
	Name          string
	Multivariate  bool
	ServerKeyOnly bool
	State         State
	Overrides     []Override
}

// Outcome is one possible answer of a flag. It is immutable and shared by all evaluations that come to it.
type Outcome struct {
	// What an answer with all flags looks at lies together, mostly in one line of the cache.
	Flag    *Flag
	Body    []byte // what the encode hook made of this outcome
	Slot    uint32 // the hook's: where it counts this outcome
	Enabled bool

	Value    Value
	Reason   string           // "DEFAULT", "TARGETING_MATCH; segment=<name>" or "SPLIT; weight=<percent>"
	Variant  string           // the variant's key, "control", or "" for null: not split, or a variant without a key
	Segment  *CompiledSegment // the segment whose override decided; nil when none did
	Metadata any              // of the state
}

// Flag is a Feature made ready to be evaluated: all its outcomes exist. It is immutable and may be shared.
type Flag struct {
	ID            int32
	Name          string
	Multivariate  bool
	ServerKeyOnly bool

	state     compiledState
	overrides []compiledState
}

// compiledState has the outcomes of a State: one without a split, and with a split one for each variant and one for
// those whom no variant takes.
type compiledState struct {
	segment  *CompiledSegment
	seed     string
	plain    *Outcome
	control  *Outcome // nil when there are no variants
	variants []interval
}

// interval is a variant's place on the line, up to and without its end.
type interval struct {
	end     float64
	outcome *Outcome
}

// reasonIdentity is the reason of an identity's own override; SDKs get these as segments of this name.
const reasonIdentity = "TARGETING_MATCH; segment=identity_overrides"

// CompileFeature builds every outcome that the feature can have. encode, when not nil, is called once for each of them
// and gives its Body; it sees all other fields filled, and may set Slot.
func CompileFeature(f Feature, encode func(*Outcome) []byte) *Flag {
	flag := &Flag{ID: f.ID, Name: f.Name, Multivariate: f.Multivariate, ServerKeyOnly: f.ServerKeyOnly}
	flag.state = flag.compileState(f.State, nil, encode)
	flag.overrides = make([]compiledState, len(f.Overrides))
	for i, o := range f.Overrides {
		flag.overrides[i] = flag.compileState(o.State, o.Segment, encode)
	}
	return flag
}

// IdentityOutcome is the answer of the flag to one identity with an override of its own. variant is the key of the
// variant that it is fixed to, "" for none; for encode see CompileFeature.
func (f *Flag) IdentityOutcome(enabled bool, value Value, variant string, encode func(*Outcome) []byte) *Outcome {
	return f.outcome(Outcome{Enabled: enabled, Value: value, Variant: variant, Reason: reasonIdentity}, encode)
}

func (f *Flag) compileState(s State, segment *CompiledSegment, encode func(*Outcome) []byte) compiledState {
	reason := "DEFAULT"
	if segment != nil {
		reason = "TARGETING_MATCH; segment=" + segment.Name
	}
	plain := Outcome{Enabled: s.Enabled, Value: s.Value, Reason: reason, Segment: segment, Metadata: s.Metadata}
	c := compiledState{segment: segment, seed: s.Seed, plain: f.outcome(plain, encode)}
	if len(s.Variants) == 0 {
		return c
	}
	control := plain
	control.Variant = Control
	c.control = f.outcome(control, encode)

	inOrder := slices.Clone(s.Variants)
	slices.SortStableFunc(inOrder, func(a, b Variant) int { return cmp.Compare(a.Priority, b.Priority) })
	end := 0.0
	for _, v := range inOrder {
		end += v.Weight
		outcome := plain
		outcome.Value, outcome.Variant = v.Value, v.Key
		outcome.Reason = "SPLIT; weight=" + strconv.FormatFloat(v.Weight, 'f', -1, 64)
		c.variants = append(c.variants, interval{end: end, outcome: f.outcome(outcome, encode)})
	}
	return c
}

func (f *Flag) outcome(o Outcome, encode func(*Outcome) []byte) *Outcome {
	o.Flag = f
	if encode != nil {
		o.Body = encode(&o)
	}
	return &o
}

// candidate is the state in an environment, where segment is the place of its segment.
func (s *compiledState) candidate(segment int32) candidate {
	c := candidate{segment: segment, hash: alone, state: s}
	if s.control == nil {
		c.plain = s.plain
	}
	return c
}

// at is the outcome for who is there on the line of a split.
func (s *compiledState) at(bucket float64) *Outcome {
	for i := range s.variants {
		if bucket < s.variants[i].end {
			return s.variants[i].outcome
		}
	}
	return s.control
}
