package httpapi_test

import (
	"fmt"
	"net/url"
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
