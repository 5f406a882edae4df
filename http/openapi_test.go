package httpapi

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"maps"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/mod/sumdb/note"
	"gopkg.in/yaml.v3"

	"flagledger/commands"
	"flagledger/domain"
	"flagledger/domain/evaluation"
	"flagledger/domain/transparency"
	"flagledger/projections"
)

// docs/openapi.yaml is held to the program from three sides: its operations are
// the routes, its schemas have the members of the Go types, and a walk through
// all operations sends and gets nothing that it does not describe.

// apiDocument is docs/openapi.yaml, or one node of it.
type apiDocument map[string]any

func readDocument(t *testing.T) apiDocument {
	t.Helper()
	text, err := os.ReadFile("../docs/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var d apiDocument
	if err := yaml.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// at follows member names down from a node; nil where there is nothing.
func (d apiDocument) at(path ...string) apiDocument {
	for _, name := range path {
		d, _ = d[name].(apiDocument)
	}
	return d
}

// list is a member that is a list.
func (d apiDocument) list(name string) []any {
	l, _ := d[name].([]any)
	return l
}

// resolve follows the reference that a node is, if it is one.
func (d apiDocument) resolve(node any) apiDocument {
	n, _ := node.(apiDocument)
	for n["$ref"] != nil {
		path, _ := strings.CutPrefix(n["$ref"].(string), "#/")
		n = d.at(strings.Split(path, "/")...)
	}
	return n
}

// flat is a schema with its references followed and what it joins joined.
func (d apiDocument) flat(node any) apiDocument {
	n := d.resolve(node)
	if either := n.list("oneOf"); len(either) == 2 && slices.Equal(typesOf(d.resolve(either[1])), []string{"null"}) {
		one := d.flat(either[0])
		one["type"] = []any{one["type"], "null"}
		return one
	}
	all := apiDocument{"properties": apiDocument{}}
	join := func(part apiDocument) {
		maps.Copy(all.at("properties"), part.at("properties"))
		required := append(all.list("required"), part.list("required")...)
		for name, value := range part {
			if name != "properties" && name != "allOf" {
				all[name] = value
			}
		}
		all["required"] = required
	}
	for _, part := range n.list("allOf") {
		join(d.flat(part))
	}
	join(n)
	return all
}

// operations are the operations by method and path.
func (d apiDocument) operations() map[string]apiDocument {
	all := map[string]apiDocument{}
	for path, item := range d.at("paths") {
		for method, op := range item.(apiDocument) {
			if op, is := op.(apiDocument); is {
				all[strings.ToUpper(method)+" "+path] = op
			}
		}
	}
	return all
}

// isAdmin tells the administration's operations and routes from the others.
func isAdmin(operation string) bool { return strings.Contains(operation, " /admin/") }

var pathParameter = regexp.MustCompile(`:(\w+)`)

// mismatches lists where the document and the routes differ, and where the
// document does not hold together.
func (d apiDocument) mismatches(routes []route) []string {
	var found []string
	add := func(where, format string, args ...any) {
		found = append(found, where+": "+fmt.Sprintf(format, args...))
	}
	served := map[string]bool{}
	for _, r := range routes {
		// Paths for SDKs also exist without their slash, and answer browsers'
		// OPTIONS; the document says so once.
		if r.method != http.MethodOptions {
			served[r.method+" "+strings.TrimSuffix(pathParameter.ReplaceAllString(r.path, "{$1}"), "/")] = true
		}
	}
	described, ids := map[string]bool{}, map[any]bool{}
	for name, op := range d.operations() {
		described[strings.TrimSuffix(name, "/")] = true
		if !served[strings.TrimSuffix(name, "/")] {
			add(name, "is described and is no route")
		}
		if id := op["operationId"]; id == nil || ids[id] {
			add(name, "has no operationId of its own")
		} else {
			ids[id] = true
		}
		for _, problem := range d.problemsOf(name, op) {
			add(name, "%s", problem)
		}
	}
	for name := range served {
		if !described[name] {
			add(name, "is a route and is not described")
		}
	}
	d.walk("", d, func(path string, node apiDocument) {
		if node["$ref"] != nil && d.resolve(node) == nil {
			add(path, "the reference %v leads nowhere", node["$ref"])
		}
	})
	for kind, status := range statuses {
		row := fmt.Sprintf("| %d | `%s` |", status, strings.ReplaceAll(string(kind), "_", "-"))
		if text, _ := d.at("components", "responses", "Problem")["description"].(string); !strings.Contains(text, row) {
			add("Problem", "lacks the row %s", row)
		}
	}
	slices.Sort(found)
	return found
}

// problemsOf lists what is missing of one operation.
func (d apiDocument) problemsOf(name string, op apiDocument) (found []string) {
	method, path, _ := strings.Cut(name, " ")
	declared := map[any]bool{}
	for _, p := range append(d.at("paths", path).list("parameters"), op.list("parameters")...) {
		if p := d.resolve(p); p["in"] == "path" {
			declared[p["name"]] = true
		}
	}
	for _, m := range regexp.MustCompile(`{(\w+)}`).FindAllStringSubmatch(path, -1) {
		if !declared[m[1]] {
			found = append(found, "the parameter "+m[1]+" is not declared")
		}
		delete(declared, m[1])
	}
	for p := range declared {
		found = append(found, fmt.Sprintf("the parameter %v is not in the path", p))
	}
	responses := op.at("responses")
	if !slices.ContainsFunc(slices.Collect(maps.Keys(responses)), func(status string) bool { return status[0] == '2' }) {
		found = append(found, "has no answer of success")
	}
	if !isAdmin(name) {
		return found
	}
	if responses.at("default")["$ref"] != "#/components/responses/Problem" {
		found = append(found, "does not answer problems")
	}
	reads := method == http.MethodGet || op["x-right"] == "read" || op["x-right"] == "audit"
	if !reads && responses["202"] == nil {
		found = append(found, "is a write that is never accepted with 202")
	}
	return found
}

// walk visits all objects below a node.
func (d apiDocument) walk(path string, node any, visit func(path string, node apiDocument)) {
	switch node := node.(type) {
	case apiDocument:
		visit(path, node)
		for name, child := range node {
			d.walk(path+"/"+name, child, visit)
		}
	case []any:
		for i, child := range node {
			d.walk(fmt.Sprintf("%s/%d", path, i), child, visit)
		}
	}
}

func TestDocumentIsTheRoutes(t *testing.T) {
	routes := New(Config{Metrics: prometheus.NewRegistry()}).routes()
	for _, m := range readDocument(t).mismatches(routes) {
		t.Error(m)
	}
}

// The comparison finds what it is there to find.
func TestDocumentMismatches(t *testing.T) {
	const project = "/admin/v1/projects/{project}"
	for _, tc := range []struct {
		name   string
		change func(apiDocument, *[]route)
		want   string
	}{
		{"a new route", func(_ apiDocument, r *[]route) {
			*r = append(*r, route{"PUT", "/admin/v1/projects/:project/moon", nil})
		}, "PUT /admin/v1/projects/{project}/moon: is a route and is not described"},
		{"a route that is gone", func(_ apiDocument, r *[]route) { *r = (*r)[1:] }, "GET /healthz: is described and is no route"},
		{"another method", func(d apiDocument, _ *[]route) { d.at("paths", "/version")["post"] = d.at("paths", "/version", "get") }, "POST /version: is described and is no route"},
		{"another parameter", func(d apiDocument, _ *[]route) {
			d.at("paths")["/admin/v1/audit/{at}"] = d.at("paths", "/admin/v1/audit/{position}")
		}, "GET /admin/v1/audit/{at}: the parameter at is not declared"},
		{"no parameter", func(d apiDocument, _ *[]route) { delete(d.at("paths", project), "parameters") }, "GET " + project + ": the parameter project is not declared"},
		{"no operationId", func(d apiDocument, _ *[]route) { delete(d.at("paths", "/healthz", "get"), "operationId") }, "GET /healthz: has no operationId of its own"},
		{"an operationId twice", func(d apiDocument, _ *[]route) { d.at("paths", "/healthz", "get")["operationId"] = "ready" }, "has no operationId of its own"},
		{"no success", func(d apiDocument, _ *[]route) { delete(d.at("paths", "/healthz", "get", "responses"), "200") }, "GET /healthz: has no answer of success"},
		{"no problem", func(d apiDocument, _ *[]route) { delete(d.at("paths", project, "get", "responses"), "default") }, "GET " + project + ": does not answer problems"},
		{"no 202", func(d apiDocument, _ *[]route) { delete(d.at("paths", project, "patch", "responses"), "202") }, "PATCH " + project + ": is a write that is never accepted with 202"},
		{"a reference to nothing", func(d apiDocument, _ *[]route) { delete(d.at("components", "schemas"), "Variant") }, "the reference #/components/schemas/Variant leads nowhere"},
		{"a status that changed", func(d apiDocument, _ *[]route) {
			p := d.at("components", "responses", "Problem")
			p["description"] = strings.ReplaceAll(p["description"].(string), "| 404 |", "| 410 |")
		}, "Problem: lacks the row | 404 | `not-found` |"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d, routes := readDocument(t), New(Config{Metrics: prometheus.NewRegistry()}).routes()
			tc.change(d, &routes)
			if found := d.mismatches(routes); !slices.ContainsFunc(found, func(m string) bool { return strings.Contains(m, tc.want) }) {
				t.Errorf("found %q, want %q", found, tc.want)
			}
		})
	}
}

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

// findings lists where a value is not what a schema describes. It is stricter
// than a client should be: what is not described may not be there.
func (d apiDocument) findings(schema, value any, path string) (found []string) {
	s := d.flat(schema)
	for _, choice := range []string{"anyOf", "oneOf"} {
		if s[choice] == nil {
			continue
		}
		fits, closest := 0, []string(nil)
		for _, alternative := range s.list(choice) {
			switch one := d.findings(alternative, value, path); {
			case len(one) == 0:
				fits++
			case closest == nil || len(one) < len(closest):
				closest = one
			}
		}
		if fits == 0 || choice == "oneOf" && fits > 1 {
			return append(closest, fmt.Sprintf("%s: fits %d of %s", path, fits, choice))
		}
		return nil
	}
	if constant, is := s["const"]; is && value != constant {
		return []string{fmt.Sprintf("%s: is %v, not %v", path, value, constant)}
	}
	if s["enum"] != nil && !slices.Contains(s.list("enum"), value) {
		found = append(found, fmt.Sprintf("%s: %v is none of %v", path, value, s["enum"]))
	}
	if types := typesOf(s); types != nil && !slices.ContainsFunc(jsonTypes(value), func(is string) bool { return slices.Contains(types, is) }) {
		return append(found, fmt.Sprintf("%s: %v is not %v", path, value, types))
	}
	switch value := value.(type) {
	case string:
		if pattern, is := s["pattern"].(string); is && !regexp.MustCompile(pattern).MatchString(value) {
			found = append(found, fmt.Sprintf("%s: %q does not match %s", path, value, pattern))
		}
		if _, err := time.Parse(time.RFC3339, value); s["format"] == "date-time" && err != nil {
			found = append(found, fmt.Sprintf("%s: %q is not a time", path, value))
		}
	case float64:
		if least, is := s["minimum"].(int); is && value < float64(least) {
			found = append(found, fmt.Sprintf("%s: %v is below %d", path, value, least))
		}
	case []any:
		for i, item := range value {
			found = append(found, d.findings(s["items"], item, fmt.Sprintf("%s[%d]", path, i))...)
		}
	case map[string]any:
		for _, name := range s.list("required") {
			if _, there := value[name.(string)]; !there {
				found = append(found, fmt.Sprintf("%s.%s: is not there", path, name))
			}
		}
		for name, of := range value {
			schema, described := s.at("properties")[name]
			if !described {
				schema, described = s["additionalProperties"]
			}
			if !described {
				if len(s.at("properties")) == 0 {
					break // any object
				}
				found = append(found, fmt.Sprintf("%s.%s: is not described", path, name))
				continue
			}
			found = append(found, d.findings(schema, of, path+"."+name)...)
		}
	}
	return found
}

// jsonTypes are the names that a decoded value goes by.
func jsonTypes(value any) []string {
	switch value := value.(type) {
	case nil:
		return []string{"null"}
	case bool:
		return []string{"boolean"}
	case string:
		return []string{"string"}
	case float64:
		if value == math.Trunc(value) {
			return []string{"number", "integer"}
		}
		return []string{"number"}
	case []any:
		return []string{"array"}
	}
	return []string{"object"}
}

// operationOf finds the operation that a request is of.
func (d apiDocument) operationOf(method, path string) (name string) {
	parts := strings.Split(path, "/")
	for template := range d.at("paths") {
		fits := func(i int, part string) bool { return part == parts[i] || strings.HasPrefix(part, "{") }
		names := strings.Split(template, "/")
		if len(names) != len(parts) || d.at("paths", template)[strings.ToLower(method)] == nil {
			continue
		}
		all := true
		for i, part := range names {
			all = all && fits(i, part)
		}
		if all && (name == "" || strings.Count(template, "{") < strings.Count(name, "{")) {
			name = method + " " + template
		}
	}
	return name
}

// A walk is a server on real views, and what was asked of it so far. Its log
// is the views themselves: what is appended is applied.
type walk struct {
	apiDocument
	url    string
	tokens map[string]string // by role
	id     string            // the last that was answered
	key    string            // likewise
	walked map[string]bool   // operations
}

type appliedLog struct{ views *projections.Views }

func (l appliedLog) Append(_ context.Context, c domain.Commit, expected uint64) (uint64, error) {
	position := l.views.Position() + 1
	if l.views.Project(c.Project).Position != expected {
		return 0, commands.ErrConflict
	}
	raw, err := json.Marshal(c)
	if err != nil {
		return 0, err
	}
	return position, l.views.Apply(domain.Recorded{Commit: c, Position: position, RecordedAt: c.Time, Raw: raw, LeafHash: sha256.Sum256(raw)}, 0)
}

// walkPersons keeps persons for commands and for the administration.
type walkPersons struct{ *memoryIdentities }

func (p walkPersons) Surrogate(_ context.Context, project string, environment int32, identifier string) (string, error) {
	return p.Identify(projections.EnvironmentID{Project: project, ID: environment}, identifier, nil).Surrogate, nil
}

func (p walkPersons) Lookup(_ string, _ int32, identifier string) string {
	if id := p.Get(projections.EnvironmentID{}, identifier); id != nil {
		return id.Surrogate
	}
	return ""
}

func (p walkPersons) Name(_ string, _ int32, surrogate string) string { return p.surrogates[surrogate] }

func (p walkPersons) List(_ projections.EnvironmentID, after string, limit int) (list []*domain.Identity) {
	for _, identifier := range slices.Sorted(maps.Keys(p.identities)) {
		if identifier > after && len(list) < limit {
			list = append(list, p.identities[identifier])
		}
	}
	return list
}

func (p walkPersons) Erase(_ context.Context, _ projections.EnvironmentID, identifier string) (string, bool, error) {
	id := p.identities[identifier]
	delete(p.identities, identifier)
	delete(p.surrogates, id.Surrogate)
	return id.Surrogate, true, nil
}

// walkLog signs what the views have, and has commits of which nothing but the position is known.
type walkLog struct {
	views *projections.Views
	key   note.Signer
	vkey  string
}

func newWalkLog(t *testing.T, views *projections.Views) walkLog {
	private, public, err := note.GenerateKey(rand.Reader, "flagledger/0000000000000000")
	if err != nil {
		t.Fatal(err)
	}
	key, err := note.NewSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	return walkLog{views, key, public}
}

func (l walkLog) Checkpoint(context.Context) (transparency.Signed, error) {
	size := l.views.Position()
	root, err := l.views.TreeRoot(size)
	if err != nil {
		return transparency.Signed{}, err
	}
	return transparency.Checkpoint{Origin: l.key.Name(), Size: size, Root: root}.Sign(l.key)
}

func (l walkLog) Checkpoints(ctx context.Context) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		signed, err := l.Checkpoint(ctx)
		yield(signed.Note, err)
	}
}

