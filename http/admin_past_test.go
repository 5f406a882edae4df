package httpapi_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"
)

// What was deleted keeps its past, for those who have the right to it in the
// project, and also when its key is used again: then it is the time that tells
// which of the two is meant.
func TestAdminPastOfWhatIsGone(t *testing.T) {
	a := newAdmin(t)
	a.openShop()
	a.token("Auditor", `{"role":"auditor","project":"shop"}`)
	a.token("Viewer", `{"role":"viewer","project":"shop"}`)
	a.token("Live", `{"role":"editor","project":"shop","environment":"live"}`)
	var was struct{ Version uint64 }
	a.get(E, &was)
	then := a.views.Position()
	var e auditEntry
	a.get(fmt.Sprintf("/admin/v1/audit/%d", then), &e)
	thenTime := url.QueryEscape(e.RecordedAt.Format(time.RFC3339Nano))
	a.run([]call{
		{"DELETE", E + "/features/checkout/segment-overrides/west", "", "", "", 204, ""},
		{"DELETE", E + "?reason=moved", "", "", "", 204, ""},
	})
	gone := a.views.Position()
	asOf := func(what string) string { return fmt.Sprintf("as_of=position:%d", then) + what }
	const anyMore, none = `there is no environment \"live\" in project \"shop\" any more; as_of reads it as it was`, `there is no environment \"live\" in project \"shop\"`
	past := []call{
		{"GET", E + "?" + asOf(""), "Auditor", "", "", 200, fmt.Sprintf(`"key":"live" ... "version":%d`, was.Version)},
		{"GET", E + "/features/checkout?as_of=" + thenTime, "Auditor", "", "", 200, `"segment_overrides":[{ ... "value":"paypal"`},
		{"GET", E + "/features?" + asOf(""), "Viewer", "", "", 200, `"paypal"`},
		{"GET", E + "/keys?" + asOf(""), "", "", "", 200, `"items"`},
		{"GET", E + "/pins?" + asOf(""), "Auditor", "", "", 200, ``},
		{"GET", E + "/features/checkout/blame?" + asOf(""), "Auditor", "", "", 200, `"items":[{`},
		{"GET", E + "/versions?limit=1&" + asOf(""), "Auditor", "", "", 200, fmt.Sprintf(`"items":[{"version":%d,`, was.Version)},
		{"GET", fmt.Sprint(E, "/versions/", was.Version, "?", asOf("")), "Auditor", "", "", 200, `"paypal"`},
		{"GET", fmt.Sprint(E, "/diff?from=1&to=", was.Version, "&", asOf("")), "Auditor", "", "", 200, `"object":"feature:checkout"`},
		{"GET", fmt.Sprintf("%s/diff?from=test@latest&to=live@position:%d", P+"/environments/test", then), "Auditor", "", "", 200, `"object":"feature:checkout"`},
		{"POST", E + "/evaluate", "Viewer", "", fmt.Sprintf(`{"identifier":"ada","traits":{"country":"US"},"as_of":"position:%d"}`, then), 200, `"feature":"checkout" ... "value":"paypal"`},
		{"GET", "/admin/v1/audit?project=shop&environment=live&object=overrides:live/checkout", "Auditor", "", "", 200, `"items":[{`},
		{"GET", fmt.Sprintf("%s/features?as_of=position:%d", E, gone), "Auditor", "", "", 404, "did not exist at position"},
		{"POST", E + "/evaluate", "", "", fmt.Sprintf(`{"as_of":"position:%d"}`, gone), 404, "did not exist at position"},
	}
	a.run(past)
	a.run([]call{
		// As long as nobody has the key, also the numbers of its versions are the last one's.
		{"GET", fmt.Sprint(E, "/features?as_of=", was.Version), "Auditor", "", "", 200, `"paypal"`},
		{"GET", E + "/versions?limit=1", "Auditor", "", "", 200, fmt.Sprintf(`"items":[{"version":%d,`, was.Version+1)},
		{"GET", fmt.Sprint(E, "/versions/", was.Version), "Auditor", "", "", 200, `"paypal"`},
		{"GET", E + "/diff?from=1&to=latest", "Auditor", "", "", 200, `"changes":[`},
		{"GET", P + "/environments/test/diff?from=live@latest&to=latest", "Auditor", "", "", 200, `"environment":"live"`},
		{"GET", E + "/features/checkout/blame", "Auditor", "", "", 200, `"items":[{`},
		// It has no present.
		{"GET", E, "Auditor", "", "", 404, anyMore},
		{"GET", E + "/features", "Auditor", "", "", 404, anyMore},
		{"POST", E + "/evaluate", "Auditor", "", `{"identifier":"ada"}`, 404, anyMore},
		{"PATCH", E, "", "", `{"name":"Live"}`, 404, none},
		{"POST", E + "/rollback", "", "", `{"version":1,"dry_run":true}`, 404, none},
		{"DELETE", E, "", "", "", 404, none},
		// And no past for others.
		{"GET", E + "/features?" + asOf(""), "Live", "", "", 404, none},
		{"GET", E + "/versions", "Live", "", "", 404, none},
		{"POST", E + "/evaluate", "Live", "", fmt.Sprintf(`{"as_of":"position:%d"}`, then), 404, none},
		{"GET", E + "/versions", "Viewer", "", "", 403, "no right to audit"},
		{"GET", P + "/environments/moon/versions", "Auditor", "", "", 404, `there is no environment \"moon\"`},
	})

	a.run([]call{{"POST", P + "/environments", "", "", `{"key":"live","client_key":"shop-live-client-2"}`, 201, `"version":1`}})
	a.run(past[:len(past)-2])
	a.run([]call{
		{"GET", E + "/versions", "Auditor", "", "", 200, `{"items":[{"version":1,`},
		{"GET", fmt.Sprint(E, "/versions/", was.Version), "Auditor", "", "", 404, "the newest is 1"},
		{"GET", E + "/features/checkout", "Live", "", "", 200, `"segment_overrides":[]`},
		{"GET", E + "/features/checkout?as_of=1", "Live", "", "", 200, `"segment_overrides":[]`},
		{"GET", E + "/features?" + asOf(""), "Live", "", "", 404, "did not exist at position"},
		{"GET", E + "/versions?" + asOf(""), "Live", "", "", 404, "did not exist at position"},
		{"GET", fmt.Sprintf("%s/features?as_of=position:%d", E, gone), "Auditor", "", "", 404, "did not exist at position"},
		{"GET", fmt.Sprintf("%s/diff?from=position:%d&to=latest", E, then), "Auditor", "", "", 200, `"changes":[{ ... "object":"feature:checkout"`},
		{"POST", E + "/rollback", "", "", fmt.Sprintf(`{"to":"position:%d","dry_run":true}`, then), 404, "did not exist at position"},

		// Features and segments likewise.
		{"DELETE", P + "/features/banner", "", "", "", 204, ""},
		{"DELETE", P + "/segments/west", "", "", "", 204, ""},
		{"GET", P + "/features/banner?" + asOf(""), "Viewer", "", "", 200, `"key":"banner"`},
		{"GET", P + "/segments/west?" + asOf(""), "Viewer", "", "", 200, `"rules":[`},
		{"GET", P + "/segments/west/usages?" + asOf(""), "Viewer", "", "", 200, `"feature":"checkout"`},
		{"GET", E + "/features/banner?" + asOf(""), "Viewer", "", "", 200, `"feature":"banner"`},
		{"GET", P + "/features/banner", "Viewer", "", "", 404, `there is no feature \"banner\"`},
		{"GET", "/admin/v1/audit?project=shop&object=segment:west&limit=1", "Auditor", "", "", 200, `"action":"deleted"`},
		{"POST", P + "/features", "", "", `{"key":"banner","initial_value":"new"}`, 201, ""},
		{"GET", P + "/features/banner?" + asOf(""), "Viewer", "", "", 200, `"initial_value":null`},
	})
}

