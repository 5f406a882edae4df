package httpapi_test

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// A request that is sent again with its Idempotency-Key gets its first answer, whatever was changed meanwhile; another request with the same
// key is refused. Each row builds on those before it.
func TestAdminRetry(t *testing.T) {
	a := newAdmin(t)
	a.openShop()
	const rules = `"rules":[{"type":"ALL","conditions":[{"property":"country","operator":"IN","value":"US,CA,MX"}]}]`
	disturb := 0
	for i, c := range []call{
		{method: "POST", path: "/admin/v1/projects", body: `{"key":"bank","name":"Bank"}`},
		{method: "PATCH", path: P, body: `{"description":"a shop"}`},
		{method: "POST", path: P + "/environments", body: `{"key":"qa"}`},
		{method: "PATCH", path: E, body: `{"description":"what customers see"}`},
		{method: "POST", path: E + "/clone", body: `{"key":"preview"}`},
		{method: "POST", path: P + "/features", body: `{"key":"new","variants":[{"key":"a","value":1,"weight":50}]}`},
		{method: "PATCH", path: P + "/features/new", body: `{"description":"a feature","variants":[{"key":"a","value":2,"weight":50}]}`},
		{method: "POST", path: P + "/segments", body: `{"key":"south",` + rules + `}`},
		{method: "PATCH", path: P + "/segments/west", body: `{` + rules + `}`},
		{method: "PUT", path: P + "/segments/west/tests", body: `{"cases":[{"name":"a","traits":{"country":"MX"},"member":true}]}`},
		{method: "PUT", path: P + "/contexts/plan", body: `{"type":"string"}`},
		{method: "PATCH", path: E + "/features/checkout", body: `{"value":"one page"}`},
		{method: "PUT", path: E + "/features/checkout/segment-overrides/south", body: `{"enabled":false}`},
		{method: "PUT", path: E + "/features/checkout/segment-overrides", body: `{"order":["south","west"]}`},
		{method: "PUT", path: E + "/features/checkout/identity-overrides/ada", body: `{"enabled":false}`},
		{method: "POST", path: P + "/changes", body: `{"commands":[{"command":"create_feature","key":"newer"},{"command":"set_feature_state","environment":"live","feature":"newer","enabled":true},{"command":"set_feature_state","environment":"test","feature":"newer","value":7}]}`},
		{method: "POST", path: P + "/undo", body: `{"position":$position,"plan_hash":"any","override_tests":true}`},
		{method: "DELETE", path: E + "/features/checkout/identity-overrides/ada"},
		{method: "DELETE", path: E + "/features/checkout/segment-overrides/south"},
		{method: "DELETE", path: E + "/identities/ada"},
		{method: "DELETE", path: P + "/contexts/plan"},
		{method: "DELETE", path: P + "/segments/south"},
		{method: "DELETE", path: P + "/features/new"},
		{method: "POST", path: E + "/rollback", body: `{"version":3,"plan_hash":"any","override_tests":true}`},
		{method: "DELETE", path: P + "/environments/qa"},
		{method: "DELETE", path: "/admin/v1/projects/bank"},
	} {
		c.header = fmt.Sprintf("Idempotency-Key: request %d", i)
		if c.body == "" {
			c.path += "?reason=once"
		} else {
			c.body = `{"reason":"once",` + c.body[1:]
		}
		c.body = a.fill(c.body) // what the retry must not fill with something else
		first := a.send(c)
		if first.status > 299 {
			t.Fatalf("%s answers %d %s", c, first.status, first.body)
		}
		a.check(c, first)

		disturb++
		a.send(call{method: "PATCH", path: P, body: fmt.Sprintf(`{"name":"Shop %d"}`, disturb)})
		a.send(call{method: "PATCH", path: E + "/features/banner", body: fmt.Sprintf(`{"value":%d}`, disturb)})
		before := a.views.Position()
		again := a.send(c)
		if again.status != first.status || again.body != first.body {
			t.Errorf("%s answers\n%d %s\nand again\n%d %s", c, first.status, first.body, again.status, again.body)
		}
		for _, name := range []string{"ETag", "Flagledger-Position"} {
			if got, want := again.header.Get(name), first.header.Get(name); got != want {
				t.Errorf("%s answers with %s %q, and again with %q", c, name, want, got)
			}
		}
		other := c
		if c.body == "" {
			other.path = strings.Replace(c.path, "once", "twice", 1)
		} else {
			other.body = strings.Replace(c.body, "once", "twice", 1)
		}
		gone := c.method == "DELETE" && a.send(call{method: "GET", path: strings.SplitN(c.path, "?", 2)[0]}).status == 404
		if got := a.send(other); !gone && (got.status != 422 || !strings.Contains(got.body, `"field":"Idempotency-Key"`)) {
			t.Errorf("%s with the key of another answers %d %s", other, got.status, got.body)
		}
		if after := a.views.Position(); after != before {
			t.Errorf("the retries of %s have led from position %d to %d", c, before, after)
		}
		a.last = map[string]any{"position": first.header.Get("Flagledger-Position")}
	}
	a.ask(call{method: "PATCH", path: P, header: "Idempotency-Key: " + strings.Repeat("k", 2001), body: `{"name":"a"}`, status: 422, contains: `"field":"Idempotency-Key"`})
	// A key belongs to its project.
	a.ask(call{method: "POST", path: "/admin/v1/projects", header: "Idempotency-Key: request 1", body: `{"key":"other"}`, status: 201})
}