func (l walkLog) Keys() []LogKey {
	return []LogKey{{Vkey: l.vkey, Own: true, Until: time.Now(), Size: 1}, {Vkey: "another"}}
}

func (l walkLog) Leaves(_ context.Context, from, to uint64, each func(transparency.Leaf) error) error {
	for ; from <= to; from++ {
		c, err := l.views.Commit(from)
		if err != nil {
			return err
		}
		if err := each(transparency.Leaf{Position: from, Subject: "flagledger.log." + c.Project, Payload: []byte{0xff * byte(from%2)}}); err != nil {
			return err
		}
	}
	return nil
}

func newWalk(t *testing.T) *walk {
	t.Helper()
	views, err := projections.Open(filepath.Join(t.TempDir(), "views.db"), projections.Options{Schema: 1, Encode: EncodeFlag})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := views.Close(); err != nil {
			t.Error(err)
		}
	})
	persons := walkPersons{newMemoryIdentities()}
	service := commands.New(appliedLog{views}, views, persons, domain.DefaultLimits(), time.Now)
	s := New(Config{
		Commands: service, Views: views, Identities: persons, Transparency: newWalkLog(t, views), Metrics: prometheus.NewRegistry(), Logger: slog.New(slog.DiscardHandler),
		Version: "1.2.3", Limits: domain.DefaultLimits(), BodyLimit: 100_000,
		Backup: func(_ context.Context, w io.Writer, kind string) error { // the real one needs a log
			_, err := io.WriteString(w, kind)
			return err
		},
	})
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	w := &walk{apiDocument: readDocument(t), url: server.URL, tokens: map[string]string{}, walked: map[string]bool{}}
	for name, grant := range map[string]domain.Grant{
		"admin": {Role: domain.Admin}, "editor": {Role: domain.Editor}, "auditor": {Role: domain.Auditor}, "viewer": {Role: domain.Viewer},
		"stranger": {Role: domain.Admin, Project: "elsewhere"},
	} {
		create, secret := commands.NewToken(name, []domain.Grant{grant}, time.Time{})
		w.tokens[name] = secret
		if _, err := service.Do(t.Context(), commands.Change{Commands: []commands.Command{create}, Actor: domain.Actor{Kind: "system", ID: "test"}, Source: domain.SourceSystem}); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// withoutRight are tokens that lack a right, and how they are refused.
var withoutRight = map[any]struct {
	token  string
	status int
}{
	"read": {"stranger", 404}, "audit": {"viewer", 403}, "write": {"auditor", 403}, "manage": {"editor", 403},
}

// step is one request of a walk and the status it gets.
type step struct {
	method, path, body string
	status             int
	headers            string // Name: value, separated by |
}

func (w *walk) take(t *testing.T, s step) {
	t.Helper()
	s.path, s.headers = strings.ReplaceAll(s.path, "$id", w.id), strings.ReplaceAll(s.headers, "$key", w.key)
	path, query, _ := strings.Cut(s.path, "?")
	name := w.operationOf(s.method, path)
	op := w.operations()[name]
	if op == nil {
		t.Fatalf("%s %s is not described", s.method, path)
	}
	if s.status < 300 {
		w.walked[name] = true
		w.checkRequest(t, name, op, query, s)
	}
	if refused, is := withoutRight[op["x-right"]]; is && s.status < 300 {
		if resp, body := w.send(t, s, w.tokens[refused.token]); resp.StatusCode != refused.status {
			t.Errorf("%s by %s: status %d, want %d; %s", name, refused.token, resp.StatusCode, refused.status, body)
		}
	}
	resp, body := w.send(t, s, w.tokens["admin"])
	if resp.StatusCode != s.status {
		t.Errorf("%s %s: status %d, want %d; %s", s.method, s.path, resp.StatusCode, s.status, body)
		return
	}
	for _, finding := range w.checkAnswer(op, resp, body) {
		t.Errorf("%s %s: %s; %s", s.method, s.path, finding, body)
	}
	var made struct{ ID, Key string }
	if json.Unmarshal(body, &made) == nil && s.method == http.MethodPost && made.ID != "" {
		w.id, w.key = made.ID, made.Key
	}
}

func (w *walk) send(t *testing.T, s step, token string) (*http.Response, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), s.method, w.url+s.path, strings.NewReader(s.body))
	if err != nil {
		t.Fatal(err)
	}
	if isAdmin(" " + s.path) {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for h := range strings.SplitSeq(s.headers, "|") {
		if name, value, ok := strings.Cut(h, ": "); ok {
			req.Header.Set(name, value)
		}
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, body
}

// checkRequest holds what is sent, and will be accepted, to the document.
func (w *walk) checkRequest(t *testing.T, name string, op apiDocument, query string, s step) {
	t.Helper()
	_, path, _ := strings.Cut(name, " ")
	declared := map[any]bool{"X-Environment-Key": true, "X-API-Key": true} // keys
	for _, p := range append(w.at("paths", path).list("parameters"), op.list("parameters")...) {
		declared[w.resolve(p)["name"]] = true
	}
	for part := range strings.SplitSeq(query, "&") {
		if name, _, _ := strings.Cut(part, "="); name != "" && !declared[name] {
			t.Errorf("%s: the parameter %s is not described", s.path, name)
		}
	}
	for h := range strings.SplitSeq(s.headers, "|") {
		if name, _, _ := strings.Cut(h, ":"); name != "" && !declared[name] && !strings.HasPrefix(name, "Authorization") {
			t.Errorf("%s: the header %s is not described", s.path, name)
		}
	}
	if s.body == "" {
		return
	}
	var body any
	if err := json.Unmarshal([]byte(s.body), &body); err != nil {
		t.Fatalf("%s: %v in %s", s.path, err, s.body)
	}
	schema := op.at("requestBody", "content", "application/json")["schema"]
	if schema == nil {
		t.Errorf("%s %s: a body is not described", s.method, s.path)
		return
	}
	for _, finding := range w.findings(schema, body, "request") {
		t.Errorf("%s %s: %s", s.method, s.path, finding)
	}
}

// checkFilters compares the parameters of the audit with the filters that it
// says it has when it is asked for another one.
func (w *walk) checkFilters(t *testing.T) {
	t.Helper()
	_, body := w.send(t, step{method: http.MethodGet, path: "/admin/v1/audit?colour=red"}, w.tokens["admin"])
	var refusal problem
	if err := json.Unmarshal(body, &refusal); err != nil {
		t.Fatal(err)
	}
	_, names, _ := strings.Cut(refusal.Detail, "there are ")
	served := strings.Split(names, ", ")
	var described []string
	for _, p := range w.at("paths", "/admin/v1/audit").list("parameters") {
		if p := w.resolve(p); p["in"] == "query" {
			described = append(described, p["name"].(string))
		}
	}
	slices.Sort(served)
	slices.Sort(described)
	if !slices.Equal(served, described) {
		t.Errorf("the audit has the filters %v, described are %v", served, described)
	}
}

// checkAnswer holds an answer to the document.
func (w *walk) checkAnswer(op apiDocument, resp *http.Response, body []byte) (found []string) {
	status := fmt.Sprint(resp.StatusCode)
	described := w.resolve(op.at("responses")[status])
	if described == nil && resp.StatusCode >= 400 {
		described = w.resolve(op.at("responses")["default"])
	}
	if described == nil {
		return []string{"the status " + status + " is not described"}
	}
	for _, name := range []string{"ETag", "Flagledger-Position", "Flagledger-As-Of", "Retry-After", "X-Flagsmith-Document-Updated-At", "Last-Modified"} {
		if resp.Header.Get(name) != "" && described.at("headers")[name] == nil {
			found = append(found, "the header "+name+" is not described")
		}
	}
	if described.at("headers")["Flagledger-Position"] != nil && resp.StatusCode < 300 && resp.Header.Get("Flagledger-Position") == "" {
		found = append(found, "the header Flagledger-Position is not there")
	}
	contentType, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";")
	if len(body) == 0 {
		if described["content"] != nil {
			found = append(found, "there is no body")
		}
		return found
	}
	content := described.at("content", contentType)
	if content == nil {
		return append(found, "a body of type "+contentType+" is not described")
	}
	if strings.HasPrefix(contentType, "text/") || contentType == "application/zip" {
		return found
	}
	values := json.NewDecoder(bytes.NewReader(body)) // one, or one a line
	for {
		var value any
		switch err := values.Decode(&value); {
		case errors.Is(err, io.EOF):
			return found
		case err != nil:
			return append(found, err.Error())
		}
		found = append(found, w.findings(content["schema"], value, "answer")...)
	}
}

