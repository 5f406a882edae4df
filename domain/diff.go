package domain

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// A Difference is one thing in which two images of an object differ. It is
// addressed by what a thing is called, not by where it stands: the condition
// c3 of rule r1 is "rules/r1/conditions/c3" at whatever place. A "/" in a name
// is written "~1" and a "~" is written "~0".
type Difference struct {
	Op Op `json:"op"`
	// Path is that in the later image; only of an element that was removed it
	// is that in the earlier one.
	Path string `json:"path"`
	// From and To are the values, absent where there was or is none, and both
	// absent where the value is a secret. Of an element that moved they are its
	// paths, and absent where the path is still the same.
	From json.RawMessage `json:"from,omitempty"`
	To   json.RawMessage `json:"to,omitempty"`
	// FromPlace and ToPlace are the places of an element in its list, before
	// and after, counted from 1. They are 0 for what is not in a list.
	FromPlace int `json:"from_place,omitempty"`
	ToPlace   int `json:"to_place,omitempty"`
}

// Op says what became of the thing.
type Op string

// The sorts of difference. An element is moved when it stands in another list,
// or in another order among those that stayed; not when others came or went.
const (
	OpAdded   Op = "added"
	OpRemoved Op = "removed"
	OpChanged Op = "changed"
	OpMoved   Op = "moved"
)

// Members that are no news: they follow from the change itself, or say when it
// was. What Diff returns leaves them out at every level.
var bookkeeping = map[string]bool{"changed": true, "created": true, "last_node": true, "seeds": true}

const (
	// secret is the member whose value no difference shows.
	secret = "hash"
	// dataNames is the member whose own members have names given by people, so
	// that none of them is bookkeeping or a secret.
	dataNames = "weights"
)

// identifying are the members by which an element of a list is known; the
// first that is there counts.
var identifying = []string{"id", "key", "segment", "feature"}

// Diff returns what differs between two images of one object, or nothing where
// the object is absent on one side (nil, empty or null), as its other image
// says it all.
//
// A list is an array whose elements are all objects with an identifying member
// (id, else key, else segment, else feature), unique among the arrays of that
// name in the image. Its elements are compared each with its namesake, also
// when that stands in another list: rules that move into other rules are moved,
// not removed and added. As few elements as possible are called moved. An
// array of anything else is one value. Absent and null are the same, and so are
// both and an empty list or object.
func Diff(before, after json.RawMessage) ([]Difference, error) {
	if absent(before) || absent(after) {
		return nil, nil
	}
	b, err := decodeImage(before)
	if err != nil {
		return nil, fmt.Errorf("diff: read the image before: %w", err)
	}
	a, err := decodeImage(after)
	if err != nil {
		return nil, fmt.Errorf("diff: read the image after: %w", err)
	}
	d := differ{plain: make(map[string]bool)}
	d.findPlain(b, make(map[string]bool))
	d.findPlain(a, make(map[string]bool))
	d.before, d.after = d.elements(b), d.elements(a)
	d.fields(b, a, "", "")
	d.lists()
	return d.found, nil
}

// An element of a list. Its name is the list's name with its own: "conditions/c3".
type element struct {
	name  string
	value map[string]any
	in    string // name of the list
	owner string // name of the element that the list belongs to; empty: the object itself
	home  string // which list of the owner; equal before and after where the element stayed in its list
	path  string
	place int
}

// elements are those of an image by name and in order.
type elements struct {
	byName map[string]*element
	order  []*element
}

func (e elements) has(name string) bool { return e.byName[name] != nil }

type differ struct {
	plain         map[string]bool // names of arrays that are no lists
	before, after elements
	found         []Difference
}

// findPlain notes the names of arrays with an element that cannot be told from
// the others.
func (d *differ) findPlain(o map[string]any, seen map[string]bool) {
	for name, v := range o {
		switch v := v.(type) {
		case map[string]any:
			d.findPlain(v, seen)
		case []any:
			for _, e := range v {
				id := identity(e)
				full := join(name, id)
				if id == "" || seen[full] {
					d.plain[name] = true
					break
				}
				seen[full] = true
				d.findPlain(e.(map[string]any), seen)
			}
		}
	}
}

func (d *differ) elements(root map[string]any) elements {
	found := elements{byName: make(map[string]*element)}
	var visit func(o map[string]any, owner, home, path string)
	visit = func(o map[string]any, owner, home, path string) {
		for _, name := range slices.Sorted(maps.Keys(o)) {
			switch v := o[name].(type) {
			case map[string]any:
				visit(v, owner, join(home, name), join(path, name))
			case []any:
				if d.plain[name] {
					continue
				}
				for i, value := range v {
					id := identity(value)
					e := &element{
						name: join(name, id), value: value.(map[string]any), in: name,
						owner: owner, home: join(home, name), path: join(join(path, name), id), place: i + 1,
					}
					found.byName[e.name] = e
					found.order = append(found.order, e)
					visit(e.value, e.name, e.name, e.path)
				}
			}
		}
	}
	visit(root, "", "", "")
	return found
}

// fields compares the members of an object or element, all but its lists. in
// is the name of the member or list in which it stands.
func (d *differ) fields(b, a map[string]any, in, path string) {
	names := maps.Clone(a)
	if names == nil {
		names = make(map[string]any)
	}
	maps.Copy(names, b)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		was, hadBefore := b[name]
		is, hasAfter := a[name]
		path := join(path, name)
		switch {
		case in != dataNames && bookkeeping[name]:
		case d.isList(name, was, is):
		case reflect.DeepEqual(was, is):
		case in != dataNames && name == secret:
			d.found = append(d.found, Difference{Op: OpChanged, Path: path})
		case isObject(was, is):
			wasObject, _ := was.(map[string]any)
			isObject, _ := is.(map[string]any)
			d.fields(wasObject, isObject, name, path)
		case !hadBefore:
			d.found = append(d.found, Difference{Op: OpAdded, Path: path, To: d.encode(is, name, elements{})})
		case !hasAfter:
			d.found = append(d.found, Difference{Op: OpRemoved, Path: path, From: d.encode(was, name, elements{})})
		default:
			d.found = append(d.found, Difference{
				Op: OpChanged, Path: path, From: d.encode(was, name, elements{}), To: d.encode(is, name, elements{}),
			})
		}
	}
}

