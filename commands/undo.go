package commands

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"flagledger/domain"
)

// Undo takes back what some commits did, and keeps what others have done since:
// field by field, all or nothing. A field that somebody else has set since is a
// conflict, also where it is what it was made again.
type Undo struct {
	Selection domain.Selection
	// Except are left as they are: commits, such as "position:42", and objects,
	// such as "segment:beta", "state:production/*", or "environment:qa", which
	// stands for all that is in it too.
	Except []string
	// Manage says that whoever asks may manage the project, which undoing what was
	// done to it, to its environments and their SDK keys needs.
	Manage bool
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
	if err := in.Views.Wait(in.Context, p.Position); err != nil { // what was recorded just now counts too
		return Plan{}, domain.Refuse(domain.Unavailable, "cannot look up what was changed since now: %v", err)
	}
	changes, err := in.Views.PastChanges(in.Context, p.ID, c.Selection)
	// What is later is not in p: of a request that is sent again, what it was carried out on.
	changes = slices.DeleteFunc(changes, func(change domain.PastChange) bool { return change.Position > p.Position })
	if err == nil && len(changes) == 0 {
		err = domain.Refuse(domain.NotFound, "no commit of project %q is selected", p.Key)
	}
	if err == nil {
		changes, err = c.without(changes)
	}
	if err != nil {
		return Plan{}, err
	}
	u := &undo{
		now: p, in: in, numbers: numbersOf(p), images: map[domain.Object]json.RawMessage{}, erased: map[domain.Object]bool{},
		since: map[domain.Object]*since{}, deleted: map[string]bool{}, gone: map[domain.Object]uint64{},
		deletedAs: map[domain.Object]json.RawMessage{},
	}
	for _, change := range changes { // newest first
		if o := change.Object; o.Kind == domain.KindEnvironment && change.After == nil {
			u.deleted[o.Key] = true // the parts that go with it come before it
		}
	}
	for _, change := range changes {
		if o := change.Object; managed(o.Kind) && !c.Manage {
			return Plan{}, domain.Refuse(domain.Forbidden, "to undo what was done to %s at position %d needs the right to manage the project; \"except\": [%q] leaves it as it is", o, change.Position, o)
		}
		if err := u.takeBack(change); err != nil {
			return Plan{}, err
		}
	}
	u.checkEnvironments()
	if len(u.conflicts) > 0 {
		e := domain.Refuse(domain.Conflict, "%d of the changes cannot be undone, and nothing was done: %s: %s; what is named in \"except\" is left as it is",
			len(u.conflicts), u.conflicts[0].Field, u.conflicts[0].Detail)
		e.Errors, e.Shows = u.conflicts, u.shown
		return Plan{}, e
	}
	if err := u.carryOut(); err != nil {
		return Plan{}, err
	}
	if err := u.checkDeclarations(p); err != nil {
		return Plan{}, err
	}
	plan := Plan{Events: u.events, Warnings: warnErased(u.warnings, len(u.erased))}
	plan.Hash, err = hashPlan(p, plan.Events, plan.Warnings)
	return plan, err
}

// managed tells of a kind of object whether its changes need the right to manage.
func managed(kind domain.ObjectKind) bool {
	return kind == domain.KindProject || kind == domain.KindEnvironment || kind == domain.KindSDKKey
}

// without leaves out of the changes what is excepted. An exception of nothing is
// refused: it was meant to keep something as it is.
func (c Undo) without(changes []domain.PastChange) ([]domain.PastChange, error) {
	for i, text := range c.Except {
		field := fmt.Sprintf("except[%d]", i)
		var matches func(domain.PastChange) bool
		if number, is := strings.CutPrefix(text, "position:"); is {
			position, err := strconv.ParseUint(number, 10, 64)
			if err != nil || position == 0 {
				return nil, domain.RefuseField(domain.Malformed, field, "%q is not a position", number)
			}
			matches = func(change domain.PastChange) bool { return change.Position == position }
		} else {
			o, err := domain.ParseObjects(text)
			if err != nil {
				return nil, domain.RefuseField(domain.Malformed, field, "%q is neither a commit nor an object; write position:42, segment:beta or state:production/checkout", text)
			}
			matches = func(change domain.PastChange) bool {
				whole := domain.Object{Kind: domain.KindEnvironment, Key: change.Object.Scope()}
				return o == change.Object || o == whole || slices.Contains(change.Object.Groups(), o)
			}
		}
		rest := slices.DeleteFunc(slices.Clone(changes), matches)
		if len(rest) == len(changes) {
			return nil, domain.RefuseField(domain.Invalid, field, "nothing of %q is to be undone, or no more; leave it out, or say which", text)
		}
		changes = rest
	}
	if len(changes) == 0 {
		return nil, domain.RefuseField(domain.Invalid, "except", "nothing is left to undo")
	}
	return changes, nil
}