// The walk asks for every operation and sees that requests and answers are what
// the document says, and that a token without the right it names is refused.
func TestDocumentWalk(t *testing.T) {
	const (
		p    = "/admin/v1/projects/shop"
		e    = p + "/environments/production"
		why  = `"reason":"autumn","ticket":"SHOP-1"`
		done = "?reason=autumn&ticket=SHOP-1"
		tree = `[{"type":"ALL","conditions":[{"property":"email","operator":"CONTAINS","value":"@example.com"}],"rules":[{"type":"ANY","conditions":[{"property":"country","operator":"IN","value":"US,CA"}]}]}]`

		client = "X-Environment-Key: production-client-key"
		apiKey = "X-API-Key: production-client-key"
		server = "X-Environment-Key: $key"
	)
	w := newWalk(t)
	steps := []step{
		{"GET", "/healthz", "", 200, ""},
		{"GET", "/readyz", "", 200, ""},
		{"GET", "/version", "", 200, ""},
		{"GET", "/health", "", 200, ""},
		{"GET", "/healthcheck", "", 200, ""},
		{"GET", "/health/readiness/", "", 200, ""},
		{"GET", "/health/liveness/", "", 200, ""},
		{"GET", "/metrics", "", 200, ""},
		{"GET", "/admin/v1/whoami", "", 200, ""},

		{"POST", "/admin/v1/projects", `{"key":"shop","name":"The MART","description":"A shop","hide_disabled_flags":false,"persist_traits":true,"strict_contexts":false,` + why + `}`, 201, "Correlation-Id: c1|Flagledger-Source: cli"},
		{"POST", "/admin/v1/projects", `{"key":"shop"}`, 409, ""},
		{"POST", "/admin/v1/projects", `{"key":"elsewhere"}`, 201, ""},
		{"GET", "/admin/v1/projects?limit=1", "", 200, "Flagledger-Min-Position: 1"},
		{"PATCH", p, `{"description":"The shop","hide_disabled_flags":false,"persist_traits":true,"strict_contexts":false,` + why + `}`, 200, ""},
		{"PATCH", p, `{"name":"Mart"}`, 412, `If-Match: "1"`},
		{"PATCH", p, `{"title":"Mart"}`, 400, ""},
		{"GET", p, "", 200, ""},

		{"POST", p + "/environments", `{"key":"production","name":"Production","description":"Live","client_key":"production-client-key","allow_client_traits":true,"hide_sensitive_data":false,"hide_disabled_flags":null,"use_identity_overrides_in_local_eval":true,"use_identity_composite_key_for_hashing":true,` + why + `}`, 201, ""},
		{"POST", "/admin/v1/tokens", `{"name":"ci","grants":[{"role":"editor","project":"shop","environment":"production"}],"expires_at":"2100-01-01T00:00:00Z",` + why + `}`, 201, "Idempotency-Key: t1"},
		{"POST", "/admin/v1/tokens", `{"name":"ci","grants":[{"role":"editor","project":"shop","environment":"production"}],"expires_at":"2100-01-01T00:00:00Z",` + why + `}`, 409, "Idempotency-Key: t1"},
		{"GET", "/admin/v1/tokens?limit=1", "", 200, ""},
		{"DELETE", "/admin/v1/tokens/$id" + done, "", 204, ""},
		{"PATCH", e, `{"name":"Production","description":"Live!","hide_disabled_flags":false,"allow_client_traits":true,` + why + `}`, 200, ""},
		{"GET", e, "", 200, ""},
		{"GET", p + "/environments", "", 200, ""},
		{"POST", e + "/keys", `{"name":"web","kind":"client",` + why + `}`, 201, ""},
		{"PATCH", e + "/keys/$id", `{"name":"the web","active":false,"expires_at":null,` + why + `}`, 200, ""},
		{"GET", e + "/keys", "", 200, ""},
		{"DELETE", e + "/keys/$id" + done, "", 204, ""},

		{"PUT", p + "/contexts/plan", `{"type":"string","description":"Plan","owner":"growth","allowed":["free","pro"],"privacy":"public","required":true,` + why + `}`, 200, ""},
		{"PUT", p + "/contexts/age", `{"type":"integer"}`, 200, ""},
		{"GET", p + "/contexts", "", 200, ""},
		{"GET", p + "/contexts/plan", "", 200, ""},
		{"DELETE", p + "/contexts/age" + done, "", 204, ""},

		{"POST", p + "/features", `{"key":"checkout","description":"PayPal","kind":"release","owners":["ana"],"tags":["money"],"server_key_only":false,"object_value":false,"default_enabled":true,"initial_value":"classic",` + why + `}`, 201, ""},
		{"POST", p + "/features", `{"key":"search","default_enabled":true,"initial_value":"classic","variants":[{"key":"grid","value":"grid","weight":30},{"key":"list","value":7,"weight":20.5}]}`, 201, ""},
		{"PATCH", p + "/features/search", `{"description":"Search","kind":"experiment","owners":["bo"],"tags":[],"archived":false,"server_key_only":false,"object_value":false,"variants":[{"key":"grid","value":"grid","weight":40},{"key":"list","value":7,"weight":20.5}],` + why + `}`, 200, ""},
		{"GET", p + "/features?tag=money&kind=release&archived=false&limit=1&cursor=", "", 200, ""},
		{"GET", p + "/features/search", "", 200, ""},
		{"GET", p + "/features/moon", "", 404, ""},

		{"POST", p + "/segments", `{"key":"beta","name":"Beta users","description":"Testers","rules":` + tree + `,` + why + `}`, 201, ""},
		{"POST", p + "/segments", `{"key":"west","feature":"checkout","rules":[{"field":"country","operator":"in","values":["FR","DE"]},{"field":"age","operator":"gte","values":[18]}]}`, 201, ""},
		{"POST", p + "/segments", `{"key":"bad","rules":[{"type":"ALL","conditions":[{"property":"age","operator":"MODULO","value":"0|0"}]}]}`, 422, ""},
		{"GET", p + "/segments?feature=checkout", "", 200, ""},
		{"GET", p + "/segments/beta", "", 200, ""},

		{"PUT", p + "/segments/beta/tests", `{"cases":[{"name":"a tester","identifier":"ada","traits":{"email":"ada@example.com","country":"US"},"member":true}],` + why + `}`, 200, ""},
		{"PUT", p + "/features/checkout/tests", `{"cases":[{"name":"everybody","environment":"production","traits":{},"enabled":true,"value":"classic"}]}`, 200, ""},
		{"PUT", p + "/features/checkout/tests", `{"cases":[{"name":"nobody","environment":"production","enabled":false}]}`, 409, ""},
		{"PUT", p + "/features/checkout/tests", `{"cases":[{"name":"nobody","environment":"production","enabled":false}],"override_tests":true,"reason":"later"}`, 200, ""},
		{"PUT", p + "/features/checkout/tests", `{"cases":[]}`, 200, ""},
		{"GET", p + "/segments/beta/tests", "", 200, ""},
		{"GET", p + "/features/checkout/tests", "", 200, ""},
		{"PUT", p + "/segments/beta/tests", `{"cases":[]}`, 200, ""},

		{"PATCH", e + "/features/search", `{"enabled":true,"value":null,"weights":{"grid":50},` + why + `}`, 200, ""},
		{"PATCH", e + "/features/search", `{"weights":{"grid":150}}`, 422, ""},
		{"PUT", e + "/features/search/segment-overrides/beta", `{"enabled":true,"weights":{"grid":100},"place":0,` + why + `}`, 200, ""},
		{"PUT", e + "/features/checkout/segment-overrides/west", `{"enabled":true,"value":"paypal"}`, 200, ""},
		{"PUT", e + "/features/checkout/segment-overrides/beta", `{"enabled":true,"value":42}`, 200, ""},
		{"PUT", e + "/features/checkout/segment-overrides", `{"order":["beta","west"],` + why + `}`, 200, ""},
		{"PUT", e + "/features/checkout/identity-overrides/ada", `{"enabled":false,"value":true,` + why + `}`, 200, ""},
		{"PUT", e + "/features/search/identity-overrides/ada", `{"enabled":true,"variant":"list",` + why + `}`, 200, ""},
		{"GET", e + "/features", "", 200, ""},
		{"GET", e + "/features/checkout", "", 200, ""},
		{"GET", e + "/features/checkout/analytics?from=2020-01-01T00:00:00Z&to=2020-01-20T00:00:00Z&by=outcome,hour", "", 200, ""},
		{"GET", p + "/segments/beta/usages", "", 200, ""},
		{"GET", e + "/identities", "", 200, ""},
		{"GET", e + "/identities/ada", "", 200, ""},

		{"POST", "/api/v1/identities/", `{"identifier":"ada","traits":[{"trait_key":"email","trait_value":"ada@example.com"},{"trait_key":"age","trait_value":36,"transient":true}],"transient":false}`, 200, client},
		{"GET", "/api/v1/identities/?identifier=ada&transient=true", "", 200, client},
		{"GET", "/api/v1/identities/?identifier=ada&feature=search", "", 200, client},
		{"GET", "/api/v1/identities/?identifier=", "", 200, client},
		{"GET", "/api/v1/identities/?identifier=ada&feature=moon", "", 404, client},
		{"GET", "/api/v1/flags/", "", 200, client},
		{"GET", "/api/v1/flags/?feature=checkout", "", 200, client},
		{"GET", "/api/v1/flags/", "", 304, client + "|If-None-Match: *"},
		{"GET", "/api/v1/flags/", "", 403, ""},
		{"POST", "/api/v1/identities/", `{"identifier":true}`, 400, client},
		{"POST", "/api/v1/bulk-identities/", `{"data":[{"identifier":"bo","traits":[{"trait_key":"country","trait_value":"FR"}]}]}`, 200, client},
		{"POST", "/api/v1/traits/", `{"identity":{"identifier":"bo"},"trait_key":"country","trait_value":"DE"}`, 200, client},
		{"PUT", "/api/v1/traits/bulk/", `[{"identity":{"identifier":"bo"},"trait_key":"country","trait_value":null},{"identity":{"identifier":"bo"},"trait_key":"vip","trait_value":true}]`, 200, client},
		{"POST", "/api/v1/traits/increment-value/", `{"trait_key":"visits","increment_by":2,"identifier":"bo"}`, 200, client},
		{"POST", "/api/v1/analytics/flags/", `{"checkout":3}`, 200, client},
		{"POST", "/api/v2/analytics/flags/", `{"evaluations":[{"feature_name":"checkout","identity_identifier":"bo","enabled_when_evaluated":true,"count":3}]}`, 204, client},
		{"GET", e + "/identities/bo", "", 200, ""},

		{"POST", "/ofrep/v1/evaluate/flags", `{"context":{"targetingKey":"ada","country":"FR","age":3,"tags":["a"],"address":{}}}`, 200, apiKey},
		{"POST", "/ofrep/v1/evaluate/flags", `{"context":{}}`, 200, apiKey},
		{"POST", "/ofrep/v1/evaluate/flags?flagConfigEtag=1-1&flagConfigLastModified=1", `{"context":{"targetingKey":"ada"}}`, 304, apiKey + "|If-None-Match: *"},
		{"POST", "/ofrep/v1/evaluate/flags", `{}`, 400, apiKey},
		{"POST", "/ofrep/v1/evaluate/flags", `{}`, 401, ""},
		{"POST", "/ofrep/v1/evaluate/flags/checkout", `{"context":{"targetingKey":"ada"}}`, 200, apiKey},
		{"POST", "/ofrep/v1/evaluate/flags/search", `{"context":{}}`, 400, apiKey},
		{"POST", "/ofrep/v1/evaluate/flags/moon", `{"context":{}}`, 404, apiKey},

		{"POST", e + "/keys", `{"name":"backend","kind":"server","expires_at":"2100-01-01T00:00:00Z"}`, 201, ""},
		{"GET", "/api/v1/environment-document/", "", 200, server},
		{"GET", "/api/v1/environment-document/", "", 403, client},

		{"POST", p + "/changes", `{"commands":[
			{"command":"update_segment","segment":"beta","rules":[{"type":"ALL","conditions":[{"property":"email","operator":"CONTAINS","value":"@example"}]}]},
			{"command":"set_variants","feature":"search","variants":[{"key":"grid","value":"big grid","weight":40},{"key":"list","value":7,"weight":20.5}]},
			{"command":"create_environment","key":"staging"},
			{"command":"set_feature_state","environment":"staging","feature":"checkout","enabled":false},
			{"command":"remove_segment_override","environment":"production","feature":"checkout","segment":"west"},
			{"command":"delete_segment","segment":"west"}],"dry_run":false,` + why + `}`, 200, "Idempotency-Key: one"},
		{"POST", p + "/changes?dry_run=true", `{"commands":[{"command":"delete_feature","feature":"checkout"}]}`, 409, ""},
		{"POST", p + "/changes?dry_run=true", `{"commands":[{"command":"delete_environment","environment":"staging"}],"dry_run":true}`, 200, ""},
		{"POST", p + "/changes?dry_run=true&impact=true", `{"commands":[{"command":"update_project","name":"Mart"}],"impact":{"stored":1}}`, 200, ""},
		{"POST", p + "/changes", `{"commands":[{"command":"delete_project"}]}`, 422, "Idempotency-Key: one"},
		{"PATCH", p + "/segments/beta", `{"name":"Beta","description":"","rules":` + tree + `,` + why + `}`, 200, ""},
		{"PATCH", p + "/segments/beta", `{"rules":[{"type":"NONE","conditions":[{"property":"age","operator":"MODULO","value":"2|0"}]}]}`, 200, ""},

		{"GET", e + "/versions?limit=3", "", 200, ""},
		{"GET", e + "/versions/1", "", 200, ""},
		{"GET", e + "/versions/10", "", 200, ""},
		{"GET", e + "/versions/99", "", 404, ""},
		{"POST", e + "/rollback", `{"version":10,"dry_run":true,"impact":{"stored":10,"identities":[{"identifier":"cy","traits":{"country":"US"}}]}}`, 200, ""},
		{"POST", e + "/rollback", `{"to":"10","features":["search","checkout"],"segments":[],"restore_deleted":false,"plan_hash":"any",` + why + `}`, 200, ""},
		{"POST", e + "/rollback", `{"version":10}`, 422, ""},
		{"POST", e + "/rollback", `{"version":10,"plan_hash":"other","reason":"autumn"}`, 409, ""},
		{"GET", e + "/pins", "", 200, ""},
		{"GET", p + "/segments/beta/usages", "", 200, ""},
		{"GET", e + "/features/search", "", 200, ""},
		{"GET", e + "/features/search?as_of=9", "", 200, ""},
		{"GET", p + "/features?as_of=position:14", "", 200, ""},
		{"GET", p + "/features?as_of=yesterday", "", 400, ""},
		{"GET", e + "/features/search/blame", "", 200, ""},
		{"GET", e + "/diff?from=3&to=latest", "", 200, ""},
		{"GET", e + "/diff?from=staging@1", "", 200, ""},
		{"POST", e + "/evaluate", `{"identifier":"ada","as_of":"10","explain":true}`, 200, ""},
		{"POST", e + "/evaluate", `{"traits":{"email":"cy@example.com","country":"US"},"feature":"search","explain":true}`, 200, ""},
		{"POST", p + "/undo", `{"position":1}`, 422, ""},
		{"POST", p + "/undo", `{"position":32,"from":null,"to":null,"dry_run":true,"impact":{"stored":1}}`, 200, ""},
		{"POST", p + "/undo", `{"actor":"nobody","token":"nobody","change_request":"1","correlation_id":"c1","dry_run":true}`, 404, ""},
		{"DELETE", e + "/pins/segments/beta" + done, "", 204, ""},
		{"DELETE", e + "/pins/variants/search" + done, "", 204, ""},

		{"POST", e + "/clone", `{"key":"preview","name":"Preview","description":"A clone","client_key":"preview-client-key",` + why + `}`, 201, ""},
		{"DELETE", p + "/environments/preview" + done, "", 204, ""},
		{"DELETE", e + "/features/search/segment-overrides/beta" + done, "", 204, ""},
		{"DELETE", e + "/features/search/identity-overrides/ada" + done, "", 204, ""},
		{"DELETE", e + "/identities/ada" + done, "", 204, ""},
		{"DELETE", p + "/features/search" + done, "", 204, ""},
		{"DELETE", e + "/features/checkout/segment-overrides/beta" + done, "", 204, ""},
		{"DELETE", p + "/segments/beta" + done, "", 204, ""},
		{"DELETE", "/admin/v1/projects/elsewhere" + done, "", 204, ""},
		{"DELETE", p, "", 409, ""},

		{"GET", "/admin/v1/audit?limit=100", "", 200, ""},
		{"GET", "/admin/v1/audit?project=shop&environment=production&object=feature:checkout&actor_kind=token&type=segment_override.set.v1&source=api&ticket=SHOP-1&q=autumn&from=2020-01-01T00:00:00Z&to=2100-01-01T00:00:00Z", "", 200, ""},
		{"GET", "/admin/v1/audit?actor=nobody&token=nobody&change_request=1&correlation_id=c1&reason=autumn&limit=1", "", 200, ""},
		{"GET", "/admin/v1/audit?project=shop&environment=production&affects=feature:checkout", "", 200, ""},
		{"GET", "/admin/v1/backup?kind=keys", "", 200, ""},
		{"GET", "/admin/v1/backup?kind=all", "", 400, ""},
		{"GET", "/admin/v1/audit/export", "", 200, ""},
		{"GET", "/admin/v1/audit/export?format=cloudevents&project=shop", "", 200, ""},
		{"GET", "/admin/v1/audit/export?format=csv", "", 200, ""},
		{"GET", "/admin/v1/audit/export?format=xml", "", 400, ""},
		{"GET", "/admin/v1/audit?colour=red", "", 400, ""},
		{"GET", "/admin/v1/audit/7", "", 200, ""},
		{"GET", "/admin/v1/audit/999", "", 404, ""},
		{"GET", "/admin/v1/access-log?project=shop&object=segment:beta&actor=nobody&from=2020-01-01T00:00:00Z&to=2100-01-01T00:00:00Z&cursor=&limit=1", "", 200, ""},
		{"GET", "/admin/v1/access-log?colour=red", "", 400, ""},
		{"GET", "/admin/v1/log/checkpoint", "", 200, ""},
		{"GET", "/admin/v1/log/keys", "", 200, ""},
		{"GET", "/admin/v1/log/proof/inclusion?position=2&size=5", "", 200, ""},
		{"GET", "/admin/v1/log/proof/inclusion?position=6&size=5", "", 400, ""},
		{"GET", "/admin/v1/log/proof/inclusion", "", 400, ""},
		{"GET", "/admin/v1/log/proof/consistency?from=2&to=5", "", 200, ""},
		{"GET", "/admin/v1/log/proof/consistency?from=2&to=100000", "", 404, ""},
		{"GET", "/admin/v1/log/proof/consistency?from=0", "", 400, ""},
		{"GET", "/admin/v1/log/proof/consistency?from=-1", "", 400, ""},
		{"GET", "/admin/v1/log/proof/consistency?from=18446744073709551616", "", 400, ""},
		{"GET", "/admin/v1/log/export?from=2&to=5", "", 200, ""},
		{"GET", "/admin/v1/log/export?from=5&to=2", "", 400, ""},
		{"GET", "/admin/v1/log/export?to=100000", "", 404, ""},
	}
	for _, s := range steps {
		w.take(t, s)
	}
	w.checkFilters(t)
	for _, name := range slices.Sorted(maps.Keys(w.operations())) {
		if !w.walked[name] && !strings.Contains(name, "/stream") { // which has no end
			t.Errorf("%s is not walked", name)
		}
	}
}

