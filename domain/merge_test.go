package domain_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"flagledger/domain"
)

func TestMerge(t *testing.T) {
	const (
		c1, c1x, c1y = `{"id":"c1","value":"a"}`, `{"id":"c1","value":"x"}`, `{"id":"c1","value":"y"}`
		c2, c2x      = `{"id":"c2","value":"b"}`, `{"id":"c2","value":"x"}`
		c3           = `{"id":"c3","value":"c"}`
	)
	rules := func(first string, more ...string) string {
		all := []string{`{"id":"r1","conditions":[` + first + `]}`}
		for i, conditions := range more {
			all = append(all, fmt.Sprintf(`{"id":"r%d","conditions":[%s]}`, i+2, conditions))
		}
		return `{"name":"n","revision":1,"rules":[` + strings.Join(all, ",") + `]}`
	}
	nested := func(conditions string) string {
		return `{"name":"n","revision":1,"rules":[{"id":"r2","conditions":[],"rules":[{"id":"r1","conditions":[` + conditions + `]}]}]}`
	}
	for name, test := range map[string]struct {
		base, ours, theirs string
		want               string // merged
		conflicts          string // paths
	}{
		"nothing":                               {rules(c1), rules(c1), rules(c1x), rules(c1x), ""},
		"a value, nothing since":                {rules(c1), rules(c1x), rules(c1), rules(c1x), ""},
		"a value, the same since":               {rules(c1), rules(c1x), rules(c1x), rules(c1x), ""},
		"a value, another since":                {rules(c1), rules(c1x), rules(c1y), "", "rules/r1/conditions/c1/value"},
		"a value, one elsewhere since":          {rules(c1 + "," + c2), rules(c1x + "," + c2), rules(c1 + "," + c2x), rules(c1x + "," + c2x), ""},
		"a value, moved in its list since":      {rules(c1 + "," + c2), rules(c1x + "," + c2), rules(c2 + "," + c1), rules(c2 + "," + c1x), ""},
		"a value, moved to another list since":  {rules(c1+","+c2, c3), rules(c1x+","+c2, c3), rules(c2, c3+","+c1), "", "rules/r1/conditions/c1/value"},
		"a value, its rule moved since":         {rules(c1, ""), rules(c1x, ""), nested(c1), "", "rules/r1/conditions/c1/value"},
		"a value, removed since":                {rules(c1 + "," + c2), rules(c1x + "," + c2), rules(c2), "", "rules/r1/conditions/c1/value"},
		"a removal, changed since":              {rules(c1 + "," + c2), rules(c2), rules(c1x + "," + c2), "", "rules/r1/conditions/c1"},
		"a removal, removed since":              {rules(c1 + "," + c2), rules(c2), rules(c2), rules(c2), ""},
		"a move in the list, changed since":     {rules(c1 + "," + c2), rules(c2 + "," + c1), rules(c1x + "," + c2), rules(c2 + "," + c1x), ""},
		"a move to another list, changed since": {rules(c1+","+c2, c3), rules(c2, c3+","+c1), rules(c1x+","+c2, c3), rules(c2, c3+","+c1x), ""},
		"a rule's move and a value, both since": {rules(c1, ""), nested(c1x), rules(c1y, ""), "", "rules/r2/rules/r1/conditions/c1/value"},
		"a rule's move, a value since":          {rules(c1, ""), nested(c1), rules(c1y, ""), nested(c1y), ""},
		"into a rule, removed since":            {rules(c1, c2), rules(c1, c2+","+c3), rules(c1), "", "rules/r2/conditions/c3"},
		"a name, rules since":                   {`{"name":"a","rules":[]}`, `{"name":"b","rules":[]}`, `{"name":"a","rules":[{"id":"r1"}]}`, `{"name":"b","rules":[{"id":"r1"}]}`, ""},
		"the revision is nobody's":              {`{"name":"a","revision":2}`, `{"name":"b","revision":1}`, `{"name":"a","revision":3}`, `{"name":"b","revision":3}`, ""},
		"an addition, the same id since":        {rules(c1), rules(c1 + "," + c2), rules(c1 + "," + c2x), "", "rules/r1/conditions/c2"},
		"an addition, another since":            {rules(c1), rules(c1 + "," + c2), rules(c1 + "," + c3), rules(c1 + "," + c2 + "," + c3), ""},
		"a weight, another since":               {`{"weights":{"a":1,"b":1}}`, `{"weights":{"a":2,"b":1}}`, `{"weights":{"a":1,"b":2}}`, `{"weights":{"a":2,"b":2}}`, ""},
	} {
		merged, conflicts, err := domain.Merge([]byte(test.base), []byte(test.ours), []byte(test.theirs))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var paths []string
		for _, c := range conflicts {
			paths = append(paths, c.Path)
		}
		if got := strings.Join(paths, " "); got != test.conflicts {
			t.Errorf("%s: conflicts %q, want %q", name, got, test.conflicts)
		}
		if test.want != "" && sortedJSON(t, merged) != sortedJSON(t, []byte(test.want)) {
			t.Errorf("%s:\n got %s\nwant %s", name, sortedJSON(t, merged), sortedJSON(t, []byte(test.want)))
		}
	}
}

