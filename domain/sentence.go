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

// An ObjectChange is what one commit did to one object.
type ObjectChange struct {
	Object        Object
	Before, After json.RawMessage // images; absent: nil, empty or null
	Differences   []Difference    // Diff(Before, After)
	// Events are all events of the commit. They tell what images cannot: a
	// person who was erased from one whose overrides were removed, and of which
	// environment a new one is a clone.
	Events []Event
}

// Sentence tells the change in English, as one sentence without a full stop:
//
//	Ana moved condition 3 of segment beta_users to place 1 and changed its value from "US" to "US,CA"
//
// name gives the identifier of a person for a surrogate, or the surrogate where
// it must not be shown or is not known any more; nil: always the surrogate.
// Values of more than 120 characters are cut, and after ten things that changed
// the rest is counted. An error means that an image cannot be read.
func Sentence(actor string, c ObjectChange, name func(surrogate string) string) (string, error) {
	predicate, err := c.predicate(name)
	if err != nil {
		return "", fmt.Errorf("tell the change of %s: %w", c.Object, err)
	}
	return actor + " " + predicate, nil
}

const (
	longestText = 120 // characters of a value
	mostClauses = 10  // of a sentence
)

func (c ObjectChange) predicate(name func(string) string) (string, error) {
	switch c.Object.Kind {
	case KindProject:
		return c.lifecycle("created", "deleted", "project "+c.Object.Key), nil
	case KindSegmentTests:
		return c.lifecycle("added", "removed", "cases of segment "+c.Object.Key), nil
	case KindFeatureTests:
		return c.lifecycle("added", "removed", "cases of feature "+c.Object.Key), nil
	case KindContext:
		return c.lifecycle("declared", "removed the declaration of", "trait "+c.Object.Key), nil
	case KindEnvironment:
		return c.environment(), nil
	case KindToken:
		return c.token()
	case KindSDKKey:
		return c.sdkKey()
	case KindFeature:
		return c.feature()
	case KindSegment:
		return c.segment()
	case KindFeatureState:
		return c.state()
	case KindSegmentOverrides:
		return c.segmentOverrides()
	case KindIdentity:
		return c.identity(name)
	case KindSegmentPin:
		return c.segmentPin()
	case KindVariantsPin:
		return c.variantsPin()
	}
	return c.lifecycle("created", "deleted", c.Object.String()), nil
}

// lifecycle tells the change of an object without lists.
func (c ObjectChange) lifecycle(created, deleted, noun string) string {
	switch {
	case absent(c.Before) && absent(c.After):
		return created + " and " + deleted + " " + noun
	case absent(c.Before):
		return created + " " + noun
	case absent(c.After):
		return deleted + " " + noun
	}
	return tell(noun, "", c.Differences)
}

// read decodes an image; where the object is absent, into is left as it is.
func read(image json.RawMessage, into any) error {
	if absent(image) {
		return nil
	}
	return json.Unmarshal(image, into)
}

// either is the image after, or before where the object is gone.
func (c ObjectChange) either() json.RawMessage {
	if absent(c.After) {
		return c.Before
	}
	return c.After
}

func (c ObjectChange) environment() string {
	told := c.lifecycle("created", "deleted", "environment "+c.Object.Key)
	for _, e := range c.Events {
		if e, ok := e.(EnvironmentCreated); ok && absent(c.Before) && e.Key == c.Object.Key && e.ClonedFrom != "" {
			return told + " as a clone of " + e.ClonedFrom
		}
	}
	return told
}

func (c ObjectChange) token() (string, error) {
	t := Token{Name: c.Object.Key}
	if err := read(c.either(), &t); err != nil {
		return "", err
	}
	told := c.lifecycle("created", "revoked", "token "+t.Name)
	if absent(c.Before) && len(t.Grants) > 0 {
		var grants []string
		for _, g := range t.Grants {
			where := "all projects"
			if g.Project != "" {
				where = strings.TrimSuffix(g.Project+"/"+g.Environment, "/")
			}
			grants = append(grants, string(g.Role)+" of "+where)
		}
		told += ": " + series(grants)
	}
	return told, nil
}

func (c ObjectChange) sdkKey() (string, error) {
	k := SDKKey{Name: c.Object.Key}
	if err := read(c.either(), &k); err != nil {
		return "", err
	}
	return c.lifecycle("created", "revoked", "SDK key "+k.Name+" of "+c.Object.Environment), nil
}

func (c ObjectChange) feature() (string, error) {
	noun := "feature " + c.Object.Key
	if absent(c.Before) || absent(c.After) {
		return c.lifecycle("created", "deleted", noun), nil
	}
	var before, after Feature
	if err := read(c.Before, &before); err != nil {
		return "", err
	}
	if err := read(c.After, &after); err != nil {
		return "", err
	}
	return c.variants(noun, noun, before.Variants, after.Variants)
}

