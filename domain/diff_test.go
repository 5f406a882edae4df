package domain_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"flagledger/domain"
	"flagledger/domain/evaluation"
)

func TestDiff(t *testing.T) {
	const (
		c1   = `{"id":"c1","property":"country","operator":"EQUAL","value":"US"}`
		c2   = `{"id":"c2","property":"plan","operator":"EQUAL","value":"pro"}`
		c3   = `{"id":"c3","property":"email","operator":"CONTAINS","value":"@x"}`
		c3y  = `{"id":"c3","property":"email","operator":"CONTAINS","value":"@y"}`
		rule = `{"rules":[{"id":"r1","type":"ALL","conditions":[%s]}]}`
		two  = `{"rules":[{"id":"r1","conditions":[%s]},{"id":"r2","conditions":[%s]}]}`
	)
	conditions := func(list ...string) string { return fmt.Sprintf(rule, strings.Join(list, ",")) }

	for name, test := range map[string]struct {
		before, after string
		want          []string
	}{
		"created":        {``, `{"name":"a"}`, nil},
		"deleted":        {`{"name":"a"}`, `null`, nil},
		"same":           {conditions(c1, c2), conditions(c1, c2), nil},
		"member changed": {`{"name":"a"}`, `{"name":"b"}`, []string{`changed name "a" "b"`}},
		"member added":   {`{}`, `{"name":"a"}`, []string{`added name  "a"`}},
		"member removed": {`{"name":"a"}`, `{}`, []string{`removed name "a" `}},
		"null is a value": {
			`{"value":"a"}`, `{"value":null}`, []string{`changed value "a" null`},
		},
		"1 is not 1.0":            {`{"value":1}`, `{"value":1.0}`, []string{`changed value 1 1.0`}},
		"64 bits are kept":        {`{"value":9007199254740992}`, `{"value":9007199254740993}`, []string{`changed value 9007199254740992 9007199254740993`}},
		"null and empty are same": {`{"rules":null}`, `{"rules":[],"weights":{}}`, nil},
		"array of values":         {`{"tags":["a"]}`, `{"tags":["a","b"]}`, []string{`changed tags ["a"] ["a","b"]`}},
		"array without identity": {
			`{"grants":[{"role":"viewer"}]}`, `{"grants":[{"role":"admin"}]}`,
			[]string{`changed grants [{"role":"viewer"}] [{"role":"admin"}]`},
		},
		"identity given twice": {
			conditions(c1, c1), conditions(c1), []string{`changed rules/r1/conditions [` + sorted(c1) + `,` + sorted(c1) + `] [` + sorted(c1) + `]`},
		},
		"bookkeeping": {
			`{"changed":{"position":1},"created":{"position":1},"last_node":1,"seeds":{"a":1},"list":[{"segment":"a","changed":{"position":1}}],"revision":1}`,
			`{"changed":{"position":2},"created":{"position":2},"last_node":2,"seeds":{"a":2},"list":[{"segment":"a","changed":{"position":2}}],"revision":2}`,
			[]string{`changed revision 1 2`},
		},
		"variants may be called like bookkeeping": {
			`{"weights":{"changed":10,"hash":20}}`, `{"weights":{"changed":20,"last_node":30}}`,
			[]string{`changed weights/changed 10 20`, `removed weights/hash 20 `, `added weights/last_node  30`},
		},
		"secret": {`{"hash":"aa"}`, `{"hash":"bb"}`, []string{`changed hash  `}},
		"secret in an element": {
			`{"list":[]}`, `{"list":[{"id":"k","hash":"bb","name":"n","changed":{}}]}`, []string{`added list/k  {"id":"k","name":"n"} 0>1`},
		},
		"names with slashes": {`{"weights":{"a/b~c":1}}`, `{"weights":{"a/b~c":2}}`, []string{`changed weights/a~1b~0c 1 2`}},
		"condition to the front": {
			conditions(c1, c2, c3), conditions(c3, c1, c2), []string{`moved rules/r1/conditions/c3   3>1`},
		},
		"condition to the end": {
			conditions(c1, c2, c3), conditions(c2, c3, c1), []string{`moved rules/r1/conditions/c1   1>3`},
		},
		"the weaker of two is put first": {
			conditions(c1, c2), conditions(c2, c1), []string{`moved rules/r1/conditions/c2   2>1`},
		},
		"moved and changed": {
			conditions(c1, c2, c3), conditions(c3y, c1, c2),
			[]string{`moved rules/r1/conditions/c3   3>1`, `changed rules/r1/conditions/c3/value "@x" "@y"`},
		},
		"a removal moves nobody": {
			conditions(c1, c2, c3), conditions(c2, c3), []string{`removed rules/r1/conditions/c1 ` + sorted(c1) + `  1>0`},
		},
		"an addition moves nobody": {
			conditions(c2, c3), conditions(c1, c2, c3), []string{`added rules/r1/conditions/c1  ` + sorted(c1) + ` 0>1`},
		},
		"first conditions": {
			`{"rules":[{"id":"r1","type":"ALL"}]}`, conditions(c1), []string{`added rules/r1/conditions/c1  ` + sorted(c1) + ` 0>1`},
		},
		"to another rule": {
			fmt.Sprintf(two, c1+","+c2, c3), fmt.Sprintf(two, c1, c2+","+c3),
			[]string{`moved rules/r2/conditions/c2 "rules/r1/conditions/c2" "rules/r2/conditions/c2" 2>1`},
		},
		"out of a rule that goes": {
			fmt.Sprintf(two, c1, c2+","+c3), conditions(c1, c3),
			[]string{
				`removed rules/r2 {"conditions":[` + sorted(c2) + `],"id":"r2"}  2>0`,
				`added rules/r1/type  "ALL"`,
				`moved rules/r1/conditions/c3 "rules/r2/conditions/c3" "rules/r1/conditions/c3" 2>2`,
			},
		},
		"rule into a new rule": {
			`{"rules":[{"id":"r1","type":"ALL"}]}`, `{"rules":[{"id":"r2","type":"NONE","rules":[{"id":"r1","type":"ANY"}]}]}`,
			[]string{
				`added rules/r2  {"id":"r2","rules":[],"type":"NONE"} 0>1`,
				`moved rules/r2/rules/r1 "rules/r1" "rules/r2/rules/r1" 1>1`,
				`changed rules/r2/rules/r1/type "ALL" "ANY"`,
			},
		},
		"rules change places with the rule they are in": {
			`{"rules":[{"id":"r1","rules":[{"id":"r2"}]}]}`, `{"rules":[{"id":"r2","rules":[{"id":"r1"}]}]}`,
			[]string{`moved rules/r2 "rules/r1/rules/r2" "rules/r2" 1>1`, `moved rules/r2/rules/r1 "rules/r1" "rules/r2/rules/r1" 1>1`},
		},
		"override by segment": {
			`{"list":[{"segment":"a","enabled":false},{"segment":"b","weights":{"on":10}}]}`,
			`{"list":[{"segment":"a","enabled":true},{"segment":"b","weights":{"on":20}}]}`,
			[]string{`changed list/a/enabled false true`, `changed list/b/weights/on 10 20`},
		},
		"variant by number": {
			`{"variants":[{"id":7,"key":"a","value":"x"}]}`, `{"variants":[{"id":7,"key":"b","value":"x"}]}`,
			[]string{`changed variants/7/key "a" "b"`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			diffs, err := domain.Diff([]byte(test.before), []byte(test.after))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, d := range diffs {
				line := fmt.Sprintf("%s %s %s %s", d.Op, d.Path, d.From, d.To)
				if d.FromPlace+d.ToPlace > 0 {
					line += fmt.Sprintf(" %d>%d", d.FromPlace, d.ToPlace)
				}
				got = append(got, line)
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("got\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(test.want, "\n\t"))
			}
		})
	}
}

// sorted is the object with its members in the order in which differences show them.
func sorted(object string) string {
	var o map[string]any
	if err := json.Unmarshal([]byte(object), &o); err != nil {
		panic(err)
	}
	body, _ := json.Marshal(o)
	return string(body)
}

func TestDiffRefusesWhatIsNoObject(t *testing.T) {
	for _, images := range [][2]string{{`{`, `{}`}, {`{}`, `[]`}, {`"a"`, `{}`}} {
		if diffs, err := domain.Diff([]byte(images[0]), []byte(images[1])); err == nil {
			t.Errorf("Diff(%s, %s) = %v, want an error", images[0], images[1], diffs)
		}
	}
}

func TestPatchRefuses(t *testing.T) {
	const image = `{"name":"a","rules":[{"id":"r1"}]}`
	for name, test := range map[string]struct {
		image, diffs, want string
	}{
		"absent":             {`null`, `[]`, "absent"},
		"no such element":    {image, `[{"op":"removed","path":"rules/r2","from_place":1}]`, `removed rules/r2: there is no "r2" in rules`},
		"no such owner":      {image, `[{"op":"removed","path":"rules/r2/conditions/c1","from_place":1}]`, `nothing at rules/r2`},
		"there already":      {image, `[{"op":"added","path":"rules/r1","to":{"id":"r1"},"to_place":1}]`, `there is a "r1" in rules already`},
		"member of a value":  {image, `[{"op":"changed","path":"name/first","to":"b"}]`, `name is no object`},
		"not in a list":      {image, `[{"op":"removed","path":"rules","from_place":1}]`, `does not lead into a list`},
		"moved from nowhere": {image, `[{"op":"moved","path":"rules/r1","from":1,"from_place":1,"to_place":2}]`, `read the path`},
	} {
		t.Run(name, func(t *testing.T) {
			var diffs []domain.Difference
			if err := json.Unmarshal([]byte(test.diffs), &diffs); err != nil {
				t.Fatal(err)
			}
			_, err := domain.Patch([]byte(test.image), diffs)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
		})
	}
}

// What differs between two images makes one of the other, whatever was edited.
func TestDiffAppliedToBeforeGivesAfter(t *testing.T) {
	for name, image := range map[string]func(*rapid.T) any{
		"segment":   func(t *rapid.T) any { return drawSegment(t) },
		"feature":   func(t *rapid.T) any { return drawFeature(t) },
		"state":     func(t *rapid.T) any { return drawState(t) },
		"overrides": func(t *rapid.T) any { return drawOverrides(t) },
		"token":     func(t *rapid.T) any { return drawToken(t) },
	} {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				before, after := encode(t, image(t)), encode(t, image(t))
				diffs := diff(t, before, after)
				recorded := encode(t, diffs) // differences are stored and sent
				for _, hidden := range []string{"secret-", `"changed":{`, `"created":{`, "last_node"} {
					if bytes.Contains(recorded, []byte(hidden)) {
						t.Fatalf("the differences show %s: %s", hidden, recorded)
					}
				}
				var read []domain.Difference
				if err := json.Unmarshal(recorded, &read); err != nil {
					t.Fatal(err)
				}
				if len(read) > 0 { // their order does not matter
					read = rapid.Permutation(read).Draw(t, "order")
				}
				got, err := domain.Patch(before, read)
				if err != nil {
					t.Fatalf("%v\nbefore %s\nafter  %s\ndiff   %s", err, before, after, recorded)
				}
				if !reflect.DeepEqual(content(t, got), content(t, after)) {
					t.Fatalf("\nbefore %s\nafter  %s\ngot    %s\ndiff   %s", before, after, got, recorded)
				}
				for _, rest := range diff(t, got, after) {
					if rest.Path != "hash" { // secrets stay as they were
						t.Fatalf("still different: %s", encode(t, rest))
					}
				}
			})
		})
	}
}

