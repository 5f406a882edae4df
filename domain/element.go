package domain

// An Element is something that decides what a feature evaluates to in an
// environment, with the commit that made it what it is.
type Element struct {
	Name    string // such as "segment override western_users"
	Changed Stamp

	kind    elementKind
	segment string
}

type elementKind int

const (
	elementState elementKind = iota
	elementVariants
	elementOverride
	elementRules
)

// Elements are those of a feature, the strongest first. Identity overrides are
// left out; there can be very many.
func (e *Environment) Elements(p *Project, feature string) []Element {
	var all []Element
	if o := e.Overrides.Get(feature); o != nil && len(o.List) > 0 {
		for _, s := range o.List {
			all = append(all, Element{"segment override " + s.Segment, s.Changed, elementOverride, s.Segment})
			rules := Element{"rules of segment " + s.Segment, p.Segments.Get(s.Segment).Changed, elementRules, s.Segment}
			if pin := e.SegmentPins.Get(s.Segment); pin != nil {
				rules.Name, rules.Changed = "pinned rules of segment "+s.Segment, pin.Changed
			}
			all = append(all, rules)
		}
	}
	all = append(all, Element{"state", e.States.Get(feature).Changed, elementState, ""})
	f := p.Features.Get(feature)
	if pin := e.VariantsPins.Get(feature); pin != nil {
		all = append(all, Element{"pinned variants", pin.Changed, elementVariants, ""})
	} else if len(f.Variants) > 0 {
		all = append(all, Element{"variants", f.Changed, elementVariants, ""})
	}
	return all
}

// Decides tells whether the element led to an outcome: that of a segment's
// override ("": of none), of an identity's own, or of a split.
func (el Element) Decides(segment string, identity, split bool) bool {
	switch el.kind {
	case elementVariants:
		return split && !identity
	case elementState:
		return segment == "" && !identity
	}
	return el.segment == segment && !identity
}
