package domain

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"flagledger/domain/evaluation"
)

// A thing is the object itself, or one element of its lists, with all that
// happened to it.
type thing struct {
	name               string     // "conditions/c3", empty for the object itself
	owner, formerOwner string     // name of the element that has the list, or empty
	op                 Op         // added, removed or moved as a whole, or empty
	self               Difference // that says so
	differences        []Difference
}

// list is the name of the list that a thing is in.
func (t thing) list() string { return split(t.name)[0] }

// id is what a thing is called in its list.
func (t thing) id() string { return split(t.name)[1] }

// things sorts differences by what they are about. The paths of a thing's
// differences begin at the thing.
func things(diffs []Difference) ([]*thing, error) {
	var all []*thing
	byName := make(map[string]*thing)
	for _, d := range diffs {
		name, owner, rest := splitElements(d.Path)
		t := byName[name]
		if t == nil {
			t = &thing{name: name, owner: owner}
			byName[name] = t
			all = append(all, t)
		}
		if rest != "" {
			d.Path = rest
			t.differences = append(t.differences, d)
			continue
		}
		from, err := d.formerPath()
		if err != nil {
			return nil, err
		}
		t.op, t.self = d.Op, d
		_, t.formerOwner, _ = splitElements(from)
	}
	return all, nil
}

// splitElements finds in a path the last element it leads through, as
// "conditions/c3", the element whose list that is in, and the path from there on.
func splitElements(path string) (element, owner, rest string) {
	for {
		list, after, _ := strings.Cut(path, "/")
		if !slices.Contains([]string{"rules", "conditions", "list", "variants"}, list) || after == "" {
			return element, owner, path
		}
		id, rest, _ := strings.Cut(after, "/")
		element, owner, path = list+"/"+id, element, rest
	}
}

// clauses tells the change of an object with lists: what happened to one thing
// as a sentence of its own, which names the object as of, and several as a list
// after whole. element tells of an element; the of it gets is ready to be
// appended to a noun, and empty where the sentence has named the object.
func (c ObjectChange) clauses(whole, of string, element func(t thing, of string) (string, error)) (string, error) {
	all, err := things(c.Differences)
	if err != nil {
		return "", err
	}
	if len(all) == 0 {
		return tell(whole, "", nil), nil
	}
	if len(all) == 1 {
		if all[0].name == "" {
			return tell(whole, "", all[0].differences), nil
		}
		return element(*all[0], " of "+of)
	}
	var told []string
	for _, t := range all[:min(len(all), mostClauses)] {
		clause := fields(t.differences, " ", "; ")
		if t.name != "" {
			if clause, err = element(*t, ""); err != nil {
				return "", err
			}
		}
		told = append(told, clause)
	}
	if more := len(all) - len(told); more > 0 {
		told = append(told, fmt.Sprintf("and %d more", more))
	}
	return "changed " + whole + ": " + strings.Join(told, "; "), nil
}

// ofList tells what happened to an element of a plain list. move is the verb
// for its move, words tells its value.
func (t thing) ofList(move, noun, of string, words func(json.RawMessage) (string, error)) (string, error) {
	switch t.op {
	case OpAdded:
		told, err := words(t.self.To)
		at := ""
		if move == "put" { // its order decides
			at = fmt.Sprintf(" at place %d", t.self.ToPlace)
		}
		return "added " + noun + of + at + ": " + told, err
	case OpRemoved:
		return "removed " + noun + of, nil
	case OpMoved:
		moved := fmt.Sprintf("%s %s%s from place %d to %d", move, noun, of, t.self.FromPlace, t.self.ToPlace)
		if t.self.FromPlace == t.self.ToPlace { // the others went around it
			moved = fmt.Sprintf("left %s%s at place %d", noun, of, t.self.ToPlace)
		}
		return tell(noun, moved, t.differences), nil
	}
	return tell(noun+of, "", t.differences), nil
}

