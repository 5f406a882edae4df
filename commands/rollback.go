package commands

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"flagledger/domain"
)

// Rollback makes the content of an environment what it was at a version, by
// ordinary events: nothing is erased, and a rollback can be rolled back. What is
// shared with other environments (the rules of segments, the variants of
// features) and has changed since is pinned here to what it was.
type Rollback struct {
	Environment string
	Version     uint64
	// Features and Segments limit the rollback to some of them; both nil: all.
	Features []string
	Segments []string
	// RestoreDeleted brings back features and segments that were deleted since,
	// disabled in other environments, and deletes features again that were deleted
	// then and have been restored since, unless others have taken them into use.
	RestoreDeleted bool
	// PlanHash, where given, is that of the plan which was looked at; another
	// plan is refused.
	PlanHash string
}

// Needs implements Command. What comes back from deletion comes back everywhere.
func (c Rollback) Needs() Need {
	if c.RestoreDeleted {
		return Need{Right: domain.Write}
	}
	return Need{domain.Write, c.Environment}
}

// Decide implements Command.
func (c Rollback) Decide(p *domain.Project, in *Inputs) ([]domain.Event, error) {
	plan, err := c.Plan(p, in)
	if err == nil {
		err = checkPlan(c.PlanHash, plan.Hash)
	}
	return plan.Events, err
}

func checkPlan(seen, now string) error {
	if seen == "" || seen == now {
		return nil
	}
	return domain.RefuseField(domain.Conflict, "plan_hash", "something was changed since the preview, so that the plan is another now: look at it again")
}

// A Plan is what a rollback or an undo would do.
type Plan struct {
	Events []domain.Event
	// Warnings tell what will not be as it was, or what else is concerned.
	Warnings []string
	// Hash changes whenever the plan does, its warnings included, or what it is about.
	Hash string
}

// hashPlan hashes the events of a plan with the revisions of the objects that
// they change, and its warnings: what a plan leaves alone may be all that is new
// since somebody looked at it.
func hashPlan(p *domain.Project, events []domain.Event, warnings []string) (string, error) {
	type item struct {
		Type     string
		Event    domain.Event
		Revision []uint64
	}
	_, objects := p.Evolve(events, domain.Stamp{Position: p.Position})
	items := make([]item, len(events))
	for i, e := range events {
		items[i] = item{Type: e.EventType(), Event: e}
	}
	revisions := make([]uint64, len(objects))
	for i, o := range objects {
		revisions[i] = p.Revision(o)
	}
	encoded, err := json.Marshal([]any{items, revisions, warnings})
	if err != nil {
		return "", fmt.Errorf("hash plan: %w", err)
	}
	sum := sha256.Sum256(encoded)
	return hex.EncodeToString(sum[:]), nil
}

// Plan works out the events that lead from now to then.
func (c Rollback) Plan(p *domain.Project, in *Inputs) (Plan, error) {
	env, err := environmentOf(p, c.Environment)
	if err != nil {
		return Plan{}, err
	}
	past, err := in.Views.Past(p, env.Key, c.Version)
	if err != nil {
		return Plan{}, err
	}
	r := &rollback{
		command: c, now: p, then: past, env: env, was: past.Environments.Get(env.Key), persons: in.Persons, views: in.Views, numbers: numbersOf(p),
	}
	if err := r.checkSelection(); err != nil {
		return Plan{}, err
	}
	if err := r.restore(); err != nil {
		return Plan{}, err
	}
	if err := r.features(); err != nil {
		return Plan{}, err
	}
	r.segments()
	r.identities()
	if err := r.deleteRestored(p, in); err != nil {
		return Plan{}, err
	}
	r.settings()
	if r.numbers.err != nil {
		return Plan{}, r.numbers.err
	}
	plan := Plan{Events: r.events, Warnings: r.warnings}
	plan.Hash, err = hashPlan(p, plan.Events, plan.Warnings)
	return plan, err
}