func (c ObjectChange) variants(whole, of string, before, after []Variant) (string, error) {
	keys := make(map[string]string) // by number
	for _, v := range slices.Concat(after, before) {
		keys[strconv.Itoa(int(v.ID))] = v.Key // that of before, by which the variant was known
	}
	return c.clauses(whole, of, func(t thing, of string) (string, error) {
		return t.ofList("moved", "variant "+keys[t.id()], of, func(value json.RawMessage) (string, error) {
			var v Variant
			err := json.Unmarshal(value, &v)
			return "value " + scalar(v.Value), err
		})
	})
}

func (c ObjectChange) state() (string, error) {
	o := c.Object
	switch {
	case absent(c.Before) && !absent(c.After):
		var s FeatureState
		err := read(c.After, &s)
		return "added " + o.Key + " to " + o.Environment + ": " + stateWords(s.Enabled, s.Value, s.Weights), err
	case absent(c.Before):
		return "added and removed " + o.Key + " in " + o.Environment, nil
	case absent(c.After):
		return "removed " + o.Key + " from " + o.Environment, nil
	}
	return tell(o.Key+" in "+o.Environment, "", c.Differences), nil
}

func (c ObjectChange) segmentOverrides() (string, error) {
	of := c.Object.Key + " in " + c.Object.Environment
	if absent(c.After) {
		return "removed all segment overrides of " + of, nil
	}
	c, err := c.ofList()
	if err != nil {
		return "", err
	}
	return c.clauses("the segment overrides of "+of, of, func(t thing, of string) (string, error) {
		return t.ofList("put", "segment override "+t.id(), of, func(value json.RawMessage) (string, error) {
			var s SegmentOverride
			err := json.Unmarshal(value, &s)
			return stateWords(s.Enabled, s.Value, s.Weights), err
		})
	})
}

func (c ObjectChange) identity(name func(string) string) (string, error) {
	for _, e := range c.Events {
		if e, ok := e.(IdentityErased); ok && e.Identity == c.Object.Key && e.Environment == c.Object.Environment {
			return "erased a person in " + c.Object.Environment, nil
		}
	}
	c, err := c.ofList()
	if err != nil {
		return "", err
	}
	person := c.Object.Key
	if name != nil {
		person = name(person)
	}
	of := "identity " + person + " in " + c.Object.Environment
	return c.clauses("the overrides of "+of, of, func(t thing, of string) (string, error) {
		return t.ofList("moved", "override "+t.id(), of, func(value json.RawMessage) (string, error) {
			var s IdentityOverride
			err := json.Unmarshal(value, &s)
			words := stateWords(s.Enabled, s.Value, nil)
			if s.Variant != "" {
				words += ", variant " + s.Variant
			}
			return words, err
		})
	})
}

// ofList is the change with that of its list alone. The object itself comes
// and goes with what is in it.
func (c ObjectChange) ofList() (ObjectChange, error) {
	if absent(c.Before) || absent(c.After) {
		images := [2]json.RawMessage{c.Before, c.After}
		for i, image := range images {
			if absent(image) {
				images[i] = json.RawMessage("{}")
			}
		}
		var err error
		if c.Differences, err = Diff(images[0], images[1]); err != nil {
			return c, err
		}
	}
	c.Differences = slices.DeleteFunc(slices.Clone(c.Differences), func(d Difference) bool { return !strings.HasPrefix(d.Path, "list/") })
	return c, nil
}

func (c ObjectChange) segmentPin() (string, error) {
	in := " in " + c.Object.Environment
	var before, after SegmentPin
	if err := read(c.Before, &before); err != nil {
		return "", err
	}
	if err := read(c.After, &after); err != nil {
		return "", err
	}
	switch noun := "segment " + c.Object.Key; {
	case absent(c.After):
		return c.lifecycle("pinned", "unpinned", noun+in), nil
	case absent(c.Before):
		return fmt.Sprintf("pinned %s at revision %d%s", noun, after.Revision, in), nil
	default:
		return fmt.Sprintf("pinned %s at revision %d instead of %d%s", noun, after.Revision, before.Revision, in), nil
	}
}

func (c ObjectChange) variantsPin() (string, error) {
	in := "variants of " + c.Object.Key + " in " + c.Object.Environment
	if absent(c.Before) || absent(c.After) {
		return c.lifecycle("pinned", "unpinned", "the "+in), nil
	}
	var before, after VariantsPin
	if err := read(c.Before, &before); err != nil {
		return "", err
	}
	if err := read(c.After, &after); err != nil {
		return "", err
	}
	return c.variants("the pinned "+in, "the pinned "+in, before.Variants, after.Variants)
}

