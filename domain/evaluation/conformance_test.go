package evaluation_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"flagledger/domain/evaluation"
)

// testData is the folder with the public cross-SDK cases; it is not part of the repository.
func testData(t *testing.T) string {
	if dir := os.Getenv("ENGINE_TEST_DATA"); dir != "" {
		return dir
	}
	root, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(root, "go.mod")); err == nil {
			break
		}
		parent := filepath.Dir(root)
		if parent == root {
			t.Fatal("no go.mod above the test")
		}
		root = parent
	}
	return filepath.Join(root, "..", "shared", "reference", "engine-test-data")
}

// The public suite's form of a case.
type (
	suiteCase struct {
		Context suiteContext `json:"context"`
		Result  suiteResult  `json:"result"`
	}
	suiteContext struct {
		Environment struct{ Key, Name string }
		Identity    *struct {
			Identifier string
			Key        string
			Traits     map[string]evaluation.Value
		}
		Segments inOrder[suiteSegment]
		Features inOrder[suiteFeature]
	}
	suiteSegment struct {
		Key       string
		Name      string
		Rules     []suiteRule
		Overrides []suiteFeature
		Metadata  any
	}
	suiteRule struct {
		Type       evaluation.RuleType
		Conditions []struct {
			Property string
			Operator evaluation.Operator
			Value    json.RawMessage // a string or a list
		}
		Rules []suiteRule
	}
	suiteFeature struct {
		Key      string
		Name     string
		Enabled  bool
		Value    evaluation.Value
		Variants []struct {
			Key      string
			Value    evaluation.Value
			Weight   float64
			Priority json.Number
		}
		Priority *float64
		Metadata any
	}
	suiteResult struct {
		Flags    map[string]suiteFlag `json:"flags"`
		Segments []suiteMatch         `json:"segments"`
	}
	suiteFlag struct {
		Name     string           `json:"name"`
		Enabled  bool             `json:"enabled"`
		Value    evaluation.Value `json:"value"`
		Reason   string           `json:"reason"`
		Variant  *string          `json:"variant"`
		Metadata any              `json:"metadata,omitempty"`
	}
	suiteMatch struct {
		Name     string `json:"name"`
		Metadata any    `json:"metadata,omitempty"`
	}
)

// inOrder holds the values of a JSON object in the order of the file: it decides between overrides of one priority.
type inOrder[T any] []T

func (o *inOrder[T]) UnmarshalJSON(data []byte) error {
	d := json.NewDecoder(bytes.NewReader(data))
	if _, err := d.Token(); err != nil {
		return err
	}
	for d.More() {
		if _, err := d.Token(); err != nil {
			return err
		}
		var v T
		if err := d.Decode(&v); err != nil {
			return err
		}
		*o = append(*o, v)
	}
	return nil
}