// Preview returns what a rollback or undo would do to the project.
func (s *Service) Preview(ctx context.Context, p *domain.Project, planner Planner) (Plan, error) {
	plan, err := planner.Plan(p, &Inputs{Context: ctx, Limits: s.limits, Now: s.now(), DryRun: true, Views: s.views, Persons: s.persons})
	if plan.Warnings == nil {
		plan.Warnings = []string{}
	}
	return plan, err
}

// A Planner is a command whose plan can be looked at first.
type Planner interface {
	Plan(p *domain.Project, in *Inputs) (Plan, error)
}

// rollback collects the events from now to then in one environment.
type rollback struct {
	command   Rollback
	now, then *domain.Project
	env, was  *domain.Environment
	persons   Persons
	views     Views
	numbers   *numbers
	events    []domain.Event
	warnings  []string
	used      []string // segments that the overrides of then need
	restored  []string // features that were deleted then and are here again
}

func (r *rollback) event(events ...domain.Event) { r.events = append(r.events, events...) }

func (r *rollback) warn(format string, args ...any) {
	r.warnings = append(r.warnings, fmt.Sprintf(format, args...))
}

// whole tells whether the rollback is of the whole environment.
func (r *rollback) whole() bool { return len(r.command.Features)+len(r.command.Segments) == 0 }

// covers tells whether a feature is to be rolled back.
func (r *rollback) covers(feature string) bool {
	return r.whole() || slices.Contains(r.command.Features, feature)
}

func (r *rollback) checkSelection() error {
	if c := r.command; r.whole() && (c.Features != nil || c.Segments != nil) {
		field := "features"
		if c.Features == nil {
			field = "segments"
		}
		return domain.RefuseField(domain.Invalid, field, "the list is empty: name some, or leave it out, which rolls the whole environment back")
	}
	for _, key := range r.command.Features {
		if r.now.Features.Get(key) == nil && r.then.Features.Get(key) == nil {
			return domain.RefuseField(domain.NotFound, "features", "there is no feature %q, neither now nor at version %d", key, r.command.Version)
		}
	}
	for _, key := range r.command.Segments {
		if r.then.Segments.Get(key) == nil {
			return domain.RefuseField(domain.NotFound, "segments", "there was no segment %q at version %d", key, r.command.Version)
		}
	}
	return nil
}

// restore brings back what was deleted since, if asked to, and goes on as if it
// had never been away. In each environment it gets the seed it had, by which
// splits tell identities apart, so that a rollback there finds it as it was.
func (r *rollback) restore() error {
	if !r.command.RestoreDeleted {
		return nil
	}
	before := len(r.events)
	for key, old := range r.then.Segments.All() {
		if r.now.Segments.Get(key) == nil && r.needs(key) && (old.Feature == "" || r.isToBe(old.Feature)) {
			r.event(old.Recreated())
			r.warn("segment %q was deleted since: it is restored, for all environments", key)
		}
	}
	for key, old := range r.then.Features.All() {
		if !r.free(key) || !r.covers(key) {
			continue
		}
		seeds := map[string]int32{}
		for env := range r.now.Environments.All() {
			seed, err := r.views.Seed(r.now, env, old)
			if err != nil {
				return fmt.Errorf("restore feature %s: %w", key, err)
			}
			if seed == 0 {
				seed = r.numbers.next()
			}
			seeds[env] = seed
		}
		r.event(old.Recreated(r.now, func(env string) int32 { return seeds[env] }))
		for env := range r.now.Environments.All() {
			if env != r.env.Key && old.DefaultEnabled {
				r.event(domain.FeatureStateSet{Environment: env, Feature: key, Value: old.InitialValue, Weights: old.InitialWeights()})
			}
		}
		r.warn("feature %q was deleted since: it is restored, and disabled in other environments", key)
	}
	r.now, _ = r.now.Evolve(r.events[before:], domain.Stamp{Position: r.now.Position})
	r.env = r.now.Environments.Get(r.env.Key)
	return nil
}

