package domain

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
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
