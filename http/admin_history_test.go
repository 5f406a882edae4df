package httpapi_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// An auditEntry is what the tests read of the history.
type auditEntry struct {
	Position   uint64
	RecordedAt time.Time `json:"recorded_at"`
	Time       time.Time
	CommitID   string `json:"commit_id"`
	Project    string
	Actor      struct{ Kind, ID, Name, Token string }
	Client     struct {
		IP        string
		UserAgent string `json:"user_agent"`
		RequestID string `json:"request_id"`
	}
	Source, Reason, Ticket string
	CorrelationID          string `json:"correlation_id"`
	Types                  []string
	Versions               map[string]uint64
	Changes                []struct {
		Object, Action, Identity, Sentence string
		Before, After                      map[string]any
		Differences                        []map[string]any
	}
}

// Every entry has who, when, why and the ticket, and for each object before and after: a create has a full after, a delete a full before, and
// what is in between begins where the last one ended. Each row makes one change of one kind of object.
func TestAdminAuditEntries(t *testing.T) {
	a := newAdmin(t)
	const rules = `"rules":[{"type":"ALL","conditions":[{"property":"country","operator":"IN","value":"US,CA"},{"property":"plan","operator":"EQUAL","value":"pro"}]}]`
	begin := time.Now()
	last := map[string]map[string]any{} // each object as it was left
	for i, row := range []struct {
		method, path, body string
		object             string // the one that the change is about; its end only, where the middle is random
		action, sentence   string
		has                []string // members that its image has at least
	}{
		{"POST", "/admin/v1/projects", `{"key":"shop","name":"Shop"`, "project:shop", "created", "Root created project shop", []string{"key", "name", "persist_traits"}},
		{"PATCH", P, `{"name":"The Shop"`, "project:shop", "changed", `name \"Shop\" to \"The Shop\"`, nil},
		{"POST", P + "/environments", `{"key":"live","client_key":"shop-live-client"`, "environment:live", "created", "Root created environment live", []string{"key", "client_key", "id"}},
		{"PATCH", E, `{"hide_disabled_flags":true`, "environment:live", "changed", "Root changed environment live", nil},
		{"POST", P + "/features", `{"key":"search","initial_value":"classic","variants":[{"key":"grid","value":"grid","weight":30}]`, "feature:search", "created", "Root created feature search", []string{"key", "initial_value", "variants"}},
		{"PATCH", P + "/features/search", `{"description":"how to search"`, "feature:search", "changed", "Root changed feature search", nil},
		{"POST", P + "/segments", `{"key":"west",` + rules, "segment:west", "created", "Root created segment west", []string{"key", "rules", "revision"}},
		{"PATCH", P + "/segments/west", `{"rules":[{"id":"r3","type":"ALL","conditions":[{"id":"c2","property":"plan","operator":"EQUAL","value":"pro"},{"id":"c1","property":"country","operator":"IN","value":"US,CA,MX"}]}]`, "segment:west", "changed", `moved condition 2 to place 1; changed condition 1`, nil},
		{"PUT", P + "/segments/west/tests", `{"cases":[{"name":"a","traits":{"country":"MX","plan":"pro"},"member":true}]`, "segment_tests:west", "created", "", []string{"cases"}},
		{"PUT", P + "/segments/west/tests", `{"cases":[]`, "segment_tests:west", "", "", nil},
		{"PUT", P + "/contexts/plan", `{"type":"string","description":"a"`, "context:plan", "created", "", []string{"type", "description"}},
		{"PUT", P + "/contexts/plan", `{"type":"string","description":"b"`, "context:plan", "changed", "", nil},
		{"DELETE", P + "/contexts/plan", "", "context:plan", "deleted", "", nil},
		{"PATCH", E + "/features/search", `{"enabled":true,"weights":{"grid":40}`, "state:live/search", "changed", "Root", nil},
		{"PUT", E + "/features/search/segment-overrides/west", `{"value":"west","weights":{}`, "overrides:live/search", "created", "Root added segment override west of search in live", []string{"list"}},
		{"PUT", E + "/features/search/segment-overrides/west", `{"enabled":false`, "overrides:live/search", "changed", "Root", nil},
		{"PUT", E + "/features/search/identity-overrides/ada", `{"variant":"grid"`, "identity:live/", "created", "ada", []string{"list"}},
		{"PUT", E + "/features/search/identity-overrides/ada", `{"enabled":false`, "identity:live/", "changed", "ada", nil},
		{"POST", E + "/keys", `{"name":"backend","kind":"server"`, "sdk_key:live/", "created", "Root created SDK key backend of live", []string{"id", "kind", "name", "active"}},
		{"PATCH", E + "/keys/$id", `{"active":false`, "sdk_key:live/", "changed", "Root", nil},
		{"DELETE", E + "/keys/$id", "", "sdk_key:live/", "deleted", "Root revoked SDK key backend of live", nil},
		{"POST", "/admin/v1/tokens", `{"name":"CI","grants":[{"role":"viewer"}]`, "token:", "created", "Root created token CI", []string{"id", "name", "grants"}},
		{"DELETE", "/admin/v1/tokens/$id", "", "token:", "deleted", "Root revoked token CI", nil},
		{"PATCH", P + "/features/search", `{"variants":[{"key":"grid","value":"big grid","weight":30}]`, "feature:search", "changed", "Root", nil},
		{"POST", E + "/rollback", `{"version":7,"plan_hash":"any"`, "variants_pin:live/search", "created", "Root pinned the variants of search in live", []string{"variants"}},
		{"DELETE", E + "/pins/variants/search", "", "variants_pin:live/search", "deleted", "Root", nil},
		{"PATCH", P + "/segments/west", `{` + rules, "segment:west", "changed", "Root", nil},
		{"POST", E + "/rollback", `{"version":8,"plan_hash":"any"`, "segment_pin:live/west", "created", "Root pinned segment west", []string{"rules", "revision"}},
		{"DELETE", E + "/pins/segments/west", "", "segment_pin:live/west", "deleted", "Root", nil},
		{"DELETE", E + "/features/search/segment-overrides/west", "", "overrides:live/search", "", "Root", nil},
		{"DELETE", P + "/segments/west", "", "segment:west", "deleted", "Root deleted segment west", nil},
		{"PUT", E + "/features/search/identity-overrides/ada", `{"enabled":true`, "identity:live/", "", "", nil},
		{"DELETE", E + "/features/search/identity-overrides/ada", "", "identity:live/", "", "", nil},
		{"DELETE", E + "/identities/ada", "", "identity:live/", "", "erased", nil},
		{"DELETE", P + "/features/search", "", "feature:search", "deleted", "Root deleted feature search", nil},
		{"DELETE", E, "", "environment:live", "deleted", "Root deleted environment live", nil},
		{"DELETE", P, "", "project:shop", "deleted", "Root deleted project shop", nil},
	} {
		reason, ticket := fmt.Sprintf("because %d", i), fmt.Sprintf("SHOP-%d", i)
		c := call{method: row.method, path: row.path, body: row.body, header: "User-Agent: tests/1.0|Correlation-Id: undertaking"}
		if c.body == "" {
			c.path += "?reason=" + url.QueryEscape(reason) + "&ticket=" + ticket
		} else {
			c.body += fmt.Sprintf(`,"reason":%q,"ticket":%q}`, reason, ticket)
		}
		remembered := a.last
		got := a.send(c)
		if got.status > 299 {
			t.Fatalf("%s answers %d %s", c, got.status, got.body)
		}
		if a.last = remembered; row.method == "POST" {
			a.check(c, got)
		}
		var e auditEntry
		a.lookUp("/admin/v1/audit/"+got.header.Get("Flagledger-Position"), &e)
		if e.Actor.Kind != "token" || e.Actor.Name != "Root" || e.Actor.ID == "" || e.Actor.Token != e.Actor.ID || e.Client.IP != "127.0.0.1" || e.Client.UserAgent != "tests/1.0" ||
			e.Client.RequestID != got.header.Get("X-Request-Id") || e.Reason != reason || e.Ticket != ticket || e.CorrelationID != "undertaking" || e.CommitID == "" || len(e.Types) == 0 {
			t.Errorf("%s: the entry is %+v", c, e)
		}
		if want := "api"; strings.Contains(row.path, "rollback") && e.Source != "rollback" || !strings.Contains(row.path, "rollback") && e.Source != want {
			t.Errorf("%s: the source is %s", c, e.Source)
		}
		for _, at := range []time.Time{e.Time, e.RecordedAt} {
			if at.Before(begin.Add(-time.Second)) || at.After(time.Now().Add(time.Second)) {
				t.Errorf("%s: it was recorded at %v", c, at)
			}
		}
		found := false
		for _, change := range e.Changes {
			if before := last[change.Object]; !reflect.DeepEqual(before, change.Before) {
				t.Errorf("%s: %s was left as\n%v\nand is before the change\n%v", c, change.Object, before, change.Before)
			}
			last[change.Object] = change.After
			want := map[string]string{"false true": "created", "true true": "changed", "true false": "deleted"}[fmt.Sprint(change.Before != nil, change.After != nil)]
			if want != "" && change.Action != want || change.Sentence == "" || change.Action == "changed" && len(change.Differences) == 0 {
				t.Errorf("%s: the change of %s, before %v, after %v, is told as %q %q %v", c, change.Object, change.Before, change.After, change.Action, change.Sentence, change.Differences)
			}
			if !strings.HasPrefix(change.Object, row.object) {
				continue
			}
			found = true
			if row.action != "" && change.Action != row.action || !strings.Contains(strconv.Quote(change.Sentence), row.sentence) {
				t.Errorf("%s: told as %s %q, want %s %s", c, change.Action, change.Sentence, row.action, row.sentence)
			}
			for _, member := range row.has {
				if _, there := change.After[member]; !there {
					t.Errorf("%s: %s is created as %v, without %s", c, change.Object, change.After, member)
				}
			}
		}
		if !found {
			t.Errorf("%s: no change of %s is told: %+v", c, row.object, e.Changes)
		}
	}
	for object, image := range last {
		if image != nil && !strings.HasPrefix(object, "token:") && !strings.HasPrefix(object, "segment_tests:") {
			t.Errorf("%s is left as %v, with the project gone", object, image)
		}
	}
}

