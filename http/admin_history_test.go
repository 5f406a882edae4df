package httpapi_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"reflect"
	"regexp"
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
		"project=shop&object=feature:*&from=" + at(state):           {rolled, other, state},
		"project=shop&object=segment:*&from=" + at(state):           {rolled, rules},
		"project=shop&object=state:*&from=" + at(state):             {rolled, other, state},
		"project=shop&object=state:test/*&from=" + at(state):        {other},
		"project=shop&object=segment_pin:*":                         {rolled},
		"project=shop&object=variants_pin:*":                        {},
		"project=bank&object=feature:*":                             {},
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
		"project=shop&object=feature:check*": "object", "project=shop&object=state:*/checkout": "object", "object=feature:*": "project",
		"environment=live": "project", "object=segment:west": "project", "affects=feature:checkout&project=shop": "environment", "cursor=MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM": "cursor",
	} {
		a.ask(call{method: "GET", path: "/admin/v1/audit?" + query, status: 400, contains: fmt.Sprintf(`"field":%q`, field)})
	}
	for _, query := range []string{"object=feature:moon", "object=state:moon/*", "environment=moon", "environment=live&affects=feature:moon"} {
		a.ask(call{method: "GET", path: "/admin/v1/audit?project=shop&" + query, status: 404, contains: "the history has nothing about ... moon"})
	}
	// A filter that selects nothing by mistake is no filter.
	for query, field := range map[string]string{
		"q=": "q", "q=!!!": "q", "q=%00": "q", "q=a": "q", "reason=---": "reason", "reason=": "reason", "ticket=": "ticket", "ticket=%20%20": "ticket", "actor=": "actor", "token=": "token",
		"client=": "client", "client=/": "client", "actor_kind=robot": "actor_kind", "change_request=": "change_request", "correlation_id=": "correlation_id", "object=": "object",
		"project=": "project", "limit=": "limit", "project=shop&project=bank": "project", "q=lovelace&q=mexico": "q", "actor=a&token=b": "token", "from=": "from",
	} {
		for _, path := range []string{"/admin/v1/audit?", "/admin/v1/audit/export?"} {
			a.ask(call{method: "GET", path: path + query, status: 400, contains: fmt.Sprintf(`"field":%q`, field)})
		}
	}
	for _, path := range []string{"/admin/v1/access-log?actor=", "/admin/v1/access-log?actor=a&actor=b", P + "/features?as_of=", P + "/features?tag=a&tag=b"} {
		a.ask(call{method: "GET", path: path, status: 400, contains: `"type":"urn:flagledger:problem:malformed"`})
	}
	if got := a.ask(call{method: "DELETE", path: E + "/features/checkout/segment-overrides/west?reason=a&reason=b", status: 400}); !strings.Contains(got.body, `"field":"reason"`) {
		t.Errorf("two reasons: %s", got.body)
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
		{"GET", P + "/segments/west", "", "", "", 200, `"revision":2 ... "pinned_in":["live"]`},
		{"GET", P + "/segments/west?as_of=position:" + strconv.FormatUint(before, 10), "", "", "", 200, `"pinned_in":[]`},
		{"GET", P + "/segments/west/usages?as_of=position:" + strconv.FormatUint(before, 10), "", "", "", 200, `"environment":"live","feature":"checkout"`},
		{"GET", P + "/features/search", "", "", "", 200, `"variants_pinned_in":[]`},
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

// Somebody who is supplied counts once, also where he is stored, with the traits that are given, or else the stored ones.
func TestAdminImpactOfSupplied(t *testing.T) {
	a := newAdmin(t)
	a.openShop()
	a.ask(call{method: "PUT", path: E + "/features/banner/identity-overrides/ada", body: `{"enabled":true}`, status: 200})
	a.ask(call{method: "POST", path: P + "/changes?dry_run=true", status: 200, contains: `"sampled":2,"affected":2`,
		body: `{"commands":[{"command":"set_feature_state","environment":"live","feature":"checkout","value":"one page"}],"impact":{"identities":[{"identifier":"ada"},{"identifier":"bob","traits":{"country":"FR"}}]}}`})
	a.ask(call{method: "POST", path: P + "/changes?dry_run=true", status: 200, contains: `"sampled":1,"affected":0`,
		body: `{"commands":[{"command":"set_feature_state","environment":"live","feature":"checkout","value":"one page"}],"impact":{"identities":[{"identifier":"ada","traits":{"country":"US"}}]}}`})
}

// Features that would come or go are part of what somebody would get.
func TestAdminImpactOfFeatures(t *testing.T) {
	a := newAdmin(t)
	a.openShop()
	const who = `"impact":{"identities":[{"identifier":"ada","traits":{"country":"US"}},{"identifier":"bob"}]}`
	a.run([]call{
		{"POST", P + "/changes?dry_run=true", "", "", `{"commands":[{"command":"create_feature","key":"new","default_enabled":true,"initial_value":"hello"}],` + who + `}`, 200,
			`"environment":"live","sampled":2,"affected":2,"flips":[{"feature":"new","from":null,"to":{"enabled":true,"value":"hello","reason":"DEFAULT"},"count":2,"examples":["ada","bob"]}]`},
		{"POST", P + "/changes?dry_run=true", "", "", `{"commands":[{"command":"remove_segment_override","environment":"live","feature":"checkout","segment":"west"},{"command":"delete_feature","feature":"checkout"}],` + who + `}`, 200,
			`"environment":"live","sampled":2,"affected":2,"flips":[{"feature":"checkout","from":{"enabled":true,"value":"paypal","reason":"TARGETING_MATCH; segment=Western users","segment":"west"},"to":null,"count":1,"examples":["ada"]} ... "value":"classic","reason":"DEFAULT"},"to":null,"count":1,"examples":["bob"]`},
		{"DELETE", P + "/features/banner?reason=gone", "", "", "", 204, ""},
		{"POST", E + "/rollback", "", "", `{"version":5,"restore_deleted":true,"dry_run":true,` + who + `}`, 200, `"affected":2,"flips":[{"feature":"banner","from":null,"to":{"enabled":false,"value":null,"reason":"DEFAULT"},"count":2`},
	})
}

// The cases of a feature tell what they leave out; one about an environment that is gone is not said to hold; and a token sees no more of them
// than of the environments. A rollback's plan shows what it would break.
func TestAdminFeatureCoverage(t *testing.T) {
	a := newAdmin(t)
	a.openShop()
	a.token("live only", `{"role":"viewer","project":"shop","environment":"live"}`)
	const tests = P + "/features/checkout/tests"
	a.run([]call{
		{"GET", tests, "", "", "", 200, `"uncovered":[{"environment":"live","by":"segment_override","segment":"west"},{"environment":"live","by":"environment"},{"environment":"test","by":"environment"}]`},
		{"PUT", E + "/features/checkout/identity-overrides/qa", "", "", `{"value":"for qa"}`, 200, ""},
		{"GET", tests, "", "", "", 200, `"uncovered":[{"environment":"live","by":"identity_override"},`},
		{"PUT", tests, "", "", `{"cases":[{"name":"qa","environment":"live","identifier":"qa","value":"for qa"},{"name":"west","environment":"live","traits":{"country":"CA"},"value":"paypal"},{"name":"test","environment":"test","enabled":true}]}`, 200,
			`"failures":[],"uncovered":[{"environment":"live","by":"environment"}]`},
		{"GET", P + "/features/search/tests", "", "", "", 200, `{"environment":"live","by":"environment"},{"environment":"live","by":"environment","variant":"grid"},{"environment":"live","by":"environment","variant":"list"},{"environment":"live","by":"environment","variant":"control"}`},
		{"PATCH", E + "/features/checkout", "", "", `{"value":"one page"}`, 200, ""},
		{"DELETE", E + "/features/checkout/identity-overrides/qa?reason=done", "", "", "", 409, `case \"qa\": in live the value should be \"for qa\" and is \"one page\"`},
		{"POST", E + "/rollback", "", "", `{"version":1,"dry_run":true}`, 200, `"plan_hash":" ... "broken_tests":[{"field":"feature:checkout","detail":"case \"qa\": in live ... "impact":`},
		{"POST", E + "/rollback", "", "", `{"version":1,"plan_hash":"$plan_hash","reason":"all of it"}`, 409, `send \"override_tests\": true`},
		{"DELETE", E + "/identities/qa?reason=forget", "", "", "", 204, ""}, // which nothing stands in the way of
		{"GET", tests, "", "", "", 200, `"failures":[{"name":"qa","detail":"in live the value should be`},
		{"DELETE", P + "/environments/test?reason=enough", "", "", "", 204, ""},
		{"GET", tests, "", "", "", 200, `"skipped":[{"name":"test","detail":"there is no environment \"test\" any more"}]`},
	})
	if got := a.ask(call{method: "GET", path: tests, token: "live only", status: 200}).body; strings.Contains(got, `"test"`) {
		t.Errorf("a token for live alone sees %s", got)
	}
}

// Lists of versions can be asked of the past, too; of a comparison the latest is then that; usage is no history. Overrides show where their segments are pinned,
// and what a feature depended on shows the commits that made it so.
func TestAdminVersionsAsOf(t *testing.T) {
	a := newAdmin(t)
	a.openShop()
	var environment struct{ Version uint64 }
	a.get(E, &environment)
	v := environment.Version
	a.run([]call{
		{"PATCH", P + "/segments/west", "", "", `{"rules":[{"field":"country","operator":"in","values":["MX"]}]}`, 200, ""},
		{"POST", E + "/rollback", "", "", fmt.Sprintf(`{"version":%d,"plan_hash":"any","reason":"too early"}`, v), 200, ""},
		{"GET", fmt.Sprintf("%s/versions?limit=1&as_of=%d", E, v), "", "", "", 200, fmt.Sprintf(`{"items":[{"version":%d,`, v)},
		{"GET", fmt.Sprintf("%s/versions?limit=1&as_of=latest", E), "", "", "", 200, fmt.Sprintf(`{"items":[{"version":%d,`, v+2)},
		{"GET", fmt.Sprintf("%s/segments/west?as_of=live@%d", P, v), "", "", "", 200, `"revision":1`},
		{"GET", P + "/segments/west?as_of=live@latest", "", "", "", 200, `"revision":2`},
		{"GET", P + "/segments/west?as_of=moon@1", "", "", "", 404, `there is no environment \"moon\"`},
		{"GET", P + "/segments/west?as_of=1", "", "", "", 400, `write production@1`},
		{"GET", fmt.Sprintf("%s/versions/%d?as_of=%d", E, v, v), "", "", "", 200, fmt.Sprintf(`"version":%d,`, v)},
		{"GET", fmt.Sprintf("%s/versions/%d?as_of=%d", E, v+1, v), "", "", "", 404, fmt.Sprintf("version %d was not there yet", v+1)},
		{"GET", fmt.Sprintf("%s/diff?from=live@%d..test@latest", E, v), "", "", "", 200, fmt.Sprintf(`{"from":{"environment":"live","version":%d, ... "to":{"environment":"test",`, v)},
		{"GET", fmt.Sprintf("%s/diff?from=1&as_of=%d", E, v), "", "", "", 200, fmt.Sprintf(`"to":{"environment":"live","version":%d,`, v)},
		{"GET", E + "/features/checkout/analytics?as_of=1", "", "", "", 400, `there is no parameter \"as_of\" here`},
		{"GET", E + "/features/checkout", "", "", "", 200, `"segment":"west" ... "pinned_revision":1`},
		{"GET", E + "/features", "", "", "", 200, `"segment":"west" ... "pinned_revision":1`},
		{"GET", "/admin/v1/audit?project=shop&environment=live&affects=feature:checkout&limit=1", "", "", "", 200, `"effective":{"before":{"state":`},
	})
	if got := a.ask(call{method: "GET", path: fmt.Sprintf("%s/features?as_of=%d", E, v), status: 200}).body; strings.Contains(got, "pinned") {
		t.Errorf("before the rollback something is pinned: %s", got)
	}
	got := a.ask(call{method: "GET", path: "/admin/v1/audit?project=shop&environment=live&affects=feature:checkout", status: 200}).body
	if strings.Contains(got, `"changed":{"position":0`) || strings.Contains(got, "0001-01-01") {
		t.Errorf("something was changed before the beginning of time: %s", got)
	}
}

// Cases are run as of the past, too.
func TestAdminTestsOfThePast(t *testing.T) {
	a := newAdmin(t)
	a.openShop()
	const tests = P + "/features/checkout/tests"
	set := a.ask(call{method: "PUT", path: tests, body: `{"cases":[{"name":"everybody","environment":"live","value":"classic"}]}`, status: 200, contains: `"failures":[]`})
	broken := a.ask(call{method: "PATCH", path: E + "/features/checkout", body: `{"value":"one page","override_tests":true,"reason":"on purpose"}`, status: 200})
	a.ask(call{method: "GET", path: tests, status: 200, contains: `"failures":[{"name":"everybody"`})
	a.ask(call{method: "GET", path: tests + "?as_of=position:" + broken.header.Get("Flagledger-Position"), status: 200, contains: `"failures":[{"name":"everybody"`})
	a.ask(call{method: "GET", path: tests + "?as_of=position:" + set.header.Get("Flagledger-Position"), status: 200, contains: `"failures":[]`})
}

// What is asked wrongly of the past is refused, with the place and what there is, and nothing is recorded.
func TestAdminPastRefuses(t *testing.T) {
	a := newAdmin(t)
	a.openShop()
	var environment struct{ Version uint64 }
	a.get(E, &environment)
	before := a.views.Position()
	future := environment.Version + 1
	newest := fmt.Sprintf("there is no version %d of this environment; the newest is %d", future, environment.Version)
	const versions = `versions are 1, 2, 3 ...`
	const notATime = `is no version, time (2026-05-03T14:02:00Z), position:42 or latest`
	const rollback, audit = E + "/rollback", "/admin/v1/audit?project=shop&"
	calls := []call{
		{"POST", rollback, "", "", `{"plan_hash":"any","reason":"r"}`, 422, fmt.Sprintf(`name the version to go back to, 1 to %d ... "field":"version"`, environment.Version)},
		{"POST", rollback, "", "", `{"version":1,"to":"1","plan_hash":"any","reason":"r"}`, 400, `"field":"to"`},
		{"POST", rollback, "", "", `{"version":1,"plan_hash":"any"}`, 422, `"field":"reason"`},
		{"POST", rollback, "", "", `{"version":1,"reason":"r"}`, 422, `"field":"plan_hash"`},
		{"POST", rollback, "", "", `{"version":1,"reason":"r","plan_hash":"0000"}`, 409, `"field":"plan_hash"`},
		{"POST", rollback, "", "If-Match: \"1\"", `{"version":1,"reason":"r","plan_hash":"any"}`, 412, `"field":"If-Match"`},
		{"POST", P + "/undo", "", "If-Match: \"1\"", fmt.Sprintf(`{"position":%d,"reason":"r","plan_hash":"any"}`, before), 412, `"field":"If-Match"`},
		{"POST", rollback, "", "", `{"version":1,"dry_run":true,"features":["moon"]}`, 404, `there is no feature \"moon\", neither now nor at version 1`},
		{"POST", rollback, "", "", `{"version":1,"dry_run":true,"segments":["moon"]}`, 404, `there was no segment \"moon\" at version 1`},
		{"POST", P + "/undo", "", "", `{"dry_run":true}`, 422, `say what to undo`},
		{"POST", P + "/undo", "", "", `{"position":99,"dry_run":true}`, 404, fmt.Sprintf("there is no commit at position 99; the newest is %d", before)},
		{"POST", P + "/undo", "", "", `{"position":1,"dry_run":true}`, 404, "not one of this project"},
		{"POST", P + "/undo", "", "", `{"actor":"nobody","dry_run":true}`, 404, "no commit"},
		{"POST", P + "/undo", "", "", `{"from":"yesterday","dry_run":true}`, 400, `"field":"from"`},
		{"POST", P + "/undo", "", "", `{"from":"2026-05-04T00:00:00Z","to":"2026-05-03T00:00:00Z","dry_run":true}`, 400, `2026-05-04T00:00:00Z is not before 2026-05-03T00:00:00Z`},
		{"GET", E + "/versions/0", "", "", "", 400, versions},
		{"GET", E + "/versions/last", "", "", "", 400, versions},
		{"GET", E + "/versions/01", "", "", "", 400, versions},
		{"GET", "/admin/v1/audit/01", "", "", "", 400, "is not a position"},
		{"GET", audit + "from=2026-05-03T14:02:00,5Z", "", "", "", 400, `"field":"from"`},
		{"POST", E + "/evaluate", "", "", `{"identifier":"ada","as_of":""}`, 400, `as_of has no value: leave it out, or say which`},
		{"POST", E + "/evaluate", "", "", `{"identifier":"ada","as_of":" "}`, 400, `"field":"as_of"`},
		{"POST", E + "/evaluate", "", "", `{"identifier":"ada","as_of":null}`, 200, `"traits_from":`},
		{"GET", fmt.Sprint(E, "/versions/", future), "", "", "", 404, newest},
		{"GET", audit + "object=moon:west", "", "", "", 400, `\"moon\" is not a kind of object; there are project, token, environment, feature, segment, context, segment_tests, feature_tests, and in an environment sdk_key, state, overrides, identity, segment_pin, variants_pin`},
		{"GET", audit + "object=segment:moon", "", "", "", 404, `the history has nothing about object \"segment:moon\"`},
		{"GET", audit + "object=state:checkout", "", "", "", 400, `kind:environment/key`},
		{"GET", audit + "environment=moon", "", "", "", 404, `"field":"environment"`},
		{"GET", audit + "environment=live&affects=feature:moon", "", "", "", 404, `the history has nothing about feature \"moon\" ... "field":"affects"`},
		{"GET", audit + "type=segment.changed", "", "", "", 400, `\"segment.changed\" is not a type of event; there are context.removed.v1, `},
		{"GET", audit + "source=fax", "", "", "", 400, `\"fax\" is not a source; there are api, cli, console, rollback, `},
		{"GET", audit + "from=2026-05-04T00:00:00Z&to=2026-05-03T00:00:00Z", "", "", "", 400, `"field":"from"`},
		{"GET", "/admin/v1/access-log?from=2026-05-04T00:00:00Z&to=2026-05-03T00:00:00Z", "", "", "", 400, `"field":"from"`},
		{"GET", "/admin/v1/audit/0", "", "", "", 404, fmt.Sprintf("there is no commit at position 0; the newest is %d", before)},
		{"POST", "/admin/v1/tokens", "", "", `{"name":"CI","grants":[{"role":"editor","project":"shop"},{"role":"editor","project":"moon"}]}`, 422, `there is no project \"moon\" ... "field":"grants[1].project"`},
		{"POST", "/admin/v1/tokens", "", "", `{"name":"CI","grants":[{"role":"editor","project":"shop","environment":"moon"}]}`, 422, `there is no environment \"moon\" in project \"shop\" ... "field":"grants[0].environment"`},
		// To go back to where one is, is no mistake.
		{"POST", rollback, "", "", fmt.Sprintf(`{"version":%d,"plan_hash":"any","reason":"r"}`, environment.Version), 200, `"recorded":false ... "changes":[] ... "warnings":[]`},
		{"POST", rollback, "", "", `{"to":"latest","dry_run":true}`, 200, `"recorded":false ... "changes":[]`},
		// A time may lie far away.
		{"GET", audit + "to=9999-12-31T00:00:00Z&limit=1", "", "", "", 200, fmt.Sprintf(`"position":%d,`, before)},
		{"GET", audit + "from=9999-12-31T00:00:00Z", "", "", "", 200, `{"items":[]}`},
		{"GET", audit + "from=0001-01-02T00:00:00Z&limit=1", "", "", "", 200, fmt.Sprintf(`"position":%d,`, before)},
		{"GET", audit + "to=0001-01-02T00:00:00Z", "", "", "", 200, `{"items":[]}`},
	}
	for asked, want := range map[string]struct {
		status int
		detail string
	}{
		"0": {400, versions}, fmt.Sprint(future): {404, newest}, "18446744073709551616": {400, notATime}, "-1": {400, notATime}, "yesterday": {400, notATime},
		"2026-05-03": {400, notATime}, "2026-13-03T14:02:00Z": {400, notATime}, "01": {400, notATime}, "position:01": {400, "is not a position"}, "2026-05-03T14:02:00,5Z": {400, notATime}, "position:0": {400, `\"0\" is not a position`}, "position:x": {400, `\"x\" is not a position`},
		"position:99": {404, fmt.Sprintf("position 99 is in the future; the newest is %d", before)}, "2999-01-01T00:00:00Z": {422, "2999-01-01T00:00:00Z is in the future"},
		"9999-12-31T23:59:59Z": {422, "is in the future"}, "2020-01-01T00:00:00Z": {404, "nothing was recorded yet at 2020-01-01T00:00:00Z"}, "0001-01-01T00:00:00Z": {404, "nothing was recorded yet"},
		"position:1": {404, "did not exist at position 1"}, "position:2": {404, "the environment did not exist at position 2"},
	} {
		at := url.QueryEscape(asked)
		calls = append(calls,
			call{"POST", rollback, "", "", fmt.Sprintf(`{"to":%q,"plan_hash":"any","reason":"r"}`, asked), want.status, want.detail},
			call{"POST", E + "/evaluate", "", "", fmt.Sprintf(`{"identifier":"ada","as_of":%q}`, asked), want.status, want.detail},
			call{"GET", E + "/features?as_of=" + at, "", "", "", want.status, want.detail},
			call{"GET", E + "/diff?to=latest&from=" + at, "", "", "", want.status, want.detail},
			call{"GET", E + "/diff?from=latest&to=test@" + at, "", "", "", want.status, ""},
		)
	}
	a.run(calls)
	if after := a.views.Position(); after != before {
		t.Errorf("what was refused has led from position %d to %d", before, after)
	}

	// Somebody is faster than who looked at a plan.
	for _, plan := range []struct{ path, body string }{{rollback, fmt.Sprintf(`"version":%d`, environment.Version)}, {P + "/undo", `"position":$position`}} {
		a.ask(call{method: "PATCH", path: E + "/features/banner", body: `{"value":"new"}`, status: 200})
		a.last = map[string]any{"position": a.views.Position()}
		body := a.fill(plan.body)
		a.ask(call{method: "POST", path: plan.path, body: "{" + body + `,"dry_run":true}`, status: 200, contains: "plan_hash"})
		hash := a.last["plan_hash"]
		a.ask(call{method: "PATCH", path: E + "/features/banner", body: `{"enabled":true}`, status: 200})
		before := a.views.Position()
		a.ask(call{method: "POST", path: plan.path, body: fmt.Sprintf(`{%s,"plan_hash":"%v","reason":"as seen"}`, body, hash), status: 409, contains: `"field":"plan_hash"`})
		if after := a.views.Position(); after != before {
			t.Errorf("a stale plan of %s has led from position %d to %d", plan.path, before, after)
		}
		a.ask(call{method: "PATCH", path: E + "/features/banner", body: `{"enabled":false,"value":null}`, status: 200})
	}
}

// Who may see one environment alone is told of a commit in several what it did there, and by which events.
func TestAdminAuditOfMixedCommits(t *testing.T) {
	a := newAdmin(t)
	a.openShop()
	a.token("tester", `{"role":"auditor","project":"shop","environment":"test"}`)
	got := a.ask(call{method: "POST", path: P + "/changes", status: 200, body: `{"reason":"both","commands":[
		{"command":"set_feature_state","environment":"test","feature":"banner","enabled":true},
		{"command":"set_identity_override","environment":"live","feature":"banner","identifier":"ada","enabled":true}]}`})
	a.ask(call{method: "GET", path: "/admin/v1/audit/" + got.header.Get("Flagledger-Position"), status: 200, contains: `"types":["feature_state.set.v1","identity_override.set.v1"]`})
	told := a.ask(call{method: "GET", path: "/admin/v1/audit/" + got.header.Get("Flagledger-Position"), token: "tester", status: 200, contains: `"types":["feature_state.set.v1"],"versions":{"test":`})
	if regexp.MustCompile(`\b(live|ada)\b`).MatchString(told.body) { // ids have any letters up to f
		t.Errorf("the tester is told of live: %s", told.body)
	}
}

// What a feature evaluates to changes by more than what is done to it: by a segment, a pin, an identity. Each is told with the effect. A
// declaration of a trait that rules contradict is refused, also where they are pinned; see TestAdminAffectsOfContexts for what others do.
func TestAdminAuditOfEffects(t *testing.T) {
	a := newAdmin(t)
	a.openShop()
	a.ask(call{method: "PUT", path: E + "/features/checkout/segment-overrides/west", body: `{"value":"paypal"}`, status: 200})
	var environment struct{ Version uint64 }
	a.get(E, &environment)
	for _, one := range []struct {
		call
		effective string // "": none
	}{
		{call{"PATCH", P + "/segments/west", "", "", `{"rules":[{"type":"ALL","conditions":[{"property":"country","operator":"IN","value":"US,CA,MX"}]}]}`, 200, ""}, `"segments":{"west":[{ ... US,CA,MX`},
		{call{"PATCH", P + "/segments/west", "", "", `{"description":"all of them"}`, 200, ""}, ""},
		{call{"POST", E + "/rollback", "", "", fmt.Sprintf(`{"version":%d,"plan_hash":"any","reason":"too early"}`, environment.Version), 200, `"object":"segment_pin:live/west"`}, `"value":"US,CA"`},
		{call{"PATCH", P + "/segments/west", "", "", `{"rules":[{"type":"ALL","conditions":[{"property":"plan","operator":"EQUAL","value":"pro"}]}]}`, 200, ""}, ""},
		{call{"PUT", P + "/contexts/country", "", "", `{"type":"integer"}`, 409, "rules contradict this: segment west as pinned in live"}, ""},
		{call{"PUT", P + "/contexts/country", "", "", `{"type":"string"}`, 200, ""}, ""},
		{call{"DELETE", E + "/pins/segments/west", "", "", "", 204, ""}, `"plan"`},
		{call{"PATCH", P + "/environments/test/features/checkout", "", "", `{"value":"elsewhere"}`, 200, ""}, ""},
		{call{"PUT", E + "/features/checkout/identity-overrides/ada", "", "", `{"enabled":false}`, 200, ""}, `"identities":{ ... "feature":"checkout","enabled":false`},
		{call{"PUT", E + "/features/banner/identity-overrides/ada", "", "", `{"enabled":true}`, 200, ""}, ""},
	} {
		got := a.ask(one.call)
		position := got.header.Get("Flagledger-Position")
		newest := a.ask(call{method: "GET", path: "/admin/v1/audit?project=shop&environment=live&affects=feature:checkout&limit=1", status: 200, contains: one.effective})
		if found := strings.Contains(newest.body, `"position":`+position+`,"recorded_at"`); position != "" && found != (one.effective != "") {
			t.Errorf("%s at %s affects checkout: %t; %s", one.call, position, found, newest.body)
		}
	}
}
