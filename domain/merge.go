package domain

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// A FieldConflict is a field that was changed on both sides of a merge.
type FieldConflict struct {
	Path string `json:"path"` // as in Difference
	// Ours is what the merge wants to do, Theirs what has been done since.
	Ours   Difference `json:"wanted"`
	Theirs Difference `json:"since"`
	// Position of the commit that made Theirs; 0 where that is not known.
	Position uint64 `json:"position,omitempty"`
}

// A FieldStep is a field that a commit set.
type FieldStep struct {
	Difference
	Position uint64
	was      string // path in the image before
}

// FieldSteps are the fields that a commit set of an object that was there before
// and after it; of one that came or went there are none.
func FieldSteps(c PastChange) ([]FieldStep, error) {
	all, err := Diff(c.Before, c.After)
	if err != nil {
		return nil, fmt.Errorf("differences at position %d: %w", c.Position, err)
	}
	was := pathsBefore(all)
	var steps []FieldStep
	for i, d := range all {
		if d.Path != "revision" { // follows from the rest
			steps = append(steps, FieldStep{d, c.Position, was[i]})
		}
	}
	return steps, nil
}

// Merge does to theirs what leads from base to ours: all three are images of one
// object that exist. Where theirs differs from base in the same field, that is a
// conflict, unless both made the same of it. So it is where a step since base has
// set the field, also if it is now what it was in base; steps come newest first.
// One that only moved an element has set nothing else of it.
func Merge(base, ours, theirs json.RawMessage, steps ...FieldStep) (merged json.RawMessage, conflicts []FieldConflict, err error) {
	wanted, err := Diff(base, ours)
	if err != nil {
		return nil, nil, fmt.Errorf("merge: %w", err)
	}
	since, err := Diff(base, theirs)
	if err != nil {
		return nil, nil, fmt.Errorf("merge: %w", err)
	}
	was, is := pathsBefore(wanted), pathsBefore(since)
	done := make([]bool, len(since)) // by both sides alike
	var open []Difference
	var openWas []string
	for i, w := range wanted {
		j := slices.IndexFunc(since, func(s Difference) bool {
			return w.Op == s.Op && w.Path == s.Path && bytes.Equal(w.From, s.From) && bytes.Equal(w.To, s.To) && w.ToPlace == s.ToPlace
		})
		switch {
		case w.Path == "revision": // follows from the rest
		case j >= 0 && was[i] == is[j]:
			done[j] = true
		default:
			open, openWas = append(open, w), append(openWas, was[i])
		}
	}
	for i, w := range open {
		found := false
		for j, s := range since {
			if !done[j] && overlap(w, openWas[i], s, is[j]) {
				conflicts = append(conflicts, FieldConflict{Path: w.Path, Ours: w, Theirs: s, Position: lastStep(steps, w, openWas[i])})
				found = true
			}
		}
		for _, s := range steps {
			if placed := s.Op == OpMoved && w.Op != OpMoved; !found && !placed && overlap(w, openWas[i], s.Difference, s.was) {
				conflicts = append(conflicts, FieldConflict{Path: w.Path, Ours: w, Theirs: s.Difference, Position: s.Position})
				found = true
			}
		}
	}
	if len(conflicts) > 0 {
		return nil, conflicts, nil
	}
	for i, d := range open { // theirs may have made some of the same moves
		open[i] = d.from(since)
	}
	merged, err = Patch(theirs, open)
	return merged, nil, err
}

// lastStep is the position of the last step that set what the difference is
// about, 0 if none did.
func lastStep(steps []FieldStep, d Difference, was string) uint64 {
	for _, s := range steps {
		if overlap(d, was, s.Difference, s.was) {
			return s.Position
		}
	}
	return 0
}

// from returns the difference as one from the image to which the given ones lead.
func (d Difference) from(since []Difference) Difference {
	path := d.Path
	switch {
	case d.FromPlace == 0:
		return d // its path is one of the later image
	case d.Op == OpMoved && d.From != nil:
		path = d.movedFrom()
	}
	longest, now := 0, path
	for _, m := range since {
		if from := m.movedFrom(); from != "" && len(from) > longest && within(path, from) {
			longest = len(from)
			now = m.Path + path[longest:]
		}
	}
	switch {
	case d.Op == OpRemoved:
		d.Path = now
	case now == d.Path:
		d.From, d.To = nil, nil
	default:
		d.From, d.To = quoted(now), quoted(d.Path)
	}
	return d
}

func quoted(path string) json.RawMessage {
	return (&differ{}).encode(path, "", elements{})
}

// pathsBefore are the paths in the earlier image of what differs, which are
// others where an element moved to another list with all that is in it. What was
// added has that under which it came.
func pathsBefore(all []Difference) []string {
	paths := make([]string, len(all))
	for i, d := range all {
		paths[i] = d.Path
		if d.Op == OpRemoved && d.FromPlace > 0 {
			continue // its path is that in the earlier image already
		}
		longest := 0
		for _, m := range all {
			if from := m.movedFrom(); from != "" && len(m.Path) > longest && within(d.Path, m.Path) {
				longest = len(m.Path)
				paths[i] = from + d.Path[longest:]
			}
		}
	}
	return paths
}

// movedFrom is the path from which an element moved to another one, else empty.
func (d Difference) movedFrom() string {
	if d.Op != OpMoved || d.From == nil {
		return ""
	}
	path, err := d.formerPath()
	if err != nil {
		return "" // of our own making: cannot fail
	}
	return path
}

// overlap tells whether two differences are about the same thing, or one about
// a part of the other. An element can be moved in its list on one side and
// changed inside on the other.
func overlap(a Difference, aBefore string, b Difference, bBefore string) bool {
	for _, at := range []string{a.Path, aBefore} {
		for _, bt := range []string{b.Path, bBefore} {
			switch {
			case at == bt:
				return true
			case within(bt, at):
				if a.Op != OpMoved {
					return true
				}
			case within(at, bt):
				if b.Op != OpMoved || b.From != nil {
					return true
				}
			}
		}
	}
	return false
}

// within tells whether a path is that of a thing or of a part of it.
func within(path, thing string) bool {
	return path == thing || strings.HasPrefix(path, thing+"/")
}