// switches are the members that are told by a verb: off and on.
var switches = map[string][2]string{
	"enabled":  {"disabled", "enabled"},
	"active":   {"disabled", "enabled"},
	"archived": {"unarchived", "archived"},
}

// tell tells what happened to the members of a thing. moved, where it is not
// empty, has been said of it before.
func tell(noun, moved string, diffs []Difference) string {
	var told []string
	if moved != "" {
		told, noun = []string{moved}, "it"
	}
	var rest []Difference
	for _, d := range diffs {
		verbs, isSwitch := switches[d.Path]
		if !isSwitch || d.Op != OpChanged {
			rest = append(rest, d)
			continue
		}
		verb := verbs[0]
		if string(d.To) == "true" {
			verb = verbs[1]
		}
		told, noun = append(told, verb+" "+noun), "it"
	}
	switch {
	case len(rest) > 0 && len(told) > 0:
		told = append(told, "changed its "+fields(rest, " from ", ", its "))
	case len(rest) > 0:
		told = append(told, "changed "+noun+": "+fields(rest, " ", ", "))
	case len(told) == 0:
		return "left " + noun + " unchanged"
	}
	return series(told)
}

// fields tells changed members: value "a" to "b", weight of on 10 to 20.
func fields(diffs []Difference, from, separator string) string {
	told := make([]string, len(diffs))
	for i, d := range diffs {
		was, is := change(d.From, d.To)
		if d.From == nil && d.To == nil {
			was, is = "(secret)", "(secret)"
		}
		told[i] = fieldName(d.Path) + from + was + " to " + is
	}
	return strings.Join(told, separator)
}

// fieldName is a member's name as people say it: "weight of on", "default enabled".
func fieldName(path string) string {
	names := split(path)
	if len(names) == 2 && names[0] == "weights" {
		return "weight of " + names[1]
	}
	return strings.ReplaceAll(strings.Join(names, " "), "_", " ")
}

// change tells two values so that one sees where they differ: a long beginning
// that both have is left out.
func change(from, to json.RawMessage) (was, is string) {
	var a, b string
	textBefore := json.Unmarshal(from, &a) == nil && string(from) != "null"
	textAfter := json.Unmarshal(to, &b) == nil && string(to) != "null"
	if textBefore && textAfter && (utf8.RuneCountInString(a) > longestText || utf8.RuneCountInString(b) > longestText) {
		const shown = 20 // characters before the difference
		x, y := []rune(a), []rune(b)
		same := 0
		for same < min(len(x), len(y)) && x[same] == y[same] {
			same++
		}
		if skip := same - shown; skip > 0 {
			a, b = "…"+string(x[skip:]), "…"+string(y[skip:])
		}
	}
	literal := func(isText bool, text string, raw json.RawMessage) string {
		switch {
		case isText:
			return strconv.Quote(shorten(text))
		case raw == nil:
			return "none"
		}
		return shorten(string(raw))
	}
	return literal(textBefore, a, from), literal(textAfter, b, to)
}

// stateWords tells a state: enabled, value "a", grid 30 %, list 70 %.
func stateWords(enabled bool, value evaluation.Value, weights map[string]float64) string {
	words := "disabled"
	if enabled {
		words = "enabled"
	}
	if !value.IsNull() {
		words += ", value " + scalar(value)
	}
	for _, variant := range slices.Sorted(maps.Keys(weights)) {
		words += ", " + variant + " " + strconv.FormatFloat(weights[variant], 'f', -1, 64) + " %"
	}
	return words
}

func scalar(v evaluation.Value) string {
	if text, ok := v.AsString(); ok {
		return strconv.Quote(shorten(text))
	}
	return v.String()
}

// shorten cuts text that is too long.
func shorten(text string) string {
	n := 0
	for i := range text {
		if n++; n > longestText {
			return text[:i] + "…"
		}
	}
	return text
}

// series joins words as people do: a, b and c.
func series(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " and " + words[last]
}
