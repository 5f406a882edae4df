package httpapi

import (
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"
)

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