// Moving one override is one difference.
func TestDiffReportsOneMove(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := drawOverrides(t)
		if len(o.List) < 2 {
			t.Skip("nothing to move")
		}
		before := encode(t, o)
		from := rapid.IntRange(0, len(o.List)-1).Draw(t, "from")
		to := rapid.IntRange(0, len(o.List)-1).Draw(t, "to")
		moved := o.List[from]
		o.List = slices.Insert(slices.Delete(o.List, from, from+1), to, moved)
		diffs := diff(t, before, encode(t, o))
		switch {
		case from == to && len(diffs) == 0:
		case len(diffs) != 1 || diffs[0].Op != domain.OpMoved:
			t.Fatalf("place %d to %d: %s", from+1, to+1, encode(t, diffs))
		case max(from, to)-min(from, to) > 1 && (diffs[0].Path != "list/"+moved.Segment || diffs[0].FromPlace != from+1 || diffs[0].ToPlace != to+1):
			t.Fatalf("place %d to %d of %s: %s", from+1, to+1, moved.Segment, encode(t, diffs))
		}
	})
}

func BenchmarkDiff(b *testing.B) {
	s := domain.Segment{Key: "beta"}
	for r := range 10 {
		rule := evaluation.Rule{ID: fmt.Sprint("r", r), Type: evaluation.Any}
		for c := range 10 {
			rule.Conditions = append(rule.Conditions, evaluation.Condition{ID: fmt.Sprint("c", r, "-", c), Property: "email", Operator: evaluation.Contains, Value: fmt.Sprint("@", c)})
		}
		s.Rules = append(s.Rules, rule)
	}
	before, _ := json.Marshal(s)
	s.Rules[3].Conditions[2].Value = "@example.com"
	slices.Reverse(s.Rules[4].Conditions)
	after, _ := json.Marshal(s)
	for b.Loop() {
		if _, err := domain.Diff(before, after); err != nil {
			b.Fatal(err)
		}
	}
}

