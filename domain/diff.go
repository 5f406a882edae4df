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