// A person who was erased is not in the answer to a retry, and it does not make anybody up; nor when somebody of that name has come again.
func TestAdminRetryAfterErasure(t *testing.T) {
	a := newAdmin(t)
	a.openShop()
	set := call{method: "PUT", path: E + "/features/checkout/identity-overrides/ada", header: "Idempotency-Key: once", body: `{"enabled":false}`, status: 200}
	a.ask(set)
	a.ask(set)
	a.ask(call{method: "DELETE", path: E + "/identities/ada", status: 204})
	set.status, set.contains = 404, "the person has been erased since"
	a.ask(set)
	a.ask(call{method: "GET", path: E + "/identities/ada", status: 404})
	a.ask(call{method: "PUT", path: E + "/features/banner/identity-overrides/ada", body: `{"enabled":false}`, status: 200})
	a.ask(set)
}

// An ETag names the revision of a resource, and If-Match holds a change to it.
func TestAdminIfMatch(t *testing.T) {
	a := newAdmin(t)
	a.openShop()
	a.ask(call{method: "PUT", path: E + "/features/checkout/identity-overrides/ada", body: `{"enabled":false}`, status: 200})
	a.ask(call{method: "PUT", path: P + "/contexts/plan", body: `{"type":"string"}`, status: 200})
	for _, one := range []struct{ read, method, path, body string }{
		{P, "PATCH", P, `{"name":"Shop %d"}`},
		{E, "PATCH", E, `{"name":"Live %d"}`},
		{P + "/features/checkout", "PATCH", P + "/features/checkout", `{"description":"a %d"}`},
		{P + "/segments/west", "PATCH", P + "/segments/west", `{"name":"West %d"}`},
		{P + "/contexts/plan", "PUT", P + "/contexts/plan", `{"type":"string","description":"a %d"}`},
		{E + "/features/checkout", "PATCH", E + "/features/checkout", `{"value":"a %d"}`},
		{"", "PUT", E + "/features/checkout/segment-overrides/west", `{"value":"a %d"}`},
		{"", "PUT", E + "/features/checkout/identity-overrides/ada", `{"value":"a %d"}`},
		{P, "POST", P + "/changes", `{"commands":[{"command":"update_project","description":"a %d"}]}`},
	} {
		write := func(n int, ifMatch string, status int) reply {
			t.Helper()
			return a.ask(call{method: one.method, path: one.path, header: "If-Match: " + ifMatch, body: fmt.Sprintf(one.body, n), status: status})
		}
		first := write(1, "*", 200)
		tag := first.header.Get("ETag")
		if tag == "" || tag != strconv.Quote(first.header.Get("Flagledger-Position")) {
			t.Errorf("%s %s answers with ETag %s at position %s", one.method, one.path, tag, first.header.Get("Flagledger-Position"))
		}
		if one.read != "" {
			if got := a.ask(call{method: "GET", path: one.read, status: 200}).header.Get("ETag"); got != tag {
				t.Errorf("GET %s answers with ETag %s, the change before with %s", one.read, got, tag)
			}
		}
		next := write(2, tag, 200).header.Get("ETag")
		if next == tag {
			t.Errorf("%s %s keeps the ETag %s", one.method, one.path, tag)
		}
		before := a.views.Position()
		stale := write(3, tag, 412)
		if want := `"current_revision":` + strings.Trim(next, `"`); !strings.Contains(stale.body, want) {
			t.Errorf("%s %s with a stale revision answers %s, want %s", one.method, one.path, stale.body, want)
		}
		if same := write(2, next, 200); same.header.Get("ETag") != next {
			t.Errorf("%s %s without a difference answers with ETag %s, want %s", one.method, one.path, same.header.Get("ETag"), next)
		}
		if after := a.views.Position(); after != before {
			t.Errorf("%s %s: refused and empty changes have led from position %d to %d", one.method, one.path, before, after)
		}
		write(4, "W/"+next, 200)
	}
	a.ask(call{method: "DELETE", path: P + "/contexts/plan", header: `If-Match: "1"`, status: 412, contains: `context:plan is at revision`})
	a.ask(call{method: "DELETE", path: P + "/features/banner", header: `If-Match: "1"`, status: 412})
	a.ask(call{method: "GET", path: P + "/features/banner", status: 200})
}

