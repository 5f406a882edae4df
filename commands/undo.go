package commands

import (
	"encoding/json"
	"fmt"
	"slices"

	"flagledger/domain"
)

// Undo takes back what some commits did, and keeps what others have done since:
// field by field, all or nothing. A field that was changed again is a conflict.
type Undo struct {
	Selection domain.Selection
	// PlanHash, where given, is that of the plan which was looked at.
	PlanHash string
}

// Needs implements Command: an undo can touch everything of the project.
func (Undo) Needs() Need { return Need{Right: domain.Write} }

// Decide implements Command.
func (c Undo) Decide(p *domain.Project, in *Inputs) ([]domain.Event, error) {
	plan, err := c.Plan(p, in)
	if err == nil {
		err = checkPlan(c.PlanHash, plan.Hash)
	}
	return plan.Events, err
}

// Plan works out the events that take the commits back.
func (c Undo) Plan(p *domain.Project, in *Inputs) (Plan, error) {
	if err := exists(p); err != nil {
		return Plan{}, err
	}
	if c.Selection == (domain.Selection{}) {
		return Plan{}, domain.Refuse(domain.Invalid, "say what to undo: a position, an actor, a change request, a correlation id or a time")
	}
	if s := c.Selection; s.Position > 0 && s != (domain.Selection{Position: s.Position}) {
		return Plan{}, domain.RefuseField(domain.Malformed, "position", "a position is one commit: name it alone, or select commits by the other fields")
	}
	changes, err := in.Views.PastChanges(p.ID, c.Selection)
	if err != nil {
		return Plan{}, err
	}
	if len(changes) == 0 {
		return Plan{}, domain.Refuse(domain.NotFound, "no commit of project %q is selected", p.Key)
	}
	u := &undo{now: p, in: in, images: map[domain.Object]json.RawMessage{}, erased: map[domain.Object]bool{}, numbers: numbersOf(p)}
	for _, change := range changes { // newest first
		if err := u.takeBack(change); err != nil {
			return Plan{}, err
		}
	}
	if len(u.conflicts) > 0 {
		e := domain.Refuse(domain.Conflict, "%d of the changes cannot be undone because of later ones; nothing was done: %s: %s", len(u.conflicts), u.conflicts[0].Field, u.conflicts[0].Detail)
		e.Errors = u.conflicts
		return Plan{}, e
	}
	if err := u.carryOut(); err != nil {
		return Plan{}, err
	}
	plan := Plan{Events: u.events}
	plan.Warnings = warnErased(nil, len(u.erased))
	plan.Hash, err = hashPlan(p, plan.Events, plan.Warnings)
	return plan, err
}

// undo collects what each object is to become, and then the events to it.
type undo struct {
	now       *domain.Project
	in        *Inputs
	images    map[domain.Object]json.RawMessage // what is to be; nil: gone
	order     []domain.Object
	conflicts []domain.FieldError
	events    []domain.Event
	numbers   *numbers
	erased    map[domain.Object]bool // persons who are left alone
}

func (u *undo) conflict(o domain.Object, path, format string, args ...any) {
	field := o.String()
	if path != "" {
		field += "/" + path
	}
	u.conflicts = append(u.conflicts, domain.FieldError{Field: field, Detail: fmt.Sprintf(format, args...)})
}