func sortedJSON(t *testing.T, image []byte) string {
	t.Helper()
	if len(image) == 0 {
		return ""
	}
	var v any
	if err := json.Unmarshal(image, &v); err != nil {
		t.Fatal(err)
	}
	return toJSON(t, v)
}

// Whatever the three are, it is a merge or a conflict; where one side has done
// nothing, the other one's is the outcome; what both have done is done; and where it is one both ways, the same becomes of each field.
func TestMergeOfAnything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		base, ours, theirs := encode(t, drawSegment(t)), encode(t, drawSegment(t)), encode(t, drawSegment(t))
		merge := func(base, ours, theirs []byte) ([]byte, []domain.FieldConflict) {
			merged, conflicts, err := domain.Merge(base, ours, theirs)
			if err != nil {
				t.Fatalf("%v\nbase   %s\nours   %s\ntheirs %s", err, base, ours, theirs)
			}
			return merged, conflicts
		}
		same := func(a, b []byte) bool {
			for _, d := range diff(t, a, b) {
				if d.Path != "revision" {
					return false
				}
			}
			return true
		}
		if got, conflicts := merge(base, ours, base); len(conflicts) > 0 || !same(got, ours) {
			t.Fatalf("nothing since: conflicts %v\n got %s\nwant %s", conflicts, got, ours)
		}
		if got, conflicts := merge(base, base, theirs); len(conflicts) > 0 || !same(got, theirs) {
			t.Fatalf("nothing to do: conflicts %v\n got %s\nwant %s", conflicts, got, theirs)
		}
		if got, conflicts := merge(base, ours, ours); len(conflicts) > 0 || !same(got, ours) {
			t.Fatalf("done already: conflicts %v\n got %s\nwant %s", conflicts, got, ours)
		}
		merged, conflicts := merge(base, ours, theirs)
		if len(conflicts) > 0 {
			return
		}
		back, conflicts := merge(base, theirs, ours)
		if len(conflicts) > 0 {
			return // what moved elsewhere since is not followed, but what is to be moved is
		}
		if got, want := fieldsOf(t, merged), fieldsOf(t, back); !reflect.DeepEqual(got, want) {
			t.Fatalf("one way %v\nthe other way %v", got, want)
		}
	})
}

// fieldsOf are the fields of an image without the order of lists.
func fieldsOf(t *rapid.T, image []byte) map[string]string {
	all := map[string]string{}
	var walk func(path string, v any)
	walk = func(path string, v any) {
		switch v := v.(type) {
		case map[string]any:
			for name, member := range v {
				walk(path+"/"+name, member)
			}
		case []any:
			for i, element := range v {
				o, _ := element.(map[string]any)
				if id, ok := o["id"].(string); ok {
					walk(path+"/"+id, element)
				} else {
					walk(fmt.Sprint(path, "/", i), element)
				}
			}
		default:
			all[path] = fmt.Sprint(v)
		}
	}
	walk("", content(t, image))
	delete(all, "/revision")
	return all
}