// What the walk compares by finds what it is there to find.
func TestDocumentFindings(t *testing.T) {
	var d apiDocument
	if err := yaml.Unmarshal([]byte(`
components: {schemas: {Role: {type: string, enum: [viewer, admin]}, Base: {type: object, required: [name], properties: {name: {type: string, pattern: '^[a-z]+$'}}}}}
schema:
  allOf: [{$ref: '#/components/schemas/Base'}]
  required: [count]
  properties:
    count: {type: integer, minimum: 0}
    roles: {type: array, items: {$ref: '#/components/schemas/Role'}}
    at: {type: string, format: date-time}
    weights: {type: object, additionalProperties: {type: number}}
    value: {anyOf: [{type: 'null'}, {type: object, required: [a], properties: {a: {const: 1}}}]}
`), &d); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ value, want string }{
		{`{"name":"ana","count":1,"roles":["admin"],"at":"2026-05-03T14:02:00Z","weights":{"x":1.5},"value":null}`, ""},
		{`{"name":"ana"}`, "v.count: is not there"},
		{`{"count":1}`, "v.name: is not there"},
		{`{"name":"ana","count":1,"colour":"red"}`, "v.colour: is not described"},
		{`{"name":"ana","count":1.5}`, "v.count: 1.5 is not [integer]"},
		{`{"name":"ana","count":-1}`, "v.count: -1 is below 0"},
		{`{"name":"Ana","count":1}`, `v.name: "Ana" does not match ^[a-z]+$`},
		{`{"name":"ana","count":1,"roles":["king"]}`, "v.roles[0]: king is none of [viewer admin]"},
		{`{"name":"ana","count":1,"at":"now"}`, `v.at: "now" is not a time`},
		{`{"name":"ana","count":1,"weights":{"x":"1"}}`, "v.weights.x: 1 is not [number]"},
		{`{"name":"ana","count":1,"value":{"b":1}}`, "v.value: fits 0 of anyOf"},
		{`[]`, "v: [] is not [object]"},
	} {
		var value any
		if err := json.Unmarshal([]byte(tc.value), &value); err != nil {
			t.Fatal(err)
		}
		found := strings.Join(d.findings(d["schema"], value, "v"), " ")
		if (tc.want == "") != (found == "") || !strings.Contains(found, tc.want) {
			t.Errorf("%s: found %q, want %q", tc.value, found, tc.want)
		}
	}
}

