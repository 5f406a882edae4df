package httpapi

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"gopkg.in/yaml.v3"
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