// The position of a change is in its answer, and a read waits for the position that it asks for.
func TestAdminPositions(t *testing.T) {
	a := newAdmin(t)
	a.openShop()
	for i := range 50 {
		position := a.ask(call{method: "PATCH", path: E + "/features/checkout", body: fmt.Sprintf(`{"value":"%d"}`, i), status: 200}).header.Get("Flagledger-Position")
		got := a.ask(call{method: "GET", path: E + "/features/checkout", header: "Flagledger-Min-Position: " + position, status: 200, contains: fmt.Sprintf(`"value":"%d"`, i)})
		if at := got.header.Get("Flagledger-Position"); at != position {
			t.Errorf("read at position %s, after a change at %s", at, position)
		}
	}
	next := a.views.Position() + 1
	waiting := make(chan reply)
	other := &admin{t: t, url: a.url, secrets: a.secrets, asked: map[string]bool{}}
	go func() {
		waiting <- other.send(call{method: "GET", path: E + "/features/checkout", header: fmt.Sprintf("Flagledger-Min-Position: %d", next)})
	}()
	a.ask(call{method: "PATCH", path: E + "/features/checkout", body: `{"value":"waited for"}`, status: 200})
	if got := <-waiting; got.status != 200 || !strings.Contains(got.body, "waited for") {
		t.Errorf("who waits for position %d gets %d %s", next, got.status, got.body)
	}
	got := a.ask(call{method: "GET", path: P, header: "Flagledger-Min-Position: 99999", status: 503, contains: `position 99999 is not visible here yet`})
	if got.header.Get("Retry-After") == "" {
		t.Error("a position that is far away is answered without Retry-After")
	}
}

