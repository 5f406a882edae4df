package httpapi_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// What is asked wrongly is refused with the place of the mistake, and nothing is recorded.
func TestAdminRefusals(t *testing.T) {
	a := newAdmin(t)
	a.openShop()
	a.run([]call{
		{"PUT", E + "/features/search/identity-overrides/ada", "", "", `{"enabled":true}`, 200, ""},
		{"POST", E + "/keys", "", "", `{"name":"backend","kind":"server"}`, 201, ""},
	})
	before := a.views.Position()
	rules := func(operator, property, value string) string {
		return fmt.Sprintf(`{"rules":[{"type":"ALL","conditions":[{"property":"plan","operator":"EQUAL","value":"pro"}],"rules":[{"type":"ANY","conditions":[{"property":"a","operator":"IS_SET","value":""},{"property":%q,"operator":%q,"value":%q}]}]}]}`, property, operator, value)
	}
	const condition = `"field":"rules[0].rules[0].conditions[1]"`
	const bank = "/admin/v1/projects/bank"
	const qa = P + "/environments/qa"
	calls := []call{
		// What is not there is named.
		{"GET", bank, "", "", "", 404, `there is no project \"bank\" ... "field":"project"`},
		{"PATCH", bank, "", "", `{"name":"Bank"}`, 404, `there is no project \"bank\"`},
		{"DELETE", bank, "", "", "", 404, `there is no project \"bank\"`},
		{"GET", bank + "/environments/live", "", "", "", 404, `there is no project \"bank\"`},
		{"POST", bank + "/features", "", "", `{"key":"a"}`, 404, `there is no project \"bank\"`},
		{"POST", bank + "/changes", "", "", `{"commands":[{"command":"create_feature","key":"a"}]}`, 404, `there is no project \"bank\"`},
		{"GET", qa, "", "", "", 404, `there is no environment \"qa\" in project \"shop\" ... "field":"environment"`},
		{"PATCH", qa, "", "", `{"name":"QA"}`, 404, `there is no environment \"qa\"`},
		{"DELETE", qa, "", "", "", 404, `there is no environment \"qa\"`},
		{"POST", qa + "/clone", "", "", `{"key":"new"}`, 404, `there is no environment \"qa\"`},
		{"PATCH", qa + "/features/checkout", "", "", `{"enabled":true}`, 404, `there is no environment \"qa\"`},
		{"POST", qa + "/rollback", "", "", `{"version":1}`, 404, `there is no environment \"qa\"`},
		{"GET", qa + "/versions", "", "", "", 404, `there is no environment \"qa\"`},
		{"POST", qa + "/keys", "", "", `{"name":"a","kind":"client"}`, 404, `there is no environment \"qa\"`},
		{"GET", P + "/features/moon", "", "", "", 404, `there is no feature \"moon\" in project \"shop\" ... "field":"feature"`},
		{"PATCH", P + "/features/moon", "", "", `{"archived":true}`, 404, `there is no feature \"moon\"`},
		{"DELETE", P + "/features/moon", "", "", "", 404, `there is no feature \"moon\"`},
		{"GET", E + "/features/moon", "", "", "", 404, `there is no feature \"moon\"`},
		{"PATCH", E + "/features/moon", "", "", `{"enabled":true}`, 404, `there is no feature \"moon\"`},
		{"GET", E + "/features/moon/blame", "", "", "", 404, `there is no feature \"moon\"`},
		{"PUT", E + "/features/moon/segment-overrides", "", "", `{"order":[]}`, 404, `there is no feature \"moon\"`},
		{"PUT", E + "/features/moon/segment-overrides/west", "", "", `{"enabled":true}`, 404, `there is no feature \"moon\"`},
		{"DELETE", E + "/features/moon/segment-overrides/west", "", "", "", 404, `there is no feature \"moon\"`},
		{"PUT", E + "/features/moon/identity-overrides/ada", "", "", `{"enabled":true}`, 404, `there is no feature \"moon\"`},
		{"POST", E + "/evaluate", "", "", `{"feature":"moon"}`, 404, `there is no feature \"moon\"`},
		{"GET", P + "/segments/moon", "", "", "", 404, `there is no segment \"moon\" in project \"shop\" ... "field":"segment"`},
		{"GET", P + "/segments/moon/usages", "", "", "", 404, `there is no segment \"moon\"`},
		{"PATCH", P + "/segments/moon", "", "", `{"name":"Moon"}`, 404, `there is no segment \"moon\"`},
		{"DELETE", P + "/segments/moon", "", "", "", 404, `there is no segment \"moon\"`},
		{"PUT", E + "/features/checkout/segment-overrides/moon", "", "", `{"enabled":true}`, 404, `there is no segment \"moon\"`},
		{"DELETE", E + "/features/banner/segment-overrides/west", "", "", "", 404, `has no override for segment \"west\" in \"live\"`},
		{"DELETE", E + "/pins/segments/moon", "", "", "", 404, `there is no segment \"moon\"`},
		{"POST", P + "/segments", "", "", `{"key":"new","feature":"moon","rules":[]}`, 404, `there is no feature \"moon\"`},
		{"GET", P + "/contexts/moon", "", "", "", 404, `\"moon\"`},
		{"DELETE", P + "/contexts/moon", "", "", "", 404, `\"moon\"`},
		{"DELETE", E + "/keys/moon", "", "", "", 404, `there is no SDK key \"moon\"`},
		{"PATCH", E + "/keys/moon", "", "", `{"active":false}`, 404, `there is no SDK key \"moon\"`},
		{"DELETE", "/admin/v1/tokens/moon", "", "", "", 404, `there is no token \"moon\"`},
		{"GET", E + "/identities/moon", "", "", "", 404, `"field":"identifier"`},
		{"DELETE", E + "/identities/moon", "", "", "", 404, `"field":"identifier"`},
		{"GET", "/admin/v1/audit/99999", "", "", "", 404, `there is no commit at position 99999`},
		{"GET", "/admin/v1/audit?project=bank", "", "", "", 404, `there is no project \"bank\"`},
		{"GET", "/admin/v1/audit?project=shop&environment=qa", "", "", "", 404, `the history has nothing about environment \"qa\"`},
		{"GET", "/admin/v1/audit?project=shop&object=segment:moon", "", "", "", 404, `the history has nothing about object \"segment:moon\"`},
		{"GET", "/admin/v1/audit?project=shop&environment=qa&affects=feature:checkout", "", "", "", 404, `environment \"qa\"`},

		// What the path and the body name differently is neither.
		{"PATCH", E + "/features/checkout", "", "", `{"environment":"test","enabled":true}`, 400, `the path says \"live\" and the body \"test\" ... "field":"environment"`},
		{"PATCH", E + "/features/checkout", "", "", `{"feature":"banner","enabled":true}`, 400, `"field":"feature"`},
		{"PUT", E + "/features/checkout/segment-overrides/west", "", "", `{"segment":"east","enabled":true}`, 400, `"field":"segment"`},
		{"PUT", E + "/features/checkout/segment-overrides", "", "", `{"feature":"banner","order":[]}`, 400, `"field":"feature"`},
		{"PUT", E + "/features/search/identity-overrides/ada", "", "", `{"identifier":"bob","enabled":true}`, 400, `"field":"identifier"`},
		{"PATCH", E, "", "", `{"environment":"test","name":"Live"}`, 400, `"field":"environment"`},
		{"POST", E + "/clone", "", "", `{"source":"test","key":"new"}`, 400, `"field":"source"`},
		{"PATCH", E + "/keys/moon", "", "", `{"id":"sun","active":false}`, 400, `"field":"id"`},
		{"PATCH", P + "/features/checkout", "", "", `{"feature":"banner","archived":true}`, 400, `"field":"feature"`},
		{"PATCH", P + "/segments/west", "", "", `{"segment":"east","name":"East"}`, 400, `"field":"segment"`},
		{"PUT", P + "/segments/west/tests", "", "", `{"segment":"east","cases":[]}`, 400, `"field":"segment"`},
		{"PUT", P + "/features/checkout/tests", "", "", `{"feature":"banner","cases":[]}`, 400, `"field":"feature"`},
		{"PUT", P + "/contexts/plan", "", "", `{"key":"country","type":"string"}`, 400, `"field":"key"`},

		// What is empty by mistake is not taken for what was left out.
		{"POST", P + "/undo", "", "", `{"actor":"x","from":"","dry_run":true}`, 400, `\"\" is not a time as of RFC 3339 ... "field":"from"`},
		{"POST", P + "/undo", "", "", `{"actor":"x","to":"","dry_run":true}`, 400, `"field":"to"`},
		{"POST", P + "/undo", "", "", `{"actor":"x","to":"0001-01-01T00:00:00Z","dry_run":true}`, 400, `"field":"to"`},
		{"GET", "/admin/v1/audit?to=0001-01-01T00:00:00Z", "", "", "", 400, `"field":"to"`},
		{"GET", P + "/features?kind=releases", "", "", "", 400, `\"releases\" is not a kind of feature ... "field":"kind"`},
		{"POST", "/admin/v1/tokens", "", "", `{"name":"ci","grants":[{"role":"viewer"}],"expires_at":""}`, 400, `"field":"expires_at"`},

		// Nothing is recorded of what is asked wrongly besides.
		{"POST", P + "/changes", "", "", `{"commands":[{"command":"update_project","description":"x"}],"impact":{"stored":-1}}`, 422, `"field":"impact.stored"`},
		{"POST", E + "/rollback", "", "", `{"version":1,"plan_hash":"any","reason":"r","impact":{"stored":100001}}`, 422, `"field":"impact.stored"`},

		// What cannot be read says where.
		{"POST", P + "/features", "", "", `{"key":"new",}`, 400, `the body is not valid JSON: ... at line 1, column 15`},
		{"POST", P + "/features", "", "", "{\n\t\"key\": nope\n}", 400, `at line 2, column 11`},
		{"POST", P + "/features", "", "", `{"key":"new"`, 400, `the body ends before the JSON value does, at line 1, column 13`},
		{"POST", P + "/features", "", "", `{"key":"new"} {"key":"newer"}`, 400, `there is something after the JSON value, at line 1, column`},
		{"POST", P + "/features", "", "", `[]`, 400, `there is an array where an object is wanted, at line 1, column 1`},
		{"POST", P + "/features", "", "", `"new"`, 400, `there is a string where an object is wanted`},
		{"POST", P + "/features", "", "", `null x`, 400, `at line 1, column`},
		{"POST", P + "/features", "", "", "\xff", 400, `the body is not valid`},
		{"POST", P + "/features", "", "", `{"key":"new","colour":"red"}`, 400, `there is no member \"colour\" here, at line 1, column 14 ... "field":"colour"`},
		{"POST", P + "/features", "", "", `{"key":1}`, 400, `there is a number where a string is wanted ... "field":"key"`},
		{"POST", P + "/features", "", "", `{"key":"new","tags":"money"}`, 400, `where a list is wanted ... "field":"tags"`},
		{"POST", P + "/features", "", "", `{"key":"new","variants":[{"key":"a"},{"key":"b","weight":"50"}]}`, 400, `there is a string where a number is wanted ... "field":"variants[1].weight"`},
		{"POST", P + "/features", "", "", `{"key":"new","initial_value":{"a":1}}`, 400, `"field":"initial_value"`},
		{"POST", P + "/features", "", "", `{"key":"new","initial_value":[1]}`, 400, `"field":"initial_value"`},
		{"PATCH", E + "/features/checkout", "", "", `{"enabled":"yes"}`, 400, `there is a string where true or false is wanted ... "field":"enabled"`},
		{"PATCH", E + "/features/search", "", "", `{"weights":{"grid":"50"}}`, 400, `"field":"weights.grid"`},
		{"PATCH", P + "/segments/west", "", "", `{"rules":[{"type":"ALL","conditions":[{"property":"a","operator":"EQUAL","value":"b"},{"property":"a","operator":"EQUAL","value":7}]}]}`, 400, `there is a number where a string is wanted ... "field":"rules[0].conditions[1].value"`},
		{"PATCH", P + "/segments/west", "", "", `{"rules":[{"type":"ALL","rules":[{"type":"ANY","condition":[]}]}]}`, 400, `there is no member \"condition\" here ... "field":"rules[0].rules[0].condition"`},
		{"PATCH", P + "/segments/west", "", "", `{"feature":"checkout"}`, 400, `there is no member \"feature\" here`},
		{"POST", P + "/environments", "", "", `{"key":"new","hide_disabled_flags":"no"}`, 400, `"field":"hide_disabled_flags"`},
		{"POST", "/admin/v1/tokens", "", "", `{"name":"a","grants":[{"role":"admin","colour":"red"}]}`, 400, `"field":"grants[0].colour"`},
		{"POST", "/admin/v1/tokens", "", "", `{"name":"a","grants":[{"role":"admin"}],"expires_at":"tomorrow"}`, 400, `\"tomorrow\" is not a time as of RFC 3339 ... "field":"expires_at"`},
		{"POST", E + "/keys", "", "", `{"name":"a","kind":"server","expires_at":7}`, 400, `"field":"expires_at"`},
		{"POST", P + "/changes", "", "", `{"commands":[{"command":"create_feature","key":"new"},{"command":"create_feature","key":"newer","colour":"red"}]}`, 400, `"field":"commands[1].colour"`},
		{"POST", P + "/changes", "", "", `{"commands":[{"command":"swim"}]}`, 400, `\"swim\" is not a command; there are: ... create_feature ... "field":"commands[0].command"`},
		{"POST", P + "/changes", "", "", `{"commands":[{"command":"rollback","environment":"live","version":1}]}`, 422, `cannot rollback; ask POST /admin/v1/projects/{project}/environments/{environment}/rollback ... "field":"commands[0].command"`},
		{"POST", P + "/changes?dry_run=true", "", "", `{"commands":[{"command":"undo","position":1}]}`, 422, `cannot undo; ask POST /admin/v1/projects/{project}/undo`},
		{"POST", P + "/changes", "", "", `{"commands":[{"key":"new"}]}`, 400, `"field":"commands[0].command"`},
		{"POST", P + "/changes", "", "", `{"commands":["create_feature"]}`, 400, `"field":"commands[0]`},
		{"POST", P + "/changes", "", "", `{"commands":{}}`, 400, `"field":"commands"`},
		{"POST", P + "/changes", "", "", `{"commands":[]}`, 400, `there is no command in the change`},
		{"POST", P + "/changes", "", "", ``, 400, `there is no command in the change`},
		{"POST", P + "/changes", "", "", `{"commands":[{"command":"create_token","name":"a"}]}`, 400, `\"create_token\" is not a command`},
		{"POST", P + "/changes?dry_run=1", "", "", `{"commands":[{"command":"delete_feature","feature":"banner"}]}`, 400, `"field":"dry_run"`},
		{"PATCH", E + "/features/checkout?dry_run=true", "", "", `{"enabled":false}`, 400, `"field":"dry_run"`},
		{"DELETE", P + "/features/banner?dry_run=true", "", "", ``, 400, `"field":"dry_run"`},
		{"DELETE", P + "/features/banner?reson=typo", "", "", ``, 400, `"field":"reson"`},
		{"DELETE", P + "/features/banner?as_of=1", "", "", ``, 400, `"field":"as_of"`},
		{"PATCH", E + "/features/checkout?as_of=1", "", "", `{"enabled":false}`, 400, `"field":"as_of"`},
		{"PATCH", P, "", `If-Match: "abc"`, `{"name":"a"}`, 400, `"field":"If-Match"`},
		{"GET", P, "", "Flagledger-Min-Position: soon", "", 400, `\"soon\" is not a position`},
		{"GET", "/admin/v1/audit/first", "", "", "", 400, `\"first\" is not a position`},
		{"GET", E + "/versions/newest", "", "", "", 400, `\"newest\" is not a version`},
		{"GET", E + "/versions/0", "", "", "", 400, `versions are 1, 2, 3`},
		{"GET", E + "/versions/-1", "", "", "", 400, `versions are 1, 2, 3`},
		{"GET", E + "/versions/999", "", "", "", 404, `999`},
		{"POST", E + "/rollback", "", "", `{"version":0,"dry_run":true}`, 400, `"field":"version"`},
		{"POST", E + "/rollback", "", "", `{"version":-1,"dry_run":true}`, 400, `"field":"version"`},
		{"POST", E + "/rollback", "", "", `{"version":999,"dry_run":true}`, 404, `999`},
		{"POST", E + "/rollback", "", "", `{"dry_run":true}`, 422, `name the version to go back to ... "field":"version"`},
		{"POST", E + "/rollback", "", "", `{"version":1,"to":"1","dry_run":true}`, 400, `"field":"to"`},
		{"POST", E + "/rollback", "", "", `{"to":"yesterday","dry_run":true}`, 400, `\"yesterday\"`},
		{"POST", E + "/rollback", "", "", `{"to":"2099-01-01T00:00:00Z","dry_run":true}`, 422, `is in the future`},
		{"POST", E + "/rollback", "", "", `{"to":"2001-01-01T00:00:00Z","dry_run":true}`, 404, `nothing was recorded yet`},
		{"POST", E + "/rollback", "", "", `{"to":"position:99999","dry_run":true}`, 404, `99999`},
		{"POST", E + "/rollback", "", "", `{"version":1,"features":["moon"],"dry_run":true}`, 404, `there is no feature \"moon\", neither now nor at version 1`},
		{"POST", E + "/rollback", "", "", `{"version":1,"plan_hash":"any"}`, 422, `this needs a reason ... "field":"reason"`},
		{"POST", E + "/rollback", "", "", `{"version":1,"reason":"a"}`, 422, `look at the plan first ... "field":"plan_hash"`},
		{"POST", E + "/rollback", "", "", `{"version":1,"reason":"a","plan_hash":"another"}`, 409, `the plan is another now ... "field":"plan_hash"`},

		// What cannot work says which condition.
		{"PATCH", P + "/segments/west", "", "", rules("REGEX", "email", "^(a"), 422, condition},
		{"PATCH", P + "/segments/west", "", "", rules("MODULO", "age", "0|0"), 422, condition},
		{"PATCH", P + "/segments/west", "", "", rules("MODULO", "age", "2"), 422, condition},
		{"PATCH", P + "/segments/west", "", "", rules("GREATER_THAN", "version", "four:semver"), 422, condition},
		{"PATCH", P + "/segments/west", "", "", rules("PERCENTAGE_SPLIT", "", "100.5"), 422, condition},
		{"PATCH", P + "/segments/west", "", "", rules("PERCENTAGE_SPLIT", "", "-1"), 422, condition},
		{"PATCH", P + "/segments/west", "", "", rules("PERCENTAGE_SPLIT", "", "half"), 422, condition},
		{"PATCH", P + "/segments/west", "", "", rules("SOUNDS_LIKE", "name", "Ada"), 422, condition},
		{"PATCH", P + "/segments/west", "", "", rules("EQUAL", "", "b"), 422, condition},
		{"PATCH", P + "/segments/west", "", "", `{"rules":[{"type":"SOME","conditions":[{"property":"a","operator":"IS_SET","value":""}]}]}`, 422, `"field":"rules[0]`},
		{"PATCH", P + "/segments/west", "", "", `{"rules":[{"field":"a","operator":"swims","values":["b"]}]}`, 422, `"field":"rules[0].operator"`},
		{"PATCH", P + "/segments/west", "", "", `{"rules":[{"field":"a","operator":"in","values":[]}]}`, 422, `"field":"rules[0].values"`},
		{"PATCH", P + "/segments/west", "", "", `{"rules":[{"type":"ALL","conditions":[` + strings.Repeat(`{"property":"a","operator":"IS_SET","value":""},`, 100) + `{"property":"a","operator":"IS_SET","value":""}]}]}`, 422, `100`},
		{"PATCH", P + "/segments/west", "", "", `{"rules":[` + strings.Repeat(`{"type":"ALL","rules":[`, 5) + `{"type":"ALL","conditions":[{"property":"a","operator":"IS_SET","value":""}]}` + strings.Repeat(`]}`, 5) + `]}`, 422, `5`},
		{"POST", P + "/changes", "", "", `{"commands":[{"command":"create_feature","key":"new"},{"command":"update_segment","segment":"west","rules":[{"type":"ALL","conditions":[{"property":"a","operator":"MODULO","value":"0|0"}]}]}]}`, 422, `"field":"commands[1].rules[0].conditions[0]"`},
		{"POST", P + "/features", "", "", `{"key":"new","variants":[{"key":"a","weight":60},{"key":"b","weight":41}]}`, 422, `the weights add up to 101; they may not exceed 100`},
		{"POST", P + "/features", "", "", `{"key":"new","variants":[{"key":"a","weight":-1}]}`, 422, `the weight -1 of variant \"a\" is not between 0 and 100`},
		{"POST", P + "/features", "", "", `{"key":"new","variants":[{"key":"control"}]}`, 422, `"field":"variants[0].key"`},
		{"POST", P + "/features", "", "", `{"key":"new","initial_value":1.5}`, 422, `1.5 is not an integer ... "field":"initial_value"`},
		{"POST", P + "/features", "", "", `{"key":"new","initial_value":3000000000}`, 422, `does not fit into 32 bits`},
		{"POST", P + "/features", "", "", `{"key":"new","initial_value":"` + strings.Repeat("x", 20_001) + `"}`, 422, `the value has 20001 characters; the limit is 20000`},
		{"POST", P + "/features", "", "", `{"key":"a/b"}`, 422, `cannot be a key ... "field":"key"`},
		{"POST", P + "/features", "", "", `{}`, 422, `"field":"key"`},
		{"POST", P + "/features", "", "", ``, 422, `"field":"key"`},
		{"POST", P + "/features", "", "", `{"key":"` + strings.Repeat("x", 151) + `"}`, 422, `"field":"key"`},
		{"POST", P + "/features", "", "", `{"key":"new","kind":"toggle"}`, 422, `there are release, experiment, ops, permission ... "field":"kind"`},
		{"POST", P + "/features", "", "", `{"key":"new","description":"` + strings.Repeat("x", 2001) + `"}`, 422, `description has 2001 characters; the limit is 2000`},
		{"POST", P + "/features", "", "", `{"key":"new","reason":"` + strings.Repeat("x", 2001) + `"}`, 422, `reason has 2001 characters; the limit is 2000`},
		{"PATCH", E + "/features/search", "", "", `{"weights":{"grid":60,"list":50}}`, 422, `the weights add up to 110 ... "field":"weights"`},
		{"PATCH", E + "/features/search", "", "", `{"weights":{"moon":1}}`, 422, `there is no variant \"moon\"`},
		{"PATCH", E + "/features/checkout", "", "", `{"weights":{"grid":1}}`, 422, `the feature has no variants to give weights to`},
		{"PUT", E + "/features/search/segment-overrides/west", "", "", `{"weights":{"grid":101}}`, 422, `"field":"weights"`},
		{"PUT", E + "/features/checkout/segment-overrides/west", "", "", `{"place":7}`, 422, `"field":"place"`},
		{"PUT", E + "/features/checkout/segment-overrides/beta", "", "", `{"enabled":true}`, 422, `segment \"beta\" is for feature \"search\" only`},
		{"PUT", E + "/features/checkout/segment-overrides", "", "", `{"order":["west","beta"]}`, 422, `the order must name each segment with an override once: west`},
		{"PUT", E + "/features/checkout/segment-overrides", "", "", `{"order":[]}`, 422, `the order must name each segment with an override once: west`},
		{"PUT", E + "/features/search/identity-overrides/ada", "", "", `{"variant":"moon"}`, 422, `has no variant \"moon\"`},
		{"PUT", E + "/features/search/identity-overrides/ada", "", "", `{"variant":"grid","value":1}`, 422, `not both`},
		{"PUT", E + "/features/search/identity-overrides/" + strings.Repeat("x", 2001), "", "", `{"enabled":true}`, 422, `the identifier has 2001 characters; the limit is 2000`},
		{"POST", P + "/environments", "", "", `{"key":"new","client_key":"short"}`, 422, `"field":"client_key"`},
		{"PATCH", E, "", "", `{"name":""}`, 422, `"field":"name"`},
		{"POST", E + "/keys", "", "", `{"name":"a","kind":"house"}`, 422, `want client or server ... "field":"kind"`},
		{"POST", E + "/keys", "", "", `{"kind":"client"}`, 422, `"field":"name"`},
		{"POST", E + "/keys", "", "", `{"name":"a","kind":"client","expires_at":"2001-01-01T00:00:00Z"}`, 422, `is in the past`},
		{"POST", "/admin/v1/tokens", "", "", `{"name":"a","grants":[]}`, 422, `"field":"grants"`},
		{"POST", "/admin/v1/tokens", "", "", `{"name":"a","grants":[{"role":"king"}]}`, 422, `there are viewer, auditor, editor, approver, admin`},
		{"POST", "/admin/v1/tokens", "", "", `{"name":"a","grants":[{"role":"admin","environment":"live"}]}`, 422, `must name its project`},
		{"POST", "/admin/v1/tokens", "", "", `{"grants":[{"role":"admin"}]}`, 422, `"field":"name"`},
		{"PUT", P + "/contexts/plan", "", "", `{"type":"colour"}`, 422, `"field":"type"`},
		{"PUT", P + "/contexts/plan", "", "", `{"type":"integer","allowed":[1,"two"]}`, 422, `"field":"allowed[1]"`},

		// What is there already, or in use.
		{"POST", "/admin/v1/projects", "", "", `{"key":"shop"}`, 409, `there is already a project \"shop\" ... "field":"key"`},
		{"POST", P + "/environments", "", "", `{"key":"live"}`, 409, `there is already an environment \"live\"`},
		{"POST", P + "/environments", "", "", `{"key":"new","client_key":"shop-live-client"}`, 409, `"field":"client_key"`},
		{"POST", E + "/clone", "", "", `{"key":"test"}`, 409, `there is already an environment \"test\"`},
		{"POST", P + "/features", "", "", `{"key":"checkout"}`, 409, `there is already a feature \"checkout\"`},
		{"POST", P + "/features", "", "", `{"key":"CheckOut"}`, 409, `differs from the feature \"checkout\" only in case`},
		{"POST", P + "/features", "", "", `{"key":"new","variants":[{"key":"a"},{"key":"a"}]}`, 409, `"field":"variants[1].key"`},
		{"POST", P + "/segments", "", "", `{"key":"west","rules":[]}`, 409, `there is already a segment \"west\"`},
		{"DELETE", P, "", "", "", 409, `still has environments: live, test`},
		{"DELETE", E, "", "", "", 409, `in use by the server-side SDK key \"backend\"`},
		{"DELETE", P + "/segments/west", "", "", "", 409, `in use by the override of feature checkout in live`},
		{"DELETE", P + "/features/checkout", "", "", "", 409, `in use by an override for segment west in live`},
		{"DELETE", P + "/features/search", "", "", "", 409, `in use by segment beta, which is for this feature only, an identity override in live`},
		{"PATCH", P + "/features/search", "", "", `{"variants":[{"key":"list","value":7,"weight":20}]}`, 409, `variant \"grid\" is in use by environment live, environment test`},
	}
	a.run(calls)

	// Lists.
	for _, list := range []string{"/admin/v1/projects", "/admin/v1/tokens", "/admin/v1/audit", P + "/environments", P + "/features", P + "/segments", P + "/contexts", E + "/features", E + "/keys", E + "/identities", E + "/versions"} {
		a.run([]call{
			{"GET", list + "?limit=0", "", "", "", 400, `\"0\" is not a number from 1 to 500 ... "field":"limit"`},
			{"GET", list + "?limit=501", "", "", "", 400, `"field":"limit"`},
			{"GET", list + "?limit=ten", "", "", "", 400, `"field":"limit"`},
			{"GET", list + "?cursor=!", "", "", "", 400, `"field":"cursor"`},
			{"GET", list + "?colour=red", "", "", "", 400, `"field":"colour"`},
			{"GET", list + "?limit=1", "", "", "", 200, `"items":[`},
		})
	}
	a.run([]call{
		{"GET", P + "/features?archived=perhaps", "", "", "", 400, `"field":"archived"`},
		{"GET", E + "/features?tag=money", "", "", "", 400, `"field":"tag"`},
		{"GET", P + "?as_of=yesterday", "", "", "", 400, `"field":"as_of"`},
		{"GET", P + "?colour=red", "", "", "", 400, `"field":"colour"`},
	})

	// What no route is for.
	a.run([]call{
		{"GET", "/", "", "", "", 404, `"title":"Not Found"`},
		{"GET", "/admin/v1/moons", "", "", "", 404, `"title":"Not Found"`},
		{"GET", "/admin/v2/projects", "", "", "", 404, `"title":"Not Found"`},
		{"GET", P + "/", "", "", "", 404, ""},
		{"DELETE", E + "/features/checkout/identity-overrides/", "", "", "", 404, ""},
		{"PUT", P, "", "", `{}`, 405, `"title":"Method Not Allowed"`},
		{"DELETE", "/admin/v1/projects", "", "", "", 405, `"title":"Method Not Allowed"`},
		{"POST", "/healthz", "", "", "", 405, ""},
		{"SWIM", P, "", "", "", 405, ""},
	})
	if got := a.send(call{method: "PUT", path: P}); got.header.Get("Allow") == "" {
		t.Error("a method that is not allowed is answered without Allow")
	}

	// Bodies over the limit, told by their length or not.
	for name, body := range map[string]io.Reader{
		"announced": strings.NewReader(strings.Repeat(" ", bodyLimit+1)),
		"streamed":  io.MultiReader(strings.NewReader(`{"key":"`), bytes.NewReader(bytes.Repeat([]byte("x"), 4*bodyLimit))),
	} {
		req, err := http.NewRequestWithContext(t.Context(), "POST", a.url+P+"/features", body)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+a.secrets["root"])
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(res.Body)
		if res.StatusCode != 413 || err != nil || !strings.Contains(string(text), fmt.Sprintf("the limit of %d bytes", bodyLimit)) {
			t.Errorf("a body over the limit, %s, is answered %d %s, error %v", name, res.StatusCode, text, err)
		}
		_ = res.Body.Close()
	}
	a.ask(call{method: "POST", path: P + "/features", body: `{"key":"checkout"` + strings.Repeat(" ", bodyLimit-19) + `}`, status: 409})

	if after := a.views.Position(); after != before {
		t.Errorf("refusals have led from position %d to %d", before, after)
	}
}

