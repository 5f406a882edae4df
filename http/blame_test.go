package httpapi_test

import (
	"fmt"
	"maps"
	"strconv"
	"testing"
)

// Each element goes back to the commit that made it what it is, and not to others that touched the same object: renames, other members,
// what came and went. Explain names those that decided.
func TestAdminBlame(t *testing.T) {
	a := newAdmin(t)
	a.openShop()
	at := map[uint64]string{} // positions by the name of the step
	steps := func(rows ...[4]string) {
		t.Helper()
		for _, row := range rows {
			got := a.send(call{method: row[1], path: row[2], body: row[3]})
			position, err := strconv.ParseUint(got.header.Get("Flagledger-Position"), 10, 64)
			if got.status > 299 || err != nil {
				t.Fatalf("%s: %d %s", row[0], got.status, got.body)
			}
			at[position] = row[0]
		}
	}
	type element struct {
		Element, Object string
		Value           any
		Position        uint64
	}
	named := func(all []element) map[string]string {
		found := map[string]string{}
		for _, el := range all {
			found[el.Element] = at[el.Position]
			if at[el.Position] == "" {
				found[el.Element] = fmt.Sprint(el.Position)
			}
		}
		return found
	}
	blame := func(query string, want map[string]string) {
		t.Helper()
		var page struct{ Items []element }
		a.get(E+"/features/search/blame"+query, &page)
		if got := named(page.Items); !maps.Equal(got, want) {
			t.Errorf("blame%s\n%v, want\n%v", query, got, want)
		}
	}
	explain := func(body string, want map[string]string) {
		t.Helper()
		a.ask(call{method: "POST", path: E + "/evaluate", body: `{"feature":"search","explain":true,` + body + `}`, status: 200})
		flag := a.last["flags"].([]any)[0].(map[string]any)
		var all []element
		decided, _ := flag["decided_by"].([]any)
		for _, one := range decided {
			el := one.(map[string]any)
			all = append(all, element{Element: el["element"].(string), Position: uint64(el["position"].(float64))})
		}
		if got := named(all); !maps.Equal(got, want) {
			t.Errorf("explain %s\n%v, want\n%v", body, got, want)
		}
	}

	const search, west = E + "/features/search", P + "/segments/west"
	rules := func(countries string) string {
		return `{"rules":[{"type":"ALL","conditions":[{"id":"c1","property":"country","operator":"IN","value":"` + countries + `"}]}]}`
	}
	steps(
		[4]string{"made", "PATCH", P + "/features/search", `{"description":"finds things"}`},
		[4]string{"enabled", "PATCH", search, `{"enabled":true}`},
		[4]string{"value", "PATCH", search, `{"value":"modern"}`},
		[4]string{"weights", "PATCH", search, `{"weights":{"grid":100}}`},
		[4]string{"off", "PATCH", search, `{"enabled":false}`},
		[4]string{"on again", "PATCH", search, `{"enabled":true}`},
		[4]string{"west", "PUT", search + "/segment-overrides/west", `{"enabled":true,"value":"west","weights":{}}`},
		[4]string{"beta", "PUT", search + "/segment-overrides/beta", `{"enabled":true,"value":"beta","weights":{},"place":1}`},
		[4]string{"reordered", "PUT", search + "/segment-overrides", `{"order":["beta","west"]}`},
		[4]string{"west disabled", "PUT", search + "/segment-overrides/west", `{"enabled":false}`},
		[4]string{"rules", "PATCH", west, rules("US,MX")},
		[4]string{"renamed", "PATCH", west, `{"name":"The West","description":"all of it"}`},
		[4]string{"variant", "PATCH", P + "/features/search", `{"variants":[{"key":"grid","value":"big grid","weight":30},{"key":"list","value":7,"weight":20}]}`},
		[4]string{"archived", "PATCH", P + "/features/search", `{"archived":true,"tags":["old"]}`},
	)
	created := fmt.Sprint(a.views.Position() - uint64(len(at)) - 4) // of the feature: openShop goes on with four more
	want := map[string]string{
		"segment override beta: enabled": "beta", "segment override beta: value": "beta", "segment override beta: weights": "beta",
		"segment override west: enabled": "west disabled", "segment override west: value": "west", "segment override west: weights": "west",
		"rules of segment beta": fmt.Sprint(a.views.Position() - uint64(len(at)) - 1), "rules of segment west": "rules", "order of segment overrides": "reordered",
		"enabled": "on again", "value": "value", "weights": "weights", "variant grid": "variant", "variant list": created,
		"archived": "archived", "server_key_only": created, "object_value": created,
	}
	blame("", want)
	var then struct{ Version uint64 }
	a.get(E, &then)
	before := a.views.Position()

	// Who decided, of all of them. Somebody in both segments gets the one or the other by their order.
	explain(`"identifier":"eve"`, map[string]string{
		"enabled": "on again", "weights": "weights", "variant grid": "variant", "rules of segment beta": want["rules of segment beta"], "rules of segment west": "rules",
	})
	explain(`"traits":{"country":"MX"}`, map[string]string{
		"segment override west: enabled": "west disabled", "segment override west: value": "west", "segment override west: weights": "west",
		"rules of segment beta": want["rules of segment beta"], "rules of segment west": "rules",
	})
	explain(`"traits":{"country":"MX","email":"eve@example.com"}`, map[string]string{
		"segment override beta: enabled": "beta", "segment override beta: value": "beta", "segment override beta: weights": "beta",
		"order of segment overrides": "reordered", "rules of segment beta": want["rules of segment beta"],
	})
	steps(
		[4]string{"ada", "PUT", search + "/identity-overrides/ada", `{"enabled":true,"variant":"list"}`},
		[4]string{"ada disabled", "PUT", search + "/identity-overrides/ada", `{"enabled":false,"variant":"list"}`},
		[4]string{"bob", "PUT", search + "/identity-overrides/bob", `{"enabled":true,"value":"bob's"}`},
	)
	explain(`"identifier":"ada"`, map[string]string{"identity override: enabled": "ada disabled", "identity override: variant": "ada", "variant list": created})
	explain(`"identifier":"bob"`, map[string]string{"identity override: enabled": "bob", "identity override: value": "bob"})

	// What was pinned goes back to what pinned it, and unpinned to what unpinned it. What others came and went is not the order.
	steps(
		[4]string{"rules again", "PATCH", west, rules("US")},
		[4]string{"variant again", "PATCH", P + "/features/search", `{"variants":[{"key":"grid","value":"huge grid","weight":30},{"key":"list","value":7,"weight":20}]}`},
		[4]string{"rolled back", "POST", E + "/rollback", fmt.Sprintf(`{"version":%d,"plan_hash":"any","reason":"too far"}`, then.Version)},
	)
	pinned := maps.Clone(want)
	delete(pinned, "rules of segment west")
	delete(pinned, "variant grid")
	delete(pinned, "variant list")
	pinned["pinned rules of segment west"], pinned["pinned variant grid"], pinned["pinned variant list"] = "rolled back", "rolled back", created
	blame("", pinned)
	blame(fmt.Sprintf("?as_of=position:%d", before), want)
	steps([4]string{"unpinned", "DELETE", E + "/pins/segments/west?reason=on", ""}, [4]string{"unpinned variants", "DELETE", E + "/pins/variants/search?reason=on", ""})
	want["rules of segment west"], want["variant grid"] = "unpinned", "unpinned variants"
	blame("", want)

	// A segment that comes and goes between the others does not set their order; one that stays does.
	a.ask(call{method: "POST", path: P + "/segments", body: `{"key":"north","rules":[{"type":"ALL","conditions":[{"property":"lat","operator":"GREATER_THAN","value":"60"}]}]}`, status: 201})
	steps(
		[4]string{"north", "PUT", search + "/segment-overrides/north", `{"enabled":true,"place":1}`},
		[4]string{"no north", "DELETE", search + "/segment-overrides/north?reason=enough", ""},
	)
	blame("", want)
}