// free tells whether there is no feature of the key, nor one that differs only in case.
func (r *rollback) free(feature string) bool { return r.now.Folded.Get(strings.ToLower(feature)) == "" }

// isToBe tells whether a feature of then is there or is about to be restored.
func (r *rollback) isToBe(feature string) bool {
	return r.survives(feature) || r.covers(feature) && r.free(feature)
}

// needs tells whether a segment of then is selected, or used by an override that
// is, of a feature that comes back.
func (r *rollback) needs(segment string) bool {
	for feature := range r.was.Uses.Get(segment).All() {
		if r.covers(feature) && r.isToBe(feature) {
			return true
		}
	}
	return slices.Contains(r.command.Segments, segment)
}

// deleteRestored deletes features that were deleted then and have been restored
// since, if asked to, so that the rollback of a rollback that restored them leads
// back to where it began. Who has taken them into use elsewhere keeps them.
func (r *rollback) deleteRestored(p *domain.Project, in *Inputs) error {
	if !r.command.RestoreDeleted {
		return nil
	}
	p, _ = p.Evolve(r.events, domain.Stamp{Position: p.Position})
	for _, key := range r.restored {
		var all []Command
		for segment, s := range p.Segments.All() {
			if s.Feature == key {
				all = append(all, DeleteSegment{Segment: segment})
			}
		}
		events, err := deleteAll(p, in, r.env.Key, append(all, DeleteFeature{Feature: key}))
		if refusal, ok := errors.AsType[*domain.Error](err); ok {
			r.warn("feature %q was restored since, and goes to its initial state instead of being deleted again: %s", key, refusal.Detail)
			continue
		} else if err != nil {
			return err
		}
		p, _ = p.Evolve(events, domain.Stamp{Position: p.Position})
		r.event(events...)
		r.warn("feature %q was restored since: it is deleted again, for all environments", key)
	}
	return nil
}

// deleteAll deletes a feature and what is its own, the feature last. It is refused
// where another environment than the given one has it enabled.
func deleteAll(p *domain.Project, in *Inputs, env string, all []Command) ([]domain.Event, error) {
	var events []domain.Event
	for _, c := range all {
		if d, is := c.(DeleteFeature); is {
			for other, e := range p.Environments.All() {
				if other != env && e.States.Get(d.Feature).Enabled {
					return nil, domain.Refuse(domain.Conflict, "it is enabled in %s", other)
				}
			}
		}
		more, err := c.Decide(p, in)
		if err != nil {
			return nil, err
		}
		p, _ = p.Evolve(more, domain.Stamp{Position: p.Position})
		events = append(events, more...)
	}
	return events, nil
}

// wasRestored tells of a feature that was not there then whether it had been
// there before that.
func (r *rollback) wasRestored(f *domain.Feature) (bool, error) {
	if r.then.Features.Get(f.Key) != nil {
		return false, nil
	}
	seed, err := r.views.Seed(r.then, r.env.Key, f)
	if err != nil {
		return false, fmt.Errorf("look for feature %s before version %d: %w", f.Key, r.command.Version, err)
	}
	return seed != 0, nil
}

// deletedSince says what became of something deleted, and what stands in the way
// of its return: another of the key, or of one that differs only in case.
func deletedSince(kind, key, other string) string {
	switch other {
	case "":
		return fmt.Sprintf("%s %q was deleted since", kind, key)
	case key:
		return fmt.Sprintf("%s %q was deleted since, and another of that key exists now", kind, key)
	}
	return fmt.Sprintf("%s %q was deleted since, and %q, which differs only in case, exists now", kind, key, other)
}

// segmentNow is the key where there is such a segment now, and else "".
func (r *rollback) segmentNow(key string) string {
	if r.now.Segments.Get(key) == nil {
		return ""
	}
	return key
}