// undo collects what each object is to become, and then the events to it.
type undo struct {
	now       *domain.Project
	in        *Inputs
	images    map[domain.Object]json.RawMessage // what is to be; nil: gone
	order     []domain.Object
	conflicts []domain.FieldError
	shown     []domain.Shown // what the conflicts tell of
	events    []domain.Event
	numbers   *numbers
	warnings  []string
	erased    map[domain.Object]bool // persons who are left alone
	since     map[domain.Object]*since
	deleted   map[string]bool                   // environments whose deletion is to be undone, by key
	gone      map[domain.Object]uint64          // those, by the position, as long as their creation is not to be undone too
	deletedAs map[domain.Object]json.RawMessage // what segments were at last
}

func (u *undo) conflict(o domain.Object, path, format string, args ...any) {
	field := o.String()
	if path != "" {
		field += "/" + path
	}
	u.conflicts = append(u.conflicts, domain.FieldError{Field: field, Detail: fmt.Sprintf(format, args...)})
}

// stands tells whether a change can be worked out of an object that is still the
// same one. What cannot is a conflict, unless its undoing is no more than that
// the environment stays away, which was created by one of the commits too.
func (u *undo) stands(c domain.PastChange) bool {
	o := c.Object
	env := u.now.Environments.Get(o.Scope())
	another := env != nil && env.Created.Position > c.Position
	switch {
	case o.Kind == domain.KindProject && c.Before == nil:
		u.conflict(o, "", "it was created at position %d, and with it all that is in it: no undo deletes a project", c.Position)
	case o.Kind == domain.KindEnvironment && c.After == nil:
		u.gone[o] = c.Position
	case o.Kind == domain.KindEnvironment && c.Before == nil && u.gone[o] > 0:
		delete(u.gone, o)
	case o.Scope() != "" && (env == nil || another):
		if !u.deleted[o.Scope()] {
			u.conflict(o, "", "it was changed at position %d, and environment %q was deleted since", c.Position, o.Scope())
		}
	case o.Kind == domain.KindSDKKey && c.After == nil:
		u.conflict(o, "", "it was revoked at position %d: a key that has ended stays so; create another", c.Position)
	default:
		return true
	}
	return false
}

// checkEnvironments refuses to bring environments back, and to delete one that
// something else was put into since it was created.
func (u *undo) checkEnvironments() {
	gone := slices.SortedFunc(maps.Keys(u.gone), func(a, b domain.Object) int { return strings.Compare(a.Key, b.Key) })
	for _, o := range gone {
		u.conflict(o, "", "it was deleted at position %d, and its SDK keys and the numbers by which identities are split with it: it does not come back; create another", u.gone[o])
	}
	for _, o := range u.order {
		env := u.now.Environments.Get(o.Key)
		if o.Kind != domain.KindEnvironment || u.images[o] != nil || env == nil {
			continue
		}
		for part := range env.Objects() {
			if image, touched := u.images[part]; !(touched && image == nil) && !u.initial(env, part) {
				u.conflict(o, "", "it was created by what is to be undone, and %s is in it since", part)
			}
		}
		u.warnings = append(u.warnings, fmt.Sprintf("environment %q is deleted, with its client-side key and the identities that apps have stored in it", o.Key))
	}
}

