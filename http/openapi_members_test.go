package httpapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"gopkg.in/yaml.v3"

	"flagledger/commands"
	"flagledger/domain"
	"flagledger/domain/evaluation"
)

// member is a member of a Go type's JSON.
type member struct {
	goType   reflect.Type
	optional bool // left out where it is zero
}

// membersOf are the members of a struct's JSON, as encoding/json sees them.
func membersOf(t reflect.Type) map[string]member {
	members := map[string]member{}
	for i := range 2 * t.NumField() { // what the struct has itself hides what it embeds
		f := t.Field(i % t.NumField())
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		embedded := f.Anonymous && name == ""
		switch {
		case embedded && i < t.NumField():
			inner := f.Type
			if inner.Kind() == reflect.Pointer {
				inner = inner.Elem()
			}
			maps.Copy(members, membersOf(inner))
		case !embedded && name != "" && name != "-":
			members[name] = member{f.Type, strings.Contains(options, "omit")}
		}
	}
	return members
}

// differences lists where a schema and a Go type differ. Of a request only
// names and types count: what it must have is decided, and null leaves out.
func (d apiDocument) differences(schema any, t reflect.Type, request bool, path string) (found []string) {
	s := d.flat(schema)
	allowed := typesOf(s)
	if len(allowed) == 0 {
		return nil // a value of any kind, or what the walk looks into
	}
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if strings.HasPrefix(t.Name(), "Optional[") {
		value, _ := t.FieldByName("Value")
		return append(found, d.differences(schema, value.Type, request, path)...)
	}
	wire := wireType(t)
	if wire == "" {
		return found // it has its own encoding
	}
	if !slices.Contains(allowed, wire) {
		return append(found, fmt.Sprintf("%s: is %v, in Go %s (%v)", path, allowed, wire, t))
	}
	switch wire {
	case "array":
		found = append(found, d.differences(s["items"], t.Elem(), request, path+"[]")...)
	case "object":
		if t.Kind() == reflect.Map {
			return append(found, d.differences(s["additionalProperties"], t.Elem(), request, path+".*")...)
		}
		found = append(found, d.memberDifferences(s, membersOf(t), request, path)...)
	}
	return found
}

func (d apiDocument) memberDifferences(s apiDocument, members map[string]member, request bool, path string) (found []string) {
	for name := range s.at("properties") {
		if _, there := members[name]; !there {
			found = append(found, path+"."+name+": is described and is not there")
		}
	}
	for name, m := range members {
		property, described := s.at("properties")[name]
		switch {
		case name == "hash" && !described:
			continue // no answer shows one
		case !described:
			found = append(found, path+"."+name+": is not described")
			continue
		case strings.Count(path, ".rules[]") > 1:
			continue // rules hold rules
		}
		if required := slices.Contains(s.list("required"), any(name)); !request && required == m.optional {
			found = append(found, fmt.Sprintf("%s.%s: required is %t", path, name, required))
		}
		if m.goType.Kind() == reflect.Pointer && !m.optional && !request && !slices.Contains(typesOf(d.flat(property)), "null") {
			found = append(found, path+"."+name+": can be null")
		}
		found = append(found, d.differences(property, m.goType, request, path+"."+name)...)
	}
	return found
}

// typesOf are the JSON types that a schema allows, nil for all.
func typesOf(s apiDocument) (types []string) {
	for _, t := range append(s.list("type"), s["type"]) {
		if t, is := t.(string); is {
			types = append(types, t)
		}
	}
	return types
}

// wireType is the JSON type of a Go type, "" where that has its own encoding.
func wireType(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[time.Time](), reflect.TypeFor[documentTime](), reflect.TypeFor[uuid.UUID]():
		return "string"
	case reflect.TypeFor[evaluation.Value](), reflect.TypeFor[domain.Expectation](), reflect.TypeFor[json.RawMessage]():
		return ""
	}
	switch t.Kind() {
	case reflect.Bool:
		return "boolean"
	case reflect.Int, reflect.Int32, reflect.Int64, reflect.Uint64:
		return "integer"
	case reflect.Float64:
		return "number"
	case reflect.String:
		return "string"
	case reflect.Slice:
		return "array"
	case reflect.Map, reflect.Struct:
		return "object"
	}
	return ""
}

