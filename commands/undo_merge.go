package commands

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	"flagledger/domain"
)

// since is what others did to an object after what is to be undone.
type since struct {
	from  uint64             // it is read down to here
	steps []domain.FieldStep // of each field the last one
	ended uint64             // position at which they deleted it last; 0: they did not
}

// takeBack works one change out of the image of its object.
func (u *undo) takeBack(c domain.PastChange) error {
	if !u.stands(c) {
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
	since, err := u.stepsSince(c)
	if err != nil {
		return err
	}
	c, now = withList(c), listImage(c.Object, now)
	switch {
	case c.Before == nil && c.After == nil:
	case c.After == nil: // deleted
		if now != nil {
			u.conflict(c.Object, "", "it was deleted at position %d and exists again", c.Position)
			return nil
		}
		u.images[c.Object] = c.Before
		if c.Object.Kind == domain.KindSegment {
			u.deletedAs[c.Object] = c.Before
		}
	case now == nil && c.Before == nil: // created, and gone again
	case now == nil:
		u.conflict(c.Object, "", "it was changed at position %d and deleted since", c.Position)
	case since.ended > 0:
		u.conflict(c.Object, "", "it was changed at position %d and deleted at position %d; what has its key now is another", c.Position, since.ended)
	case c.Before == nil: // created
		return u.takeAway(c, now, since.steps)
	default:
		return u.merge(c, now, since.steps)
	}
	return nil
}

// takeAway takes back that an object was created, if it is still as it was then.
func (u *undo) takeAway(c domain.PastChange, now json.RawMessage, since []domain.FieldStep) error {
	changed, err := domain.Diff(c.After, now)
	if err != nil {
		return fmt.Errorf("undo %s: %w", c.Object, err)
	}
	for _, step := range since {
		if !slices.ContainsFunc(changed, func(d domain.Difference) bool { return d.Path == step.Path }) {
			changed = append(changed, step.Difference)
		}
	}
	for _, d := range changed {
		if d.Path != "revision" { // follows from the rest, which may be taken back already
			u.conflict(c.Object, d.Path, "it was created at position %d and changed since", c.Position)
		}
	}
	u.images[c.Object] = nil
	return nil
}

// merge takes a change out of what an object is now.
func (u *undo) merge(c domain.PastChange, now json.RawMessage, since []domain.FieldStep) error {
	merged, conflicts, err := domain.Merge(c.After, c.Before, now, since...)
	if err != nil {
		return fmt.Errorf("undo %s: %w", c.Object, err)
	}
	if len(conflicts) > 0 {
		u.shown = append(u.shown, domain.Shown{Object: c.Object, Image: c.Before}, domain.Shown{Object: c.Object, Image: c.After}, domain.Shown{Object: c.Object, Image: now})
	}
	for _, conflict := range conflicts {
		again := "again since"
		if conflict.Position > 0 {
			again = fmt.Sprintf("again at position %d", conflict.Position)
		}
		u.conflict(c.Object, conflict.Path, "it was changed at position %d, and %s: it should become %s again, but is %s now",
			c.Position, again, becomes(conflict.Ours), becomes(conflict.Theirs))
	}
	if len(conflicts) > 0 {
		return nil
	}
	u.images[c.Object] = merged
	if empty := listImage(c.Object, nil); empty != nil {
		left, err := domain.Diff(empty, merged)
		if err != nil {
			return fmt.Errorf("undo %s: %w", c.Object, err)
		}
		if len(left) == 0 {
			u.images[c.Object] = nil
		}
	}
	return nil
}

// withList is a change of an object that comes and goes with what is in its list
// as one of the list.
func withList(c domain.PastChange) domain.PastChange {
	c.Before, c.After = listImage(c.Object, c.Before), listImage(c.Object, c.After)
	return c
}

// listImage is the image of an object; of one that comes and goes with what is in
// its list, and is not there, that of the empty list.
func listImage(o domain.Object, image json.RawMessage) json.RawMessage {
	switch {
	case image != nil:
	case o.Kind == domain.KindSegmentOverrides:
		return json.RawMessage(`{"feature":` + strconv.Quote(o.Key) + `}`)
	case o.Kind == domain.KindIdentity:
		return json.RawMessage(`{"identity":` + strconv.Quote(o.Key) + `}`)
	}
	return image
}

// becomes words what a difference leads to.
func becomes(d domain.Difference) string {
	switch {
	case len(d.To) > 0:
		return string(d.To)
	case d.Op == domain.OpMoved:
		return fmt.Sprintf("at place %d", d.ToPlace)
	}
	return "nothing"
}

// stepsSince are what others have done to the object of a change after it. The
// changes to undo come newest first, so that all between two of them is of others.
func (u *undo) stepsSince(c domain.PastChange) (*since, error) {
	s := u.since[c.Object]
	if s == nil {
		s = &since{from: u.now.Position + 1}
		u.since[c.Object] = s
	}
	between, err := u.in.Views.ChangesBetween(u.now, c.Object, c.Position, s.from)
	if err != nil {
		return nil, err
	}
	s.from = c.Position
	for _, change := range between { // newest first
		change = withList(change)
		if change.After == nil {
			s.ended = max(s.ended, change.Position)
		}
		steps, err := domain.FieldSteps(change)
		if err != nil {
			return nil, fmt.Errorf("undo %s: %w", c.Object, err)
		}
		for _, step := range steps {
			if !slices.ContainsFunc(s.steps, func(known domain.FieldStep) bool { return known.Path == step.Path }) {
				s.steps = append(s.steps, step)
			}
		}
	}
	return s, nil
}