// initial tells of a part of an environment that nobody has put anything into it:
// the state of a feature that was created later, or overrides that are gone.
func (u *undo) initial(env *domain.Environment, part domain.Object) bool {
	switch part.Kind {
	case domain.KindFeatureState:
		return env.States.Get(part.Key).Changed.Position == u.now.Features.Get(part.Key).Created.Position
	case domain.KindSegmentOverrides:
		return len(env.Overrides.Get(part.Key).List) == 0
	}
	return false
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
	leaves := func(environment string) bool {
		image, touched := u.images[domain.Object{Kind: domain.KindEnvironment, Key: environment}]
		return touched && image == nil
	}
	for _, o := range u.order {
		if !slices.Contains(shared, o.Kind) && !leaves(o.Environment) {
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

// checkDeclarations refuses declarations of traits that come back and that rules
// contradict, as they are when all is done.
func (u *undo) checkDeclarations(before *domain.Project) error {
	if !slices.ContainsFunc(u.order, func(o domain.Object) bool { return o.Kind == domain.KindContext }) {
		return nil
	}
	undeclared := *u.now
	undeclared.Contexts = before.Contexts
	return checkAllRules(&undeclared, func(p *domain.Project) { p.Contexts = u.now.Contexts })
}

func (u *undo) add(events []domain.Event) {
	u.events = append(u.events, events...)
	u.now, _ = u.now.Evolve(events, domain.Stamp{Position: u.now.Position})
}

// transition brings an object to its image, within the limits of any change.
func (u *undo) transition(o domain.Object) error {
	if managed(o.Kind) {
		return u.manage(o)
	}
	seed := func(env string) int32 { return u.seedOf(env, o.Key) }
	if last := u.deletedAs[o]; last != nil { // from there a change of the rules is a revision of its own
		events, err := u.now.Transition(o, last, seed)
		if err != nil {
			return err
		}
		u.add(events)
	}
	events, err := u.now.Transition(o, u.images[o], seed)
	if err != nil {
		return err
	}
	u.add(events)
	if o.Kind == domain.KindSegment && len(events) > 0 {
		rules := u.now.Segments.Get(o.Key).Rules
		err := checkRules(u.now, u.in, rules, rules) // they were recorded, if by a version that knew less
		if refusal, is := errors.AsType[*domain.Error](err); is {
			refusal.Shows = []domain.Shown{{Object: o, Image: u.images[o]}}
		}
		return err
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

// manage brings the project, an environment or an SDK key to its image.
func (u *undo) manage(o domain.Object) error {
	image, now := u.images[o], u.now.Get(o)
	if now == nil {
		return nil // and was not before either
	}
	var c Command
	var err error
	switch o.Kind {
	case domain.KindProject:
		var want UpdateProject // the same members as the image
		err = json.Unmarshal(image, &want)
		c = want
	case domain.KindEnvironment:
		if image == nil {
			u.add([]domain.Event{domain.EnvironmentDeleted{Environment: o.Key}}) // see checkEnvironments
			return nil
		}
		var want domain.Environment
		err = json.Unmarshal(image, &want)
		c = UpdateEnvironment{Environment: o.Key, Name: &want.Name, Description: &want.Description, Settings: Settings{
			AllowClientTraits: &want.AllowClientTraits, HideSensitiveData: &want.HideSensitiveData, HideDisabledFlags: Some(want.HideDisabledFlags),
			LocalIdentityOverrides: &want.LocalIdentityOverrides, CompositeIdentityHashing: &want.CompositeIdentityHashing,
		}}
	default:
		if image == nil {
			c = RevokeSDKKey{Environment: o.Environment, ID: o.Key}
			break
		}
		var want domain.SDKKey
		err = json.Unmarshal(image, &want)
		c = UpdateSDKKey{Environment: o.Environment, ID: o.Key, Name: &want.Name, Active: &want.Active, ExpiresAt: Some(want.ExpiresAt)}
	}
	if err != nil {
		return fmt.Errorf("read image of %s: %w", o, err)
	}
	events, err := c.Decide(u.now, u.in)
	if err != nil {
		return err
	}
	u.add(events)
	return nil
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
