package evaluation

import "slices"

// With is the environment with these flags, which are its own but for some that were compiled again with another state.
// What was worked out of the segments is used again, so that it costs next to nothing. ok is false where the flags differ
// in more than that, in their overrides' segments or in what splits hash: then it takes NewEnvironment.
func (e *Environment) With(flags []*Flag) (next *Environment, ok bool) {
	if len(flags) != len(e.flags) {
		return nil, false
	}
	with := *e
	with.flags, with.candidates = flags, slices.Clone(e.candidates)
	for i, f := range flags {
		if f == e.flags[i] {
			continue
		}
		if !f.standsFor(e.flags[i]) {
			return nil, false
		}
		own := with.candidates[e.firstOf[i]:]
		for j := range f.overrides {
			own[j].exchange(&f.overrides[j])
		}
		own[len(f.overrides)].exchange(&f.state)
	}
	return &with, true
}

// exchange makes it the candidate of another state, which hashes the same.
func (c *candidate) exchange(s *compiledState) {
	hash := c.hash
	*c = s.candidate(c.segment)
	c.hash = hash
}

// standsFor tells whether the flag looks and hashes where the other does.
func (f *Flag) standsFor(o *Flag) bool {
	return f.ID == o.ID && f.Name == o.Name && f.state.hashesAs(&o.state) &&
		slices.EqualFunc(f.overrides, o.overrides, func(a, b compiledState) bool { return a.segment == b.segment && a.hashesAs(&b) })
}

func (s *compiledState) hashesAs(o *compiledState) bool {
	return s.seed == o.seed && (s.control == nil) == (o.control == nil)
}