func TestPublicSuite(t *testing.T) {
	dir := testData(t)
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		t.Skipf("the public engine test data is not in %s; set ENGINE_TEST_DATA to its folder", dir)
	}
	if err != nil {
		t.Fatal(err)
	}
	ran := 0
	for _, entry := range entries {
		if ext := filepath.Ext(entry.Name()); ext != ".json" && ext != ".jsonc" {
			continue
		}
		ran++
		t.Run(entry.Name(), func(t *testing.T) {
			data, err := os.ReadFile(filepath.Join(dir, entry.Name()))
			if err != nil {
				t.Fatal(err)
			}
			var c suiteCase
			if err := json.Unmarshal(withoutComments(data), &c); err != nil {
				t.Fatal(err)
			}
			got, want := toJSON(t, answer(t, c.Context)), toJSON(t, c.Result)
			if got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
	t.Logf("%d cases", ran)
}

// withoutComments drops the lines that hold nothing but a // comment.
func withoutComments(data []byte) []byte {
	var out []byte
	for line := range bytes.Lines(data) {
		if !bytes.HasPrefix(bytes.TrimSpace(line), []byte("//")) {
			out = append(out, line...)
		}
	}
	return out
}

func toJSON(t *testing.T, v any) string {
	b, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// answer evaluates a context of the suite with this package.
func answer(t *testing.T, c suiteContext) suiteResult {
	type override struct {
		evaluation.Override
		priority float64
	}
	overrides := map[string][]override{}
	metadata := map[*evaluation.CompiledSegment]any{}
	var segments []*evaluation.CompiledSegment
	for _, s := range c.Segments {
		compiled, err := evaluation.CompileSegment(evaluation.Segment{Key: s.Key, Name: s.Name, Rules: suiteRules(t, s.Rules)})
		if err != nil {
			t.Fatal(err)
		}
		segments = append(segments, compiled)
		metadata[compiled] = s.Metadata
		for _, f := range s.Overrides {
			o := override{evaluation.Override{Segment: compiled, State: suiteState(t, f)}, math.Inf(1)}
			if f.Priority != nil {
				o.priority = *f.Priority
			}
			overrides[f.Name] = append(overrides[f.Name], o)
		}
	}
	var flags []*evaluation.Flag
	for _, f := range c.Features {
		feature := evaluation.Feature{Name: f.Name, State: suiteState(t, f)}
		slices.SortStableFunc(overrides[f.Name], func(a, b override) int { return cmp.Compare(a.priority, b.priority) })
		for _, o := range overrides[f.Name] {
			feature.Overrides = append(feature.Overrides, o.Override)
		}
		flags = append(flags, evaluation.CompileFeature(feature, nil))
	}
	env := evaluation.NewEnvironment(c.Environment.Key, c.Environment.Name, flags, segments)

	var id *evaluation.Identity
	if c.Identity != nil {
		id = &evaluation.Identity{Identifier: c.Identity.Identifier, Key: c.Identity.Key}
		for key, value := range c.Identity.Traits {
			id.Traits = append(id.Traits, evaluation.Trait{Key: key, Value: value})
		}
	}
	result := suiteResult{Flags: map[string]suiteFlag{}, Segments: []suiteMatch{}}
	for _, o := range env.Evaluate(nil, id) {
		f := suiteFlag{Name: o.Flag.Name, Enabled: o.Enabled, Value: o.Value, Reason: o.Reason, Metadata: o.Metadata}
		if o.Variant != "" {
			f.Variant = &o.Variant
		}
		result.Flags[f.Name] = f
		if explained := env.Explain(o.Flag, id); explained.Outcome != o {
			t.Errorf("%s: Explain comes to %+v, Evaluate to %+v", o.Flag.Name, explained.Outcome, o)
		}
	}
	for _, s := range env.Segments(id) {
		result.Segments = append(result.Segments, suiteMatch{Name: s.Name, Metadata: metadata[s]})
	}
	return result
}

func suiteState(t *testing.T, f suiteFeature) evaluation.State {
	s := evaluation.State{Seed: f.Key, Enabled: f.Enabled, Value: f.Value, Metadata: f.Metadata}
	for _, v := range f.Variants {
		// Some priorities have 128 bits; what matters is their order, which the nearest float keeps in the suite.
		n, err := strconv.ParseFloat(v.Priority.String(), 64)
		if err != nil {
			t.Fatal(err)
		}
		s.Variants = append(s.Variants, evaluation.Variant{Key: v.Key, Value: v.Value, Weight: v.Weight, Priority: int64(n)})
	}
	return s
}

func suiteRules(t *testing.T, rules []suiteRule) []evaluation.Rule {
	var converted []evaluation.Rule
	for _, r := range rules {
		to := evaluation.Rule{Type: r.Type, Rules: suiteRules(t, r.Rules)}
		for _, c := range r.Conditions {
			value := string(c.Value)
			if c.Value[0] == '"' {
				if err := json.Unmarshal(c.Value, &value); err != nil {
					t.Fatal(err)
				}
			}
			to.Conditions = append(to.Conditions, evaluation.Condition{Property: c.Property, Operator: c.Operator, Value: value})
		}
		converted = append(converted, to)
	}
	return converted
}