// answers are the Go types of what is answered.
func answers() map[string]reflect.Type {
	project := &domain.Project{}
	project.Key = "shop"
	return map[string]reflect.Type{
		"Project":                reflect.TypeOf(project.Get(projectObject(project))).Elem(),
		"EnvironmentImage":       reflect.TypeFor[domain.Environment](),
		"Environment":            reflect.TypeFor[shownEnvironment](),
		"SDKKey":                 reflect.TypeFor[shownKey](),
		"Feature":                reflect.TypeFor[domain.Feature](),
		"State":                  reflect.TypeFor[shownState](),
		"StateImage":             reflect.TypeFor[domain.FeatureState](),
		"SegmentOverridesImage":  reflect.TypeFor[domain.SegmentOverrides](),
		"IdentityOverridesImage": reflect.TypeFor[domain.IdentityOverrides](),
		"Identity":               reflect.TypeFor[shownIdentity](),
		"Segment":                reflect.TypeFor[domain.Segment](),
		"AdvisedSegment":         reflect.TypeFor[advisedSegment](),
		"SegmentInEnvironment":   reflect.TypeFor[shownSegment](),
		"SegmentUsage":           reflect.TypeFor[commands.SegmentUsage](),
		"SegmentTestsImage":      reflect.TypeFor[domain.SegmentTests](),
		"FeatureTestsImage":      reflect.TypeFor[domain.FeatureTests](),
		"Context":                reflect.TypeFor[domain.Context](),
		"SegmentPin":             reflect.TypeFor[domain.SegmentPin](),
		"VariantsPin":            reflect.TypeFor[domain.VariantsPin](),
		"ChangeResult":           reflect.TypeFor[changeAnswer](),
		"PlanResult":             reflect.TypeFor[planAnswer](),
		"EvaluatedFlag":          reflect.TypeFor[evaluatedFlag](),
		"Usage":                  reflect.TypeFor[shownUsage](),
		"Moment":                 reflect.TypeFor[moment](),
		"PartChange":             reflect.TypeFor[partChange](),
		"AuditEntry":             reflect.TypeFor[shownEntry](),
		"Version":                reflect.TypeFor[shownVersion](),
		"EnvironmentContent":     reflect.TypeFor[environmentContent](),
		"Access":                 reflect.TypeFor[Access](),
		"LogKey":                 reflect.TypeFor[LogKey](),
		"InclusionProof":         reflect.TypeFor[inclusion](),
		"ConsistencyProof":       reflect.TypeFor[consistency](),
		"Token":                  reflect.TypeFor[shownToken](),
		"Problem":                reflect.TypeFor[problem](),
		"Page":                   reflect.TypeFor[page[any]](),
		"EnvironmentDocument":    reflect.TypeFor[sdkDocument](),
		"OwnedTrait":             reflect.TypeFor[ownedTrait](),
	}
}

// A renamed member, another type or a new field makes the document wrong.
func TestDocumentHasTheMembers(t *testing.T) {
	d := readDocument(t)
	for name, goType := range answers() {
		if d.at("components", "schemas", name) == nil {
			t.Errorf("there is no schema %s", name)
		}
		for _, difference := range d.differences(d.at("components", "schemas", name), goType, false, name) {
			t.Error(difference)
		}
	}
	for name, c := range commandTypes(t) {
		for _, difference := range d.differences(d.command(name), c, true, name) {
			t.Error(difference)
		}
	}
	for _, schema := range d.at("components", "schemas", "Command").list("oneOf") {
		if name := schema.(apiDocument)["title"].(string); commandTypes(t)[name] == nil {
			t.Errorf("%s is described and is no command", name)
		}
	}
}

// command is the schema of a command, without its name.
func (d apiDocument) command(name string) apiDocument {
	for _, schema := range d.at("components", "schemas", "Command").list("oneOf") {
		if s := d.flat(schema); s.at("properties", "command")["const"] == name {
			delete(s.at("properties"), "command")
			s["type"] = "object"
			return s
		}
	}
	return apiDocument{"type": "string", "properties": apiDocument{}}
}

// commandTypes are the Go types of commands by their names, which the refusal
// of an unknown one lists.
func commandTypes(t *testing.T) map[string]reflect.Type {
	t.Helper()
	_, err := commands.DecodeCommand([]byte("{}"))
	refusal, _ := errors.AsType[*domain.Error](err)
	if refusal == nil {
		t.Fatalf("error %v, want a refusal", err)
	}
	_, names, _ := strings.Cut(refusal.Detail, "there are: ")
	types := map[string]reflect.Type{}
	for name := range strings.SplitSeq(names, ", ") {
		c, err := commands.DecodeCommand([]byte(`{"command":"` + name + `"}`))
		if err != nil {
			t.Fatal(err)
		}
		types[name] = reflect.TypeOf(c)
	}
	return types
}

// The comparison of members finds what it is there to find.
func TestDocumentDifferences(t *testing.T) {
	type inner struct {
		Old string `json:"old"`
	}
	type shown struct {
		inner
		Key    string           `json:"key"`
		Count  int              `json:"count,omitempty"`
		Value  evaluation.Value `json:"value"`
		Hidden *bool            `json:"hidden"`
		List   []inner          `json:"list"`
	}
	const same = `{type: object, required: [old, key, value, hidden, list], properties: {old: {type: string}, key: {type: string}, count: {type: integer},
		value: {type: [string, 'null']}, hidden: {type: [boolean, 'null']}, list: {type: array, items: {type: object, required: [old], properties: {old: {type: string}}}}}}`
	for _, tc := range []struct{ name, from, to, want string }{
		{"as it is", "", "", ""},
		{"a member renamed", "key: {type", "name: {type", "shown.key: is not described shown.name: is described and is not there"},
		{"an embedded one renamed", "properties: {old: {type: string}, key", "properties: {new: {type: string}, key", "shown.new: is described and is not there shown.old: is not described"},
		{"one in a list renamed", "[old], properties: {old", "[old], properties: {new", "shown.list[].new: is described and is not there shown.list[].old: is not described"},
		{"another type", "count: {type: integer}", "count: {type: string}", "shown.count: is [string], in Go integer (int)"},
		{"never null", "[boolean, 'null']", "boolean", "shown.hidden: can be null"},
		{"required", "[old, key", "[count, old, key", "shown.count: required is true"},
		{"not required", "[old, key", "[old", "shown.key: required is false"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var schema apiDocument
			if err := yaml.Unmarshal([]byte(strings.Replace(same, tc.from, tc.to, 1)), &schema); err != nil {
				t.Fatal(err)
			}
			found := schema.differences(schema, reflect.TypeFor[shown](), false, "shown")
			slices.Sort(found)
			if got := strings.Join(found, " "); got != tc.want {
				t.Errorf("found %q, want %q", got, tc.want)
			}
		})
	}
}