// eventSection is what docs/events.md says of one event type: a heading, a
// text, an example.
var eventSection = regexp.MustCompile("(?s)### `([a-z_.0-9]+)`\n(.*?)```json\n(.*?)```")

// docs/events.md tells of every event, with an example that is read and written
// as it stands and has all the members that an event of the type always has.
func TestEventsAreDescribed(t *testing.T) {
	text, err := os.ReadFile("../docs/events.md")
	if err != nil {
		t.Fatal(err)
	}
	described := map[string][]string{}
	for _, section := range eventSection.FindAllStringSubmatch(string(text), -1) {
		described[section[1]] = section[2:]
	}
	for _, eventType := range domain.EventTypes() {
		if section := described[eventType]; section == nil {
			t.Errorf("%s is not described", eventType)
		} else if err := checkEvent(eventType, section[0], section[1]); err != nil {
			t.Errorf("%s: %v", eventType, err)
		}
		delete(described, eventType)
	}
	for eventType := range described {
		t.Errorf("%s is described and is no event", eventType)
	}
	_, commit, _ := strings.Cut(string(text), "## The commit\n\n```json\n")
	commit, members, _ := strings.Cut(commit, "```")
	if err := checkCommit(commit); err != nil {
		t.Errorf("the commit: %v", err)
	}
	for name := range membersOf(reflect.TypeFor[domain.Commit]()) {
		if !strings.Contains(commit, `"`+name+`"`) || !strings.Contains(members, "`"+name+"`") {
			t.Errorf("the commit's member %s is not described", name)
		}
	}
}