// lists compares the elements of all lists.
func (d *differ) lists() {
	for _, was := range d.before.order {
		// what belongs to an element that is gone as well, is gone with it
		if !d.after.has(was.name) && (was.owner == "" || d.after.has(was.owner)) {
			d.found = append(d.found, Difference{
				Op: OpRemoved, Path: was.path, From: d.encode(was.value, was.in, d.after), FromPlace: was.place,
			})
		}
	}
	kept := d.kept()
	for _, is := range d.after.order {
		was := d.before.byName[is.name]
		if was == nil {
			if is.owner == "" || d.before.has(is.owner) {
				d.found = append(d.found, Difference{
					Op: OpAdded, Path: is.path, To: d.encode(is.value, is.in, d.before), ToPlace: is.place,
				})
			}
			continue
		}
		if !kept[is.name] {
			move := Difference{Op: OpMoved, Path: is.path, FromPlace: was.place, ToPlace: is.place}
			if was.path != is.path {
				move.From, move.To = d.encode(was.path, "", elements{}), d.encode(is.path, "", elements{})
			}
			d.found = append(d.found, move)
		}
		d.fields(was.value, is.value, is.in, is.path)
	}
}

// kept returns the names of the elements that did not move: of each list a
// longest common subsequence of before and after.
func (d *differ) kept() map[string]bool {
	stayed := make(map[string][]*element) // by list: those before, in the order of after
	for _, is := range d.after.order {
		if was := d.before.byName[is.name]; was != nil && was.home == is.home {
			stayed[is.home] = append(stayed[is.home], was)
		}
	}
	kept := make(map[string]bool)
	for _, list := range stayed {
		// The common subsequence is the longest one of increasing places. ends
		// has the element that ends the best one of each length, last has the
		// one before each element.
		var ends []*element
		last := make(map[*element]*element, len(list))
		for _, e := range list {
			n, _ := slices.BinarySearchFunc(ends, e, func(a, b *element) int { return cmp.Compare(a.place, b.place) })
			if n > 0 {
				last[e] = ends[n-1]
			}
			if n == len(ends) {
				ends = append(ends, e)
			} else {
				ends[n] = e
			}
		}
		for e := ends[len(ends)-1]; e != nil; e = last[e] {
			kept[e.name] = true
		}
	}
	return kept
}

// encode writes a value as a difference shows it: without bookkeeping and
// secrets, and without elements that stand in the other image as well, whose
// move is a difference of its own.
func (d *differ) encode(value any, in string, other elements) json.RawMessage {
	body, err := json.Marshal(d.shown(value, in, other))
	if err != nil {
		panic("domain: encode a difference: " + err.Error()) // it was decoded from JSON: cannot fail
	}
	return body
}

func (d *differ) shown(value any, in string, other elements) any {
	switch value := value.(type) {
	case map[string]any:
		shown := make(map[string]any, len(value))
		for name, v := range value {
			if in == dataNames || !bookkeeping[name] && name != secret {
				shown[name] = d.shown(v, name, other)
			}
		}
		return shown
	case []any:
		shown := make([]any, 0, len(value))
		for _, e := range value {
			if !other.has(join(in, identity(e))) {
				shown = append(shown, d.shown(e, in, other))
			}
		}
		return shown
	}
	return value
}

// isList tells whether the member is a list before or after, and nothing else.
func (d *differ) isList(name string, was, is any) bool {
	_, listBefore := was.([]any)
	_, listAfter := is.([]any)
	return !d.plain[name] && (listBefore || listAfter) && (listBefore || was == nil) && (listAfter || is == nil)
}

func isObject(was, is any) bool {
	_, objectBefore := was.(map[string]any)
	_, objectAfter := is.(map[string]any)
	return (objectBefore || objectAfter) && (objectBefore || was == nil) && (objectAfter || is == nil)
}

// identity is what an element of a list is called, or empty.
func identity(e any) string {
	o, _ := e.(map[string]any)
	for _, name := range identifying {
		switch id := o[name].(type) {
		case string:
			return id
		case json.Number:
			return string(id)
		}
	}
	return ""
}

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

// absent tells whether the image is that of an object that does not exist.
func absent(image json.RawMessage) bool {
	return len(image) == 0 || string(image) == "null"
}

func decodeImage(image json.RawMessage) (map[string]any, error) {
	var o map[string]any
	if err := decode(image, &o); err != nil {
		return nil, err
	}
	if o == nil {
		return nil, errors.New("the object is absent")
	}
	return o, nil
}

// decode keeps numbers as they are written: 1 and 1.0 are different values.
func decode(data json.RawMessage, into any) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	return dec.Decode(into)
}

var (
	escaper   = strings.NewReplacer("~", "~0", "/", "~1")
	unescaper = strings.NewReplacer("~1", "/", "~0", "~")
)

// join appends a name to a path.
func join(path, name string) string {
	if path == "" {
		return escaper.Replace(name)
	}
	return path + "/" + escaper.Replace(name)
}

// split returns the names of a path.
func split(path string) []string {
	names := strings.Split(path, "/")
	for i, name := range names {
		names[i] = unescaper.Replace(name)
	}
	return names
}
