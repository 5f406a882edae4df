package domain

import (
	"cmp"
	"encoding/json"

	"fmt"
	"slices"
	"strings"
)

// Patch applies differences to an image: Diff(a, b) applied to a gives b, but
// that bookkeeping and secrets stay those of a. The image may be another than
// the one the differences were found in, as long as what they change, move or
// remove is there, and what they add to; values are replaced whatever they are.
// The order of the differences does not matter.
func Patch(before json.RawMessage, diffs []Difference) (json.RawMessage, error) {
	root, err := decodeImage(before)
	if err != nil {
		return nil, fmt.Errorf("patch: read the image: %w", err)
	}
	if err := patch(root, diffs); err != nil {
		return nil, fmt.Errorf("patch: %w", err)
	}
	return json.Marshal(root)
}

// patch takes out what moves or goes, innermost first, so that every path of
// before still leads there; puts in what moved or came, outermost first and in
// the order of the places, so that every place is right when it is filled; and
// then sets values, whose paths are those of after.
func patch(root map[string]any, diffs []Difference) error {
	type step struct {
		Difference
		path []string
	}
	var out, in []step
	for _, d := range diffs {
		if d.FromPlace > 0 {
			from, err := d.formerPath()
			if err != nil {
				return err
			}
			out = append(out, step{d, split(from)})
		}
		if d.ToPlace > 0 {
			in = append(in, step{d, split(d.Path)})
		}
	}
	slices.SortStableFunc(out, func(a, b step) int { return cmp.Compare(len(b.path), len(a.path)) })
	slices.SortStableFunc(in, func(a, b step) int {
		return cmp.Or(cmp.Compare(len(a.path), len(b.path)), cmp.Compare(a.ToPlace, b.ToPlace))
	})

	moved := make(map[string]any) // by path after
	for _, s := range out {
		e, err := takeOut(root, s.path)
		if err != nil {
			return fmt.Errorf("%s %s: %w", s.Op, s.Path, err)
		}
		moved[s.Path] = e
	}
	for _, s := range in {
		e := moved[s.Path]
		if s.Op == OpAdded {
			if err := decode(s.To, &e); err != nil {
				return fmt.Errorf("%s %s: read the value: %w", s.Op, s.Path, err)
			}
		}
		if err := putIn(root, s.path, s.ToPlace, e); err != nil {
			return fmt.Errorf("%s %s: %w", s.Op, s.Path, err)
		}
	}
	for _, d := range diffs {
		if d.FromPlace > 0 || d.ToPlace > 0 || d.From == nil && d.To == nil {
			continue
		}
		if err := setValue(root, split(d.Path), d.To); err != nil {
			return fmt.Errorf("%s %s: %w", d.Op, d.Path, err)
		}
	}
	return nil
}

// formerPath is the path in the earlier image.
func (d Difference) formerPath() (string, error) {
	path := d.Path
	if d.Op == OpMoved && d.From != nil {
		if err := json.Unmarshal(d.From, &path); err != nil {
			return "", fmt.Errorf("%s %s: read the path it moved from: %w", d.Op, d.Path, err)
		}
	}
	return path, nil
}

// takeOut removes the element at the path from its list.
func takeOut(root map[string]any, path []string) (any, error) {
	owner, name, id, err := findList(root, path)
	if err != nil {
		return nil, err
	}
	list, _ := owner[name].([]any)
	i := slices.IndexFunc(list, func(e any) bool { return identity(e) == id })
	if i < 0 {
		return nil, fmt.Errorf("there is no %q in %s", id, name)
	}
	e := list[i]
	owner[name] = slices.Delete(list, i, i+1)
	return e, nil
}

// putIn puts the element into the list of its path, at the place or at the end.
func putIn(root map[string]any, path []string, place int, e any) error {
	owner, name, id, err := findList(root, path)
	if err != nil {
		return err
	}
	list, _ := owner[name].([]any)
	if slices.ContainsFunc(list, func(e any) bool { return identity(e) == id }) {
		return fmt.Errorf("there is a %q in %s already", id, name)
	}
	owner[name] = slices.Insert(list, min(place-1, len(list)), e)
	return nil
}

// findList returns the object whose list has or is to have the element, the
// name of the list, and that of the element.
func findList(root map[string]any, path []string) (owner map[string]any, name, id string, err error) {
	if len(path) < 2 {
		return nil, "", "", fmt.Errorf("path %v does not lead into a list", path)
	}
	end := len(path) - 2
	owner, err = find(root, path[:end])
	return owner, path[end], path[end+1], err
}

// setValue sets the member at the path, or removes it where there is no value.
func setValue(root map[string]any, path []string, value json.RawMessage) error {
	end := len(path) - 1
	o, err := find(root, path[:end])
	if err != nil {
		return err
	}
	if value == nil {
		delete(o, path[end])
		return nil
	}
	var v any
	if err := decode(value, &v); err != nil {
		return fmt.Errorf("read the value: %w", err)
	}
	o[path[end]] = v
	return nil
}

// find returns the object at the path. A member that is absent becomes an
// empty object.
func find(o map[string]any, path []string) (map[string]any, error) {
	for i := 0; i < len(path); i++ {
		switch v := o[path[i]].(type) {
		case map[string]any:
			o = v
		case []any:
			at := -1
			if i++; i < len(path) {
				at = slices.IndexFunc(v, func(e any) bool { return identity(e) == path[i] })
			}
			if at < 0 {
				return nil, fmt.Errorf("nothing at %s", strings.Join(path[:min(i+1, len(path))], "/"))
			}
			o = v[at].(map[string]any) // what has an identity is an object
		case nil:
			member := make(map[string]any)
			o[path[i]] = member
			o = member
		default:
			return nil, fmt.Errorf("%s is no object", strings.Join(path[:i+1], "/"))
		}
	}
	return o, nil
}