// Several commands are one change: all of it, or nothing.
func TestAdminChanges(t *testing.T) {
	a := newAdmin(t)
	a.openShop()
	before := a.views.Position()
	a.run([]call{
		{"POST", P + "/changes", "", "", `{"commands":[{"command":"create_feature","key":"a"},{"command":"create_feature","key":"checkout"},{"command":"create_feature","key":"b"}]}`, 409, `"field":"commands[1].key"`},
		{"POST", P + "/changes", "", "", `{"commands":[{"command":"create_feature","key":"a"},{"command":"delete_project"}]}`, 409, `"field":"commands[1]"`},
		{"POST", P + "/changes", "", "", `{"commands":[{"command":"delete_feature","feature":"moon"}]}`, 404, `"field":"commands[0].feature"`},
		{"GET", P + "/features/a", "", "", "", 404, ""},

		{"POST", P + "/changes", "", "", `{"dry_run":true,"commands":[{"command":"create_feature","key":"a"},{"command":"set_feature_state","environment":"live","feature":"a","enabled":true},{"command":"set_identity_override","environment":"live","feature":"a","identifier":"new person","enabled":false}]}`, 200,
			`"dry_run":true,"recorded":false ... "object":"feature:a","action":"created" ... "object":"state:live/a" ... "object":"identity:live/`},
		{"POST", P + "/changes?dry_run=true", "", "", `{"commands":[{"command":"create_feature","key":"checkout"}]}`, 409, ""},
		{"GET", P + "/features/a", "", "", "", 404, ""},
		{"GET", E + "/identities/new%20person", "", "", "", 404, ""},
	})
	if after := a.views.Position(); after != before {
		t.Fatalf("refused changes and dry runs have led from position %d to %d", before, after)
	}
	// What is made by one command is there for the next; the changes are told once for each object.
	a.run([]call{
		{"POST", P + "/changes", "", "", `{"reason":"spring","ticket":"SHOP-9","commands":[
			{"command":"create_feature","key":"a","variants":[{"key":"x","weight":10}]},
			{"command":"create_segment","key":"s","rules":[{"field":"plan","operator":"eq","values":["pro"]}]},
			{"command":"set_segment_override","environment":"live","feature":"a","segment":"s","enabled":true},
			{"command":"set_feature_state","environment":"live","feature":"a","enabled":true,"weights":{"x":100}},
			{"command":"create_environment","key":"qa"},
			{"command":"set_feature_state","environment":"qa","feature":"a","enabled":true}]}`, 200, `"recorded":true ... "object":"feature:a" ... "object":"segment:s" ... "object":"overrides:live/a" ... "object":"environment:qa" ... "object":"state:qa/a"`},
		{"GET", E + "/features/a", "", "", "", 200, `"enabled":true ... "weights":{"x":100} ... "segment":"s"`},
		{"GET", "/admin/v1/audit?project=shop&limit=1", "", "", "", 200, `"reason":"spring","ticket":"SHOP-9"`},
		// Asking for what already is records nothing.
		{"POST", P + "/changes", "", "", `{"commands":[{"command":"set_feature_state","environment":"qa","feature":"a","enabled":true}]}`, 200, `"recorded":false ... "changes":[]`},
	})
	if after := a.views.Position(); after != before+1 {
		t.Errorf("one change has led from position %d to %d", before, after)
	}
	if got := a.ask(call{method: "GET", path: "/admin/v1/audit?project=shop&limit=1", status: 200}); strings.Count(got.body, `"object":"state:live/a"`) != 1 {
		t.Errorf("the state in live is told %d times: %s", strings.Count(got.body, `"object":"state:live/a"`), got.body)
	}
}

// A list is read page by page, to its end, with each item once.
func TestAdminLists(t *testing.T) {
	a := newAdmin(t)
	a.openShop()
	var commands, keys []string
	for i := range 57 {
		keys = append(keys, fmt.Sprintf("f%03d", i))
		commands = append(commands, fmt.Sprintf(`{"command":"create_feature","key":"%s","tags":["t%d"]}`, keys[i], i%2),
			fmt.Sprintf(`{"command":"create_segment","key":"%s","rules":[{"field":"plan","operator":"eq","values":["pro"]}]}`, keys[i]),
			fmt.Sprintf(`{"command":"set_context","key":"%s","type":"string"}`, keys[i]),
			fmt.Sprintf(`{"command":"set_identity_override","environment":"live","feature":"banner","identifier":"%s"}`, keys[i]))
	}
	a.ask(call{method: "POST", path: P + "/changes", body: `{"commands":[` + strings.Join(commands, ",") + `]}`, status: 200})
	for i := range 12 {
		a.ask(call{method: "POST", path: "/admin/v1/projects", body: fmt.Sprintf(`{"key":"p%02d"}`, i), status: 201})
		a.ask(call{method: "PATCH", path: E + "/features/banner", body: fmt.Sprintf(`{"value":%d}`, i), status: 200})
		a.ask(call{method: "POST", path: E + "/keys", body: fmt.Sprintf(`{"name":"k%d","kind":"client"}`, i), status: 201})
		a.token(fmt.Sprintf("t%d", i), `{"role":"viewer"}`)
	}
	type item struct {
		Key, Feature, Identifier string
		ID                       any
		Position, Version        uint64
	}
	pages := func(path string, limit int) (all []string) {
		t.Helper()
		for cursor := ""; ; {
			var page struct {
				Items []item
				Next  string
			}
			sep := "?"
			if strings.Contains(path, "?") {
				sep = "&"
			}
			a.get(fmt.Sprintf("%s%slimit=%d%s", path, sep, limit, cursor), &page)
			if len(page.Items) == 0 || len(page.Items) > limit || page.Next != "" && len(page.Items) < limit {
				t.Errorf("%s: a page of %d items, of %d, next %q", path, len(page.Items), limit, page.Next)
			}
			for _, i := range page.Items {
				all = append(all, fmt.Sprint(i.Key, i.Feature, i.Identifier, i.ID, i.Position, i.Version))
			}
			if page.Next == "" {
				return all
			}
			cursor = "&cursor=" + url.QueryEscape(page.Next)
		}
	}
	for path, n := range map[string]int{
		"/admin/v1/projects": 13, "/admin/v1/tokens": 13, P + "/environments": 2, P + "/features": 60, P + "/features?tag=t1": 28, P + "/segments": 59,
		P + "/contexts": 57, E + "/features": 60, E + "/keys": 12, E + "/identities": 57, "/admin/v1/audit?project=shop": 34, "/admin/v1/audit?project=shop&object=state:live/banner": 13,
	} {
		whole := pages(path, 500)
		if len(whole) != n {
			t.Errorf("%s has %d items, want %d: %v", path, len(whole), n, whole)
		}
		if distinct := slices.Compact(slices.Sorted(slices.Values(whole))); len(distinct) != len(whole) {
			t.Errorf("%s has items twice: %v", path, whole)
		}
		for _, limit := range []int{1, 7, n} {
			if got := pages(path, limit); !slices.Equal(got, whole) {
				t.Errorf("%s in pages of %d is\n%v, as a whole it is\n%v", path, limit, got, whole)
			}
		}
	}
	if got := pages(E+"/versions", 5); len(got) == 0 || !slices.Equal(got, pages(E+"/versions", 500)) {
		t.Errorf("the versions in pages are %v", got)
	}
	var page struct{ Items []item }
	if a.get(P+"/features", &page); len(page.Items) != 50 {
		t.Errorf("a page without a limit has %d items, want 50", len(page.Items))
	}
}