// An undo of what one token did, of an undertaking or of a time takes back what they did and keeps the rest; what others have
// changed since in the same fields is told field by field, and nothing is done.
func TestAdminUndoOfMany(t *testing.T) {
	a := newAdmin(t)
	a.openShop()
	a.token("Ben", `{"role":"editor","project":"shop"}`)
	a.token("Eve", `{"role":"editor","project":"shop"}`)
	var ben struct{ ID string }
	if err := json.Unmarshal([]byte(a.ask(call{method: "GET", path: "/admin/v1/whoami", token: "Ben", status: 200}).body), &ben); err != nil {
		t.Fatal(err)
	}
	recordedAt := func(position uint64) string {
		var e auditEntry
		a.get(fmt.Sprintf("/admin/v1/audit/%d", position), &e)
		return e.RecordedAt.Format(time.RFC3339Nano)
	}
	state := func(feature, want string) {
		t.Helper()
		a.check(call{method: "GET", path: E + "/features/" + feature, status: 200, contains: want}, a.send(call{method: "GET", path: E + "/features/" + feature}))
	}
	a.run([]call{
		{"PATCH", E + "/features/checkout", "Ben", "Correlation-Id: campaign", `{"value":"by Ben"}`, 200, ""},
		{"PATCH", E + "/features/search", "Ben", "", `{"value":"by Ben"}`, 200, ""},
		{"PATCH", E + "/features/checkout", "Eve", "Correlation-Id: campaign", `{"enabled":false}`, 200, ""},
		{"PATCH", E + "/features/banner", "Eve", "", `{"value":"by Eve"}`, 200, ""},
	})
	last := a.views.Position()
	for selection, want := range map[string]string{ // what would be undone of the four, in a preview
		fmt.Sprintf(`"actor":%q`, ben.ID):                                                      `"object":"state:live/checkout" ... "object":"state:live/search"`,
		fmt.Sprintf(`"token":%q,"from":%q`, ben.ID, recordedAt(last-2)):                        `"object":"state:live/search"`,
		`"correlation_id":"campaign"`:                                                          `"object":"state:live/checkout"`,
		fmt.Sprintf(`"from":%q,"to":%q`, recordedAt(last-1), recordedAt(last)):                 `"object":"state:live/checkout"`,
		fmt.Sprintf(`"from":%q,"token":%q,"correlation_id":"campaign"`, recordedAt(1), ben.ID): `"object":"state:live/checkout"`,
	} {
		got := a.ask(call{method: "POST", path: P + "/undo", body: "{" + selection + `,"dry_run":true}`, status: 200, contains: want})
		if n := strings.Count(got.body, `"object":`); n != strings.Count(want, `"object":`) {
			t.Errorf("%s would undo %d objects: %s", selection, n, got.body)
		}
	}
	a.ask(call{method: "POST", path: P + "/undo", body: fmt.Sprintf(`{"token":%q,"dry_run":true}`, ben.ID), status: 200})
	seen := a.last["plan_hash"]
	a.run([]call{
		{"PATCH", E + "/features/search", "Eve", "", `{"enabled":true}`, 200, ""}, // the same object, another field
		{"POST", P + "/undo", "", "", fmt.Sprintf(`{"token":%q,"plan_hash":%q,"reason":"r"}`, ben.ID, seen), 409, `"field":"plan_hash"`},
		{"PATCH", E + "/features/checkout", "Eve", "", `{"value":"by Eve"}`, 200, ""},
		{"POST", P + "/undo", "", "", fmt.Sprintf(`{"token":%q,"except":["state:live/checkout"],"plan_hash":"any","reason":"r"}`, ben.ID), 200, `"recorded":true`},
	})
	state("search", `"enabled":true,"value":"classic"`)
	a.ask(call{method: "PATCH", path: E + "/features/search", token: "Eve", body: `{"value":"by Eve"}`, status: 200})
	before := a.views.Position()
	got := a.ask(call{method: "POST", path: P + "/undo", body: fmt.Sprintf(`{"token":%q,"plan_hash":"any","reason":"r"}`, ben.ID), status: 409, contains: "nothing was done"})
	for _, field := range []string{`"field":"state:live/checkout/value"`, `"field":"state:live/search/value"`} {
		if !strings.Contains(got.body, field) {
			t.Errorf("no conflict in %s: %s", field, got.body)
		}
	}
	if a.views.Position() != before {
		t.Error("half of it was done")
	}
	a.run([]call{
		{"PATCH", E + "/features/checkout", "Eve", "", `{"value":"by Ben"}`, 200, ""},
		{"PATCH", E + "/features/search", "Eve", "", `{"value":"by Ben"}`, 200, ""},
		{"POST", P + "/undo", "", "", fmt.Sprintf(`{"token":%q,"plan_hash":"any","reason":"r"}`, ben.ID), 409, `again at position`}, // Eve's now
		{"POST", P + "/undo", "", "", fmt.Sprintf(`{"token":%q,"except":["state:live/*"],"dry_run":true}`, ben.ID), 422, `nothing is left to undo ... "field":"except"`},
		{"POST", P + "/undo", "", "", fmt.Sprintf(`{"token":%q,"except":["state:live/banner"],"dry_run":true}`, ben.ID), 422, `"field":"except[0]"`},
		{"PATCH", E, "", "", `{"description":"by an admin"}`, 200, ""},
	})
	described := a.views.Position()
	a.run([]call{
		{"POST", P + "/undo", "Ben", "", fmt.Sprintf(`{"position":%d,"dry_run":true}`, described), 403, `needs the right to manage the project`},
		{"POST", P + "/undo", "", "", fmt.Sprintf(`{"position":%d,"plan_hash":"any","reason":"r"}`, described), 200, `"recorded":true`},
		{"GET", E, "", "", "", 200, `"description":""`},
	})
	state("checkout", `"enabled":false,"value":"by Ben"`)
	state("banner", `"value":"by Eve"`)
	a.run([]call{
		{"POST", P + "/undo", "", "", `{"actor":"","from":"2020-01-01T00:00:00Z","dry_run":true}`, 400, `"field":"actor"`},
		{"POST", P + "/undo", "", "", `{"correlation_id":"  ","dry_run":true}`, 400, `"field":"correlation_id"`},
		{"POST", P + "/undo", "", "", `{"position":0,"actor":"x","dry_run":true}`, 400, `"field":"position"`},
		{"POST", P + "/undo", "", "", `{"actor":"x","token":"y","dry_run":true}`, 400, `"field":"token"`},
		{"POST", E + "/rollback", "", "", `{"to":"99","dry_run":true}`, 404, `"field":"to"`},
		{"POST", E + "/rollback", "", "", `{"version":99,"dry_run":true}`, 404, `"field":"version"`},
		{"GET", E + "/versions/99", "", "", "", 404, `"field":"version"`},
		{"GET", "/admin/v1/audit?project=shop&environment=live&affects=feature:*", "", "", "", 400, `"field":"affects"`},
	})
}