func diff(t *rapid.T, before, after []byte) []domain.Difference {
	diffs, err := domain.Diff(before, after)
	if err != nil {
		t.Fatal(err)
	}
	return diffs
}

func encode(t *rapid.T, v any) []byte {
	body, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// content is the image without what differences leave out and what is the same
// as absent.
func content(t *rapid.T, image []byte) any {
	dec := json.NewDecoder(bytes.NewReader(image))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return strip(v, false)
}

func strip(v any, names bool) any {
	switch v := v.(type) {
	case map[string]any:
		if !names {
			for _, name := range []string{"changed", "created", "last_node", "seeds", "hash"} {
				delete(v, name)
			}
		}
		for name, member := range v {
			v[name] = strip(member, name == "weights")
		}
		maps.DeleteFunc(v, func(name string, member any) bool {
			list, isList := member.([]any)
			o, isObject := member.(map[string]any)
			return isList && len(list) == 0 || isObject && len(o) == 0 ||
				member == nil && slices.Contains([]string{"rules", "conditions", "list", "variants", "grants"}, name)
		})
	case []any:
		for i, e := range v {
			v[i] = strip(e, false)
		}
	}
	return v
}

// The images are drawn from few names, so that two of them have much in common.

func drawSegment(t *rapid.T) domain.Segment {
	// a tree: each rule and condition hangs under a rule that comes before it,
	// in an order of its own for every image
	rules := rapid.Permutation([]string{"r1", "r2", "r3", "r4", "r5"}).Draw(t, "rules")
	rules = rules[:rapid.IntRange(0, len(rules)).Draw(t, "number of rules")]
	conditions := rapid.Permutation([]string{"c1", "c2", "c3", "c4", "c5", "c6"}).Draw(t, "conditions")
	conditions = conditions[:rapid.IntRange(0, len(conditions)).Draw(t, "number of conditions")]

	under := make(map[string][]string)
	for i, rule := range rules {
		owner := ""
		if at := rapid.IntRange(-1, i-1).Draw(t, "owner"); at >= 0 {
			owner = rules[at]
		}
		under[owner] = append(under[owner], rule)
	}
	held := make(map[string][]evaluation.Condition)
	for _, c := range conditions {
		if len(rules) > 0 {
			owner := rapid.SampledFrom(rules).Draw(t, "owner")
			held[owner] = append(held[owner], evaluation.Condition{
				ID: c, Property: "p", Operator: rapid.SampledFrom([]evaluation.Operator{evaluation.Equal, evaluation.In}).Draw(t, "operator"),
				Value: rapid.SampledFrom([]string{"", "US", "<&>"}).Draw(t, "value"),
			})
		}
	}
	var tree func(owner string) []evaluation.Rule
	tree = func(owner string) []evaluation.Rule {
		var list []evaluation.Rule
		for _, id := range under[owner] {
			list = append(list, evaluation.Rule{
				ID: id, Type: rapid.SampledFrom([]evaluation.RuleType{evaluation.All, evaluation.Any}).Draw(t, "type"),
				Conditions: held[id], Rules: tree(id),
			})
		}
		return list
	}
	return domain.Segment{
		ID: 2, Key: "beta", Name: rapid.SampledFrom([]string{"Beta", "Beta users"}).Draw(t, "name"),
		Feature: rapid.SampledFrom([]string{"", "checkout"}).Draw(t, "feature"), Rules: tree(""),
		Revision: rapid.IntRange(1, 3).Draw(t, "revision"), LastNode: rapid.IntRange(1, 9).Draw(t, "last node"), Changed: drawStamp(t),
	}
}

func drawStamp(t *rapid.T) domain.Stamp {
	return domain.Stamp{Position: rapid.Uint64Range(1, 9).Draw(t, "position")}
}

func drawValue(t *rapid.T) evaluation.Value {
	return rapid.SampledFrom([]evaluation.Value{
		evaluation.Null(), evaluation.Bool(true), evaluation.Int(1), evaluation.Float(1), evaluation.String(""), evaluation.String("{}"),
	}).Draw(t, "value")
}

func drawWeights(t *rapid.T) map[string]float64 {
	names := rapid.SampledFrom([]string{"on", "hash", "changed", "a/b", "~1"})
	return rapid.MapOfN(names, rapid.SampledFrom([]float64{0, 12.5, 50}), 0, 4).Draw(t, "weights")
}

func drawState(t *rapid.T) domain.FeatureState {
	return domain.FeatureState{
		Seed: 3, Enabled: rapid.Bool().Draw(t, "enabled"), Value: drawValue(t), Weights: drawWeights(t), Changed: drawStamp(t),
	}
}

func drawOverrides(t *rapid.T) domain.SegmentOverrides {
	o := domain.SegmentOverrides{Feature: "checkout", Seeds: map[string]int32{"a": rapid.Int32Range(1, 9).Draw(t, "seed")}, Changed: drawStamp(t)}
	for _, segment := range drawNames(t) {
		s := drawState(t)
		o.List = append(o.List, domain.SegmentOverride{Segment: segment, Seed: s.Seed, Enabled: s.Enabled, Value: s.Value, Weights: s.Weights, Changed: s.Changed})
	}
	return o
}

func drawFeature(t *rapid.T) domain.Feature {
	f := domain.Feature{ID: 4, Key: "checkout", Tags: drawNames(t), Owners: drawNames(t), InitialValue: drawValue(t), Changed: drawStamp(t)}
	for i, name := range drawNames(t) {
		f.Variants = append(f.Variants, domain.Variant{ID: int32(rapid.IntRange(1, 3).Draw(t, "id") + 3*i), Key: name, Value: drawValue(t)})
	}
	return f
}

func drawToken(t *rapid.T) domain.Token {
	token := domain.Token{ID: "1", Name: "ci", Hash: "secret-" + rapid.SampledFrom([]string{"a", "b"}).Draw(t, "hash"), Changed: drawStamp(t)}
	for _, project := range drawNames(t) {
		token.Grants = append(token.Grants, domain.Grant{Role: domain.Editor, Project: project})
	}
	return token
}

func drawNames(t *rapid.T) []string {
	names := rapid.Permutation([]string{"a", "b", "c", "d", "e", "f"}).Draw(t, "names")
	return names[:rapid.IntRange(0, len(names)).Draw(t, "number of names")]
}