// takeBack works one change out of the image of its object.
func (u *undo) takeBack(c domain.PastChange) error {
	switch c.Object.Kind {
	case domain.KindProject, domain.KindEnvironment, domain.KindSDKKey, domain.KindToken:
		u.conflict(c.Object, "", "what was done to it cannot be undone here: change it yourself")
		return nil
	}
	if env := u.now.Environments.Get(c.Object.Environment); c.Object.Kind == domain.KindIdentity && env != nil && u.in.Persons.Name(u.now.ID, env.ID, c.Object.Key) == "" {
		u.erased[c.Object] = true
		return nil
	}
	now, touched := u.images[c.Object]
	if !touched {
		u.order = append(u.order, c.Object)
		if object := u.now.Get(c.Object); object != nil {
			var err error
			if now, err = json.Marshal(object); err != nil {
				return fmt.Errorf("undo %s: %w", c.Object, err)
			}
		}
	}
	u.images[c.Object] = now
	switch {
	case c.Before == nil && c.After == nil:
	case c.Before == nil: // created
		if now == nil {
			return nil
		}
		since, err := domain.Diff(c.After, now)
		if err != nil {
			return fmt.Errorf("undo %s: %w", c.Object, err)
		}
		for _, d := range since {
			u.conflict(c.Object, d.Path, "it was created at position %d and changed since", c.Position)
		}
		u.images[c.Object] = nil
	case c.After == nil: // deleted
		if now != nil {
			u.conflict(c.Object, "", "it was deleted at position %d and exists again", c.Position)
			return nil
		}
		u.images[c.Object] = c.Before
	case now == nil:
		u.conflict(c.Object, "", "it was changed at position %d and deleted since", c.Position)
	default:
		merged, conflicts, err := domain.Merge(c.After, c.Before, now)
		if err != nil {
			return fmt.Errorf("undo %s: %w", c.Object, err)
		}
		for _, conflict := range conflicts {
			u.conflict(c.Object, conflict.Path, "it was changed at position %d, and again since: it should become %s again, but is %s now",
				c.Position, orNothing(conflict.Ours.To), orNothing(conflict.Theirs.To))
		}
		if len(conflicts) == 0 {
			u.images[c.Object] = merged
		}
	}
	return nil
}

func orNothing(v json.RawMessage) string {
	if len(v) == 0 {
		return "nothing"
	}
	return string(v)
}

// carryOut makes the events: what is shared comes first and goes last.
func (u *undo) carryOut() error {
	shared := []domain.ObjectKind{domain.KindContext, domain.KindFeature, domain.KindSegment}
	for _, kind := range shared {
		for _, o := range u.order {
			if o.Kind == kind && u.images[o] != nil {
				if err := u.transition(o); err != nil {
					return err
				}
			}
		}
	}
	for _, o := range u.order {
		if !slices.Contains(shared, o.Kind) {
			if err := u.transition(o); err != nil {
				return err
			}
		}
	}
	slices.Reverse(shared)
	for _, kind := range shared {
		for _, o := range u.order {
			if o.Kind == kind && u.images[o] == nil {
				if err := u.remove(o); err != nil {
					return err
				}
			}
		}
	}
	return u.numbers.err
}

func (u *undo) add(events []domain.Event) {
	u.events = append(u.events, events...)
	u.now, _ = u.now.Evolve(events, domain.Stamp{Position: u.now.Position})
}

// transition brings an object to its image, within the limits of any change.
func (u *undo) transition(o domain.Object) error {
	events, err := u.now.Transition(o, u.images[o], func(env string) int32 { return u.seedOf(env, o.Key) })
	if err != nil {
		return err
	}
	u.add(events)
	if o.Kind == domain.KindSegment && len(events) > 0 {
		rules := u.now.Segments.Get(o.Key).Rules
		return checkRules(u.now, u.in, rules, rules) // they were recorded, if by a version that knew less
	}
	return nil
}

// seedOf is the seed that a feature's state had in an environment, or a new one.
func (u *undo) seedOf(environment, feature string) int32 {
	image := u.images[domain.Object{Kind: domain.KindFeatureState, Environment: environment, Key: feature}]
	var state domain.FeatureState
	if image != nil && json.Unmarshal(image, &state) == nil && state.Seed > 0 {
		return state.Seed
	}
	return u.numbers.next()
}

// remove deletes what had been created, if nothing uses it.
func (u *undo) remove(o domain.Object) error {
	if u.now.Get(o) == nil {
		return nil
	}
	var c Command
	switch o.Kind {
	case domain.KindFeature:
		c = DeleteFeature{Feature: o.Key}
	case domain.KindSegment:
		c = DeleteSegment{Segment: o.Key}
	default:
		c = RemoveContext{Key: o.Key}
	}
	events, err := c.Decide(u.now, u.in)
	if err != nil {
		return err
	}
	u.add(events)
	return nil
}