func (c ObjectChange) segment() (string, error) {
	noun := "segment " + c.Object.Key
	if absent(c.Before) || absent(c.After) {
		return c.lifecycle("created", "deleted", noun), nil
	}
	var before, after Segment
	if err := read(c.Before, &before); err != nil {
		return "", err
	}
	if err := read(c.After, &after); err != nil {
		return "", err
	}
	if len(c.Differences) > 1 { // the revision counts the changes that are told
		c.Differences = slices.DeleteFunc(slices.Clone(c.Differences), func(d Difference) bool { return d.Path == "revision" })
	}
	n := nodes{many: manyRules(before.Rules) || manyRules(after.Rules), nouns: make(map[string]string)}
	n.collect(after.Rules, "", "")
	n.collect(before.Rules, "", "") // nodes are called by where they were
	return c.clauses(noun, noun, n.tell)
}

// manyRules tells whether a condition's place alone does not say which it is.
func manyRules(rules []evaluation.Rule) bool {
	return len(rules) > 1 || len(rules) == 1 && len(rules[0].Rules) > 0
}

// nodes are the rules and conditions of a segment.
type nodes struct {
	many  bool
	nouns map[string]string // such as "condition 3 of rule 1.2", by name
}

// collect names nodes by their places; number is that of the rule they are in.
func (n nodes) collect(rules []evaluation.Rule, number, owner string) {
	for i, r := range rules {
		number := strings.TrimPrefix(fmt.Sprintf("%s.%d", number, i+1), ".")
		rule := "rule " + number
		n.nouns[join("rules", r.ID)] = rule
		for i, c := range r.Conditions {
			n.nouns[join("conditions", c.ID)] = fmt.Sprintf("condition %d", i+1) + n.of(rule)
		}
		n.collect(r.Rules, number, rule)
	}
}

// of is " of rule 2", where there is more than one.
func (n nodes) of(rule string) string {
	if !n.many || rule == "" {
		return ""
	}
	return " of " + rule
}

// tell tells what happened to a rule or condition.
func (n nodes) tell(t thing, of string) (string, error) {
	noun := n.nouns[t.name]
	switch t.op {
	case OpAdded, OpRemoved:
		verb, preposition, value := "added", " to ", t.self.To
		if t.op == OpRemoved {
			verb, preposition, value = "removed", " from ", t.self.From
		}
		words, err := nodeWords(t.list(), value)
		if err != nil {
			return "", err
		}
		where := strings.TrimPrefix(n.of(n.nouns[t.owner])+of, " of ")
		if where != "" {
			where = preposition + where
		}
		return verb + " " + words + where, nil
	case OpMoved:
		if t.formerOwner == t.owner && t.self.FromPlace == t.self.ToPlace { // the others went around it
			return tell(noun, fmt.Sprintf("left %s%s at place %d", noun, of, t.self.ToPlace), t.differences), nil
		}
		to := fmt.Sprintf(" to place %d", t.self.ToPlace)
		if t.formerOwner != t.owner {
			rule := "the top level"
			if t.owner != "" {
				rule = n.nouns[t.owner]
			}
			to = fmt.Sprintf(" to %s, place %d", rule, t.self.ToPlace)
		}
		return tell(noun, "moved "+noun+of+to, t.differences), nil
	}
	return tell(noun+of, "", t.differences), nil
}

func nodeWords(list string, value json.RawMessage) (string, error) {
	if list == "conditions" {
		var c evaluation.Condition
		err := json.Unmarshal(value, &c)
		return "condition " + conditionWords(c), err
	}
	var r evaluation.Rule
	err := json.Unmarshal(value, &r)
	return "rule " + shorten(ruleWords(r)), err
}

// conditionWords tells a condition: email CONTAINS "@example.com".
func conditionWords(c evaluation.Condition) string {
	property := c.Property
	if property == "" {
		property = "identity"
	}
	words := property + " " + string(c.Operator)
	if c.Operator == evaluation.IsSet || c.Operator == evaluation.IsNotSet {
		return words
	}
	return words + " " + strconv.Quote(shorten(c.Value))
}

// ruleWords tells a rule: ALL (plan EQUAL "pro"; ANY (...)).
func ruleWords(r evaluation.Rule) string {
	var parts []string
	for _, c := range r.Conditions {
		parts = append(parts, conditionWords(c))
	}
	for _, r := range r.Rules {
		parts = append(parts, ruleWords(r))
	}
	return string(r.Type) + " (" + strings.Join(parts, "; ") + ")"
}

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
