package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
)

// object is JSON to be.
type object = map[string]any

// A workload is a project as it is found: of a hundred features 50 are boolean,
// 30 have a text and 20 are multivariate; 60 have 1 to 3 segment overrides.
// Segments have 1 to 5 conditions, identities 8 traits. The same seed makes the
// same project.
type workload struct {
	project    string
	features   int
	segments   int
	identities int
}

// The workloads. W2 is one flag of W1. W4 has as many stored identities as the
// scale allows, and overrides for one in ten of them.
var (
	w1 = workload{"w1", 100, 50, 10_000}
	w3 = workload{"w3", 1000, 500, 10_000}
	w4 = workload{"w4", 100, 50, 1_000_000}
)

const environment = "production"

func (w workload) clientKey() string { return "bench_" + w.project + "_client" }

func featureKey(i int) string { return fmt.Sprintf("feature_%04d", i) }

func identifier(i int) string { return fmt.Sprintf("user-%07d", i) }

func country(i int) string { return string([]byte{'A' + byte(i/26%26), 'A' + byte(i%26)}) }

const countries = 60

// random is a source that does not depend on what was taken from others.
func random(seed, stream int) *rand.Rand { return rand.New(rand.NewPCG(uint64(seed), uint64(stream))) }

// commands are the changes that make the project, to be applied at once.
func (w workload) commands() []any {
	r := random(1, w.features)
	commands := []any{
		object{"command": "create_environment", "key": environment, "name": "Production", "client_key": w.clientKey()},
	}
	for i := range w.segments {
		kind := []string{"ALL", "ANY"}[r.IntN(2)]
		conditions := make([]any, 1+r.IntN(5))
		for j := range conditions {
			conditions[j] = condition(r)
		}
		commands = append(commands, object{
			"command": "create_segment", "key": fmt.Sprintf("segment_%03d", i), "name": fmt.Sprintf("Segment %d", i),
			"rules": []any{object{"type": "ALL", "rules": []any{object{"type": kind, "conditions": conditions}}}},
		})
	}
	for i := range w.features {
		f := object{"command": "create_feature", "key": featureKey(i), "description": "a feature of the workload", "default_enabled": i%3 > 0}
		if i%10 >= 5 {
			f["initial_value"] = fmt.Sprintf("the value %02d", i%100)
		}
		if i%10 >= 8 {
			f["variants"] = []any{
				object{"key": "a", "value": "the value of variant a", "weight": 30},
				object{"key": "b", "value": "the value of variant b", "weight": 30},
			}
		}
		commands = append(commands, f)
		if i%5 >= 3 {
			continue
		}
		for _, s := range r.Perm(w.segments)[:1+r.IntN(3)] {
			commands = append(commands, object{
				"command": "set_segment_override", "environment": environment, "feature": featureKey(i), "segment": fmt.Sprintf("segment_%03d", s),
				"enabled": r.IntN(2) == 0,
			})
		}
	}
	return commands
}

func condition(r *rand.Rand) object {
	is := func(property, operator, value string) object {
		return object{"property": property, "operator": operator, "value": value}
	}
	switch r.IntN(6) {
	case 0:
		return is("plan", "EQUAL", fmt.Sprintf("plan-%d", r.IntN(4)))
	case 1:
		list := make([]string, 20)
		for i, c := range r.Perm(countries)[:len(list)] {
			list[i] = country(c)
		}
		return is("country", "IN", strings.Join(list, ","))
	case 2:
		return is("email", "CONTAINS", fmt.Sprintf("@example-%d.com", r.IntN(5)))
	case 3:
		return is("app_version", "GREATER_THAN_INCLUSIVE", fmt.Sprintf("%d.%d.0:semver", r.IntN(6), r.IntN(10)))
	case 4:
		return is("", "PERCENTAGE_SPLIT", fmt.Sprint(r.IntN(101)))
	default:
		return is("age", "GREATER_THAN", fmt.Sprint(r.IntN(90)))
	}
}

// trait is one of an identity's.
type trait struct {
	Key   string `json:"trait_key"`
	Value any    `json:"trait_value"`
}

// traits are those of the i-th identity.
func traits(i int) []trait {
	r := random(2, i)
	return []trait{
		{"plan", fmt.Sprintf("plan-%d", r.IntN(4))},
		{"country", country(r.IntN(countries))},
		{"email", fmt.Sprintf("%s@example-%d.com", identifier(i), r.IntN(5))},
		{"app_version", fmt.Sprintf("%d.%d.%d", r.IntN(6), r.IntN(10), r.IntN(20))},
		{"age", r.IntN(90)},
		{"beta", r.IntN(2) == 0},
		{"spent", float64(r.IntN(10000))/100 + 0.001},
		{"orders", r.IntN(50)},
	}
}

// identity is the i-th as SDKs send it.
func identity(i int) object { return object{"identifier": identifier(i), "traits": traits(i)} }

// override is the command for the override of the i-th identity.
func override(i int) object {
	return object{
		"command": "set_identity_override", "environment": environment, "feature": featureKey(i % 100), "identifier": identifier(i), "enabled": i%200 < 100,
	}
}

// identify are the requests of SDKs for all flags, traits included.
func (w workload) identify() [][]byte {
	messages := make([][]byte, w.identities)
	for i := range messages {
		messages[i] = message("POST", "/api/v1/identities/", w.headers(), text(identity(i)))
	}
	return messages
}

// identifyStored are the same by identifier alone.
func (w workload) identifyStored() [][]byte {
	messages := make([][]byte, w.identities)
	for i := range messages {
		messages[i] = message("GET", "/api/v1/identities/?identifier="+identifier(i), w.headers(), "")
	}
	random(3, 0).Shuffle(len(messages), func(i, j int) { messages[i], messages[j] = messages[j], messages[i] })
	return messages
}

// identifyChanged are requests each of which brings a new value of one trait.
func (w workload) identifyChanged() func([]byte, int) []byte {
	const room = "1000000000" // the value has ten digits, so that all bodies of an identity are equally long
	before, after := make([]string, w.identities), make([]string, w.identities)
	for i := range before {
		all := traits(i)
		all[len(all)-1].Value = json.RawMessage(room)
		whole := string(message("POST", "/api/v1/identities/", w.headers(), text(object{"identifier": identifier(i), "traits": all})))
		before[i], after[i], _ = strings.Cut(whole, room)
	}
	return func(b []byte, n int) []byte {
		i := n % w.identities
		return append(fmt.Appendf(append(b, before[i]...), "%d", 1_000_000_000+n), after[i]...)
	}
}

// evaluateOne are OFREP's requests for one flag: another for each identity.
func (w workload) evaluateOne() [][]byte {
	messages := make([][]byte, w.identities)
	for i := range messages {
		context := object{"targetingKey": identifier(i)}
		for _, t := range traits(i) {
			context[t.Key] = t.Value
		}
		messages[i] = message("POST", "/ofrep/v1/evaluate/flags/"+featureKey(i%w.features), []string{"X-API-Key: " + w.clientKey()}, text(object{"context": context}))
	}
	return messages
}

func (w workload) headers() []string { return []string{"X-Environment-Key: " + w.clientKey()} }

func text(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // of maps and scalars: cannot fail
	}
	return string(b)
}