// A read can be asked for without its content.
func TestAdminHead(t *testing.T) {
	a := newAdmin(t)
	for _, path := range []string{"/healthz", "/readyz", "/version", "/metrics", "/admin/v1/whoami", "/admin/v1/projects"} {
		if got := a.ask(call{method: "HEAD", path: path, status: 200}); got.body != "" {
			t.Errorf("HEAD %s answers %q", path, got.body)
		}
	}
	if got := a.ask(call{method: "HEAD", path: "/admin/v1/projects/bank", status: 404}); got.body != "" || got.header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("HEAD of what is not there answers %v %q", got.header, got.body)
	}
}

// A client that goes away while it sends is no failure of the server, and what it sent is not taken for a whole.
func TestAdminHalfABody(t *testing.T) {
	a := newAdmin(t)
	a.openShop()
	before := a.views.Position()
	conn, err := net.Dial("tcp", strings.TrimPrefix(a.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_, err = fmt.Fprintf(conn, "POST %s/features HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %s\r\nContent-Length: 100\r\n\r\n{\"key\":\"half\"}", P, a.secrets["root"])
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 400 ") {
		t.Errorf("half a body is answered %q, error %v; want 400", answer, err)
	}
	if after := a.views.Position(); after != before {
		t.Errorf("half a body has led from position %d to %d", before, after)
	}
}