// lookUp is get without a trace in the placeholders.
func (a *admin) lookUp(path string, out any) {
	a.t.Helper()
	remembered := a.last
	a.get(path, out)
	a.last = remembered
}

// The history is found by what one knows of it.
func TestAdminAuditFilters(t *testing.T) {
	a := newAdmin(t)
	a.openShop()
	a.token("Ada Lovelace", `{"role":"editor","project":"shop"}`)
	a.ask(call{method: "POST", path: "/admin/v1/projects", body: `{"key":"bank"}`, status: 201})
	change := func(token, method, path, body, header string) uint64 {
		t.Helper()
		got := a.ask(call{method: method, path: path, token: token, body: body, header: header, status: 200})
		position, err := strconv.ParseUint(got.header.Get("Flagledger-Position"), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return position
	}
	state := change("Ada Lovelace", "PATCH", E+"/features/checkout", `{"value":"one page","reason":"faster checkout for everybody","ticket":"SHOP-42"}`, "Correlation-Id: campaign")
	rules := change("Ada Lovelace", "PATCH", P+"/segments/west", `{"rules":[{"field":"country","operator":"in","values":["US","CA","MX"]}],"reason":"Mexico opens","ticket":"SHOP-43"}`, "Flagledger-Source: cli")
	other := change("", "PATCH", P+"/environments/test/features/checkout", `{"enabled":false,"reason":"Mexico is slow"}`, "Correlation-Id: campaign")
	rolled := change("", "POST", E+"/rollback", `{"version":5,"plan_hash":"any","reason":"too early","ticket":"SHOP-43"}`, "")

	var who struct{ ID string }
	got := a.ask(call{method: "GET", path: "/admin/v1/whoami", token: "Ada Lovelace", status: 200})
	if err := json.Unmarshal([]byte(got.body), &who); err != nil {
		t.Fatal(err)
	}
	at := func(position uint64) string {
		var e auditEntry
		a.get(fmt.Sprintf("/admin/v1/audit/%d", position), &e)
		return url.QueryEscape(e.RecordedAt.Format(time.RFC3339Nano))
	}
	for query, want := range map[string][]uint64{
		"project=shop&from=" + at(state):                            {rolled, other, rules, state},
		"project=shop&from=" + at(rules) + "&to=" + at(rolled):      {other, rules},
		"project=shop&environment=test&from=" + at(state):           {other},
		"project=shop&environment=live&from=" + at(state):           {rolled, rules, state},
		"project=shop&object=segment:west&from=" + at(state):        {rolled, rules},
		"project=shop&object=feature:checkout&from=" + at(state):    {rolled, other, state},
		"project=shop&object=state:live/checkout&from=" + at(state): {rolled, state},
		"actor=" + who.ID: {rules, state},
		"token=" + who.ID: {rules, state},
		"actor_kind=token&project=shop&from=" + at(state):          {rolled, other, rules, state},
		"type=segment.rules_set.v1":                                {rules},
		"type=feature_state.set.v1&project=shop&from=" + at(state): {rolled, other, state},
		"source=cli":                                   {rules},
		"source=rollback":                              {rolled},
		"ticket=SHOP-43":                               {rolled, rules},
		"ticket=SHOP-42&source=api":                    {state},
		"reason=mexico":                                {other, rules},
		"reason=mexico+opens":                          {rules},
		"reason=checkout+everybody":                    {state},
		"correlation_id=campaign":                      {other, state},
		"project=shop&q=lovelace":                      {rules, state},
		"q=lovelace+mexico":                            {rules},
		"q=SHOP-42":                                    {state},
		"ticket=SHOP-43&reason=mexico&actor=" + who.ID: {rules},
		"ticket=SHOP-42&reason=mexico":                 {},
		"actor=nobody":                                 {},
		"change_request=none":                          {},
		"project=shop&environment=live&affects=feature:checkout&from=" + at(state): {rolled, rules, state},
		"project=bank&limit=5": nil, // one, whichever
	} {
		var page struct{ Items []auditEntry }
		a.get("/admin/v1/audit?"+query, &page)
		var positions []uint64
		for _, e := range page.Items {
			positions = append(positions, e.Position)
		}
		if want == nil && len(positions) != 1 || want != nil && !slices.Equal(positions, want) {
			t.Errorf("%s finds %v, want %v", query, positions, want)
		}
	}
	for query, field := range map[string]string{
		"from=yesterday": "from", "to=1": "to", "object=segment": "object", "object=moon:west&project=shop": "object", "project=shop&affects=segment:west&environment=live": "affects",
		"environment=live": "project", "object=segment:west": "project", "affects=feature:checkout&project=shop": "environment", "cursor=MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM": "cursor",
	} {
		a.ask(call{method: "GET", path: "/admin/v1/audit?" + query, status: 400, contains: fmt.Sprintf(`"field":%q`, field)})
	}
}

// A rollback is looked at, carried out as it was looked at, and taken back.
func TestAdminRollback(t *testing.T) {
	a := newAdmin(t)
	a.openShop()
	var was struct {
		Version uint64
		Content json.RawMessage
	}
	var environment struct{ Version uint64 }
	a.get(E, &environment)
	content := func(version uint64) string {
		t.Helper()
		a.get(fmt.Sprintf("%s/versions/%d", E, version), &was)
		var plain any
		if err := json.Unmarshal(was.Content, &plain); err != nil {
			t.Fatal(err)
		}
		strip(plain)
		text, err := json.Marshal(plain)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	v := environment.Version
	then := content(v)
	a.run([]call{
		{"PATCH", E + "/features/checkout", "", "", `{"enabled":false,"value":"two pages"}`, 200, ""},
		{"PATCH", P + "/segments/west", "", "", `{"rules":[{"field":"country","operator":"in","values":["MX"]}]}`, 200, ""},
		{"PUT", E + "/features/search/segment-overrides/beta", "", "", `{"enabled":true}`, 200, ""},
		{"PUT", E + "/features/banner/identity-overrides/ada", "", "", `{"enabled":true}`, 200, ""},
	})
	now := content(v + 4)
	before := a.views.Position()
	testBefore := a.ask(call{method: "GET", path: P + "/environments/test/versions?limit=1", status: 200}).body

	body := func(format string, args ...any) string { return "{" + fmt.Sprintf(format, args...) + "}" }
	a.run([]call{
		{"POST", E + "/rollback", "", "", body(`"version":%d,"dry_run":true`, v), 200, `"recorded":false ... "object":"state:live/checkout" ... "object":"segment_pin:live/west" ... "impact":{"environments":[{"environment":"live"`},
		{"POST", E + "/rollback", "", "", body(`"version":%d,"dry_run":true`, v+4), 200, `"recorded":false ... "changes":[]`},
		{"POST", E + "/rollback", "", "", body(`"version":%d,"plan_hash":"any","reason":"nothing to do"`, v+4), 200, `"recorded":false ... "changes":[]`},
		{"POST", E + "/rollback", "", "", body(`"version":%d,"dry_run":true`, v+5), 404, fmt.Sprintf(`the newest is %d`, v+4)},
		{"POST", E + "/rollback", "", "", body(`"version":%d,"dry_run":true`, v), 200, ""},
	})
	if after := a.views.Position(); after != before {
		t.Errorf("looking at rollbacks, and one to the present, have led from position %d to %d", before, after)
	}
	seen := a.last["plan_hash"]
	a.run([]call{
		// Somebody is faster: the plan is another.
		{"PATCH", E + "/features/checkout", "", "", `{"value":"three pages"}`, 200, ""},
		{"POST", E + "/rollback", "", "", body(`"version":%d,"plan_hash":"%v","reason":"as seen"`, v, seen), 409, `"field":"plan_hash"`},
		{"PATCH", E + "/features/checkout", "", "", `{"value":"two pages"}`, 200, ""},
		{"POST", E + "/rollback", "", "", body(`"version":%d,"dry_run":true`, v), 200, ""},
		{"POST", E + "/rollback", "", "", body(`"version":%d,"plan_hash":"$plan_hash","reason":"as seen","ticket":"INC-1"`, v), 200, fmt.Sprintf(`"recorded":true ... "to_version":%d,"version":%d`, v, v+7)},
		{"GET", E + "/pins", "", "", "", 200, `"segments":[{"segment":"west","revision":1`},
		{"GET", P + "/segments/west/usages", "", "", "", 200, `"pinned_revision":1`},
		{"GET", P + "/segments/west", "", "", "", 200, `"revision":2`},
		{"GET", "/admin/v1/audit?project=shop&limit=1", "", "", "", 200, `"source":"rollback","reason":"as seen","ticket":"INC-1"`},
	})
	if got := content(v + 7); got != then {
		t.Errorf("rolled back, live is\n%s\nand was\n%s", got, then)
	}
	if testAfter := a.ask(call{method: "GET", path: P + "/environments/test/versions?limit=1", status: 200}).body; testAfter != testBefore {
		t.Errorf("the environment test has moved:\n%s\n%s", testBefore, testAfter)
	}
	a.ask(call{method: "POST", path: E + "/rollback", body: body(`"version":%d,"plan_hash":"any","reason":"and back"`, v+4), status: 200})
	if got := content(v + 8); got != now {
		t.Errorf("the rollback rolled back, live is\n%s\nand was\n%s", got, now)
	}
}

// strip leaves out of a content when and by which commit its parts were made, and whether rules are pinned.
func strip(node any) {
	switch node := node.(type) {
	case []any:
		for _, one := range node {
			strip(one)
		}
	case map[string]any:
		for _, name := range []string{"changed", "created", "pinned", "last_node", "seeds"} {
			delete(node, name)
		}
		for _, one := range node {
			strip(one)
		}
	}
}