var quotedName = regexp.MustCompile("`([a-z_]+)`")

// checkEvent compares what is said of an event with its type.
func checkEvent(eventType, text, example string) error {
	payload := `{"id":"i","project":"p","time":"2026-11-21T09:30:00Z","actor":{"kind":"system","id":"s"},"source":"system","events":[{"type":"` + eventType + `","data":` + example + `}]}`
	if err := checkCommit(payload); err != nil {
		return err
	}
	c, err := domain.DecodeCommit([]byte(payload), nil)
	if err != nil {
		return err
	}
	_, list, _ := strings.Cut(text, "Absent when empty:")
	var said, optional []string
	for _, m := range quotedName.FindAllStringSubmatch(list, -1) {
		said = append(said, m[1])
	}
	for name, m := range membersOf(reflect.TypeOf(c.Events[0])) {
		if m.optional {
			optional = append(optional, name)
		}
	}
	slices.Sort(said)
	slices.Sort(optional)
	if !slices.Equal(said, optional) {
		return fmt.Errorf("absent when empty are %v, described as such %v", optional, said)
	}
	return nil
}

// checkCommit reads a commit as the log does, and writes it again.
func checkCommit(payload string) error {
	c, err := domain.DecodeCommit([]byte(payload), nil)
	if err != nil {
		return err
	}
	written, err := json.Marshal(c)
	if err != nil {
		return err
	}
	var said, is any
	if err := errors.Join(json.Unmarshal([]byte(payload), &said), json.Unmarshal(written, &is)); err != nil {
		return err
	}
	if !reflect.DeepEqual(said, is) {
		return fmt.Errorf("the example is recorded as %s", written)
	}
	return nil
}

// The check of events finds what it is there to find.
func TestEventChecks(t *testing.T) {
	const eventType, text, example = "sdk_key.updated.v1", "Absent when empty: `expires_at`.", `{"environment":"e","id":"i","name":"n","active":true}`
	for _, tc := range []struct{ name, text, example, want string }{
		{"as it is", text, example, ""},
		{"a member renamed", text, strings.Replace(example, "name", "title", 1), "is recorded as"},
		{"a member left out", text, strings.Replace(example, `"name":"n",`, "", 1), "is recorded as"},
		{"another type", text, strings.Replace(example, "true", "1", 1), "cannot unmarshal"},
		{"not said to be optional", "", example, "absent when empty are [expires_at], described as such []"},
		{"said to be optional", text + " `name`", example, "described as such [expires_at name]"},
	} {
		err := checkEvent(eventType, tc.text, tc.example)
		if (tc.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: error %v, want %q", tc.name, err, tc.want)
		}
	}
}