// Whatever a person is called, their overrides are found by that name.
func TestAdminIdentifiers(t *testing.T) {
	a := newAdmin(t)
	a.openShop()
	identifiers := []string{
		"ada", "ada@example.com", "a/b", "/", "..", ".", "a/../b", "100%", "%2F", "a%2Fb", "a b", " ", "a+b", "a?b=c", "a#b", "a&b", "a:b;c=d", `"quoted"`, "\\",
		"日本語", "\u00e9", "e\u0301", "🦊", "a\tb", "identity-overrides", "features", strings.Repeat("x", 2000),
	}
	for i, identifier := range identifiers {
		at := url.PathEscape(identifier)
		if identifier == "." || identifier == ".." {
			at = strings.ReplaceAll(identifier, ".", "%2E")
		}
		a.ask(call{method: "PUT", path: E + "/features/checkout/identity-overrides/" + at, body: fmt.Sprintf(`{"value":%d}`, i), status: 200, contains: fmt.Sprintf(`"value":%d`, i)})
		var shown struct {
			Identifier string
			Overrides  []struct{ Value int }
		}
		a.get(E+"/identities/"+at, &shown)
		if shown.Identifier != identifier || len(shown.Overrides) != 1 || shown.Overrides[0].Value != i {
			t.Errorf("%q is shown as %+v", identifier, shown)
		}
	}
	var list struct{ Items []struct{ Identifier string } }
	a.get(E+"/identities?limit=500", &list)
	if len(list.Items) != len(identifiers) {
		t.Errorf("%d identities are listed, want %d", len(list.Items), len(identifiers))
	}
	for _, identifier := range identifiers {
		at := strings.ReplaceAll(url.PathEscape(identifier), ".", "%2E")
		a.ask(call{method: "DELETE", path: E + "/features/checkout/identity-overrides/" + at, status: 204})
		a.ask(call{method: "DELETE", path: E + "/identities/" + at, status: 204})
		a.ask(call{method: "GET", path: E + "/identities/" + at, status: 404})
	}
}

// Whose overrides go with an environment is told by their names, before and after.
func TestPersonsOfADeletedEnvironment(t *testing.T) {
	a := newAdmin(t)
	a.openShop()
	a.run([]call{
		{"POST", P + "/environments", "", "", `{"key":"qa"}`, 201, ""},
		{"PUT", P + "/environments/qa/features/checkout/identity-overrides/ada", "", "", `{"enabled":true}`, 200, ""},
		{"POST", P + "/changes", "", "", `{"commands":[{"command":"delete_environment","environment":"qa"}],"dry_run":true}`, 200, `"identity":"ada" ... of identity ada in qa`},
		{"POST", P + "/changes", "", "", `{"commands":[{"command":"delete_environment","environment":"qa"}]}`, 200, `"identity":"ada" ... of identity ada in qa`},
	})
}
