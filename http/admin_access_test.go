package httpapi_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"flagledger/commands"
)

// Who may do what: a row for each request, a column for each token. A token that may see nothing of a project or environment is told that it
// does not exist.
func TestAdminRoles(t *testing.T) {
	a := newAdmin(t)
	a.openShop()
	a.ask(call{method: "POST", path: "/admin/v1/projects", body: `{"key":"bank"}`, status: 201})
	tokens := []string{"-", "root", "viewer", "auditor", "approver", "editor", "admin", "live viewer", "live auditor", "live editor", "live admin", "stranger"}
	for _, role := range []string{"viewer", "auditor", "approver", "editor", "admin"} {
		a.token(role, fmt.Sprintf(`{"role":%q,"project":"shop"}`, role))
		a.token("live "+role, fmt.Sprintf(`{"role":%q,"project":"shop","environment":"live"}`, role))
	}
	a.token("stranger", `{"role":"admin","project":"bank"}`)

	const T = P + "/environments/test"
	const state = `{"enabled":true}`
	change := func(environment string) string {
		return fmt.Sprintf(`{"commands":[{"command":"set_feature_state","environment":%q,"feature":"checkout","enabled":true}]}`, environment)
	}
	for _, row := range []struct{ method, path, body, statuses string }{
		// Every row changes nothing for those who may.
		//                                                          -  root vie aud app edi adm  l.v l.a l.e l.a str
		{"GET", "/admin/v1/whoami", "", "                          401 200 200 200 200 200 200  200 200 200 200 200"},
		{"GET", "/admin/v1/projects", "", "                        401 200 200 200 200 200 200  200 200 200 200 200"},
		{"POST", "/admin/v1/projects", `{"key":"shop"}`, "         401 409 403 403 403 403 409  403 403 403 403 403"},
		{"GET", P, "", "                                           401 200 200 200 200 200 200  200 200 200 200 404"},
		{"PATCH", P, `{"name":"Shop"}`, "                          401 200 403 403 403 403 200  403 403 403 403 404"},
		{"DELETE", P, "", "                                        401 409 403 403 403 403 409  403 403 403 403 404"},
		{"GET", P + "/environments", "", "                         401 200 200 200 200 200 200  200 200 200 200 404"},
		{"POST", P + "/environments", `{"key":"live"}`, "          401 409 403 403 403 403 409  403 403 403 403 404"},
		{"GET", E, "", "                                           401 200 200 200 200 200 200  200 200 200 200 404"},
		{"GET", T, "", "                                           401 200 200 200 200 200 200  404 404 404 404 404"},
		{"PATCH", E, `{"name":"Live"}`, "                          401 200 403 403 403 403 200  403 403 403 200 404"},
		{"PATCH", T, `{"name":"Test"}`, "                          401 200 403 403 403 403 200  404 404 404 404 404"},
		{"POST", E + "/clone", `{"key":"test"}`, "                 401 409 403 403 403 403 409  403 403 403 403 404"},
		{"GET", E + "/keys", "", "                                 401 200 403 403 403 403 200  403 403 403 200 404"},
		{"POST", E + "/keys", `{"kind":"no"}`, "                   401 422 403 403 403 403 422  403 403 403 422 404"},
		{"DELETE", E + "/keys/no", "", "                           401 404 403 403 403 403 404  403 403 403 404 404"},

		{"GET", P + "/features", "", "                             401 200 200 200 200 200 200  200 200 200 200 404"},
		{"POST", P + "/features", `{"key":"checkout"}`, "          401 409 403 403 403 409 409  403 403 403 403 404"},
		{"PATCH", P + "/features/checkout", `{}`, "                401 200 403 403 403 200 200  403 403 403 403 404"},
		{"DELETE", P + "/features/checkout", "", "                 401 409 403 403 403 409 409  403 403 403 403 404"},
		{"GET", P + "/segments/west", "", "                        401 200 200 200 200 200 200  200 200 200 200 404"},
		{"PATCH", P + "/segments/west", `{}`, "                    401 200 403 403 403 200 200  403 403 403 403 404"},
		{"DELETE", P + "/contexts/no", "", "                       401 404 403 403 403 404 404  403 403 403 403 404"},

		{"GET", E + "/features/checkout", "", "                    401 200 200 200 200 200 200  200 200 200 200 404"},
		{"GET", T + "/features/checkout", "", "                    401 200 200 200 200 200 200  404 404 404 404 404"},
		{"PATCH", E + "/features/checkout", state, "               401 200 403 403 403 200 200  403 403 200 200 404"},
		{"PATCH", T + "/features/checkout", state, "               401 200 403 403 403 200 200  404 404 404 404 404"},
		{"PUT", E + "/features/checkout/segment-overrides/west", state, " 401 200 403 403 403 200 200  403 403 200 200 404"},
		{"PUT", E + "/features/checkout/segment-overrides", `{"order":["west"]}`, " 401 200 403 403 403 200 200  403 403 200 200 404"},
		{"DELETE", E + "/features/checkout/identity-overrides/no", "", " 401 404 403 403 403 404 404  403 403 404 404 404"},
		{"DELETE", E + "/pins/segments/west", "", "                401 204 403 403 403 204 204  403 403 204 204 404"},
		{"GET", E + "/identities", "", "                           401 200 200 200 200 200 200  200 200 200 200 404"},
		{"DELETE", E + "/identities/no", "", "                     401 404 403 403 403 403 404  403 403 403 404 404"},
		{"POST", P + "/changes", change("live"), "                 401 200 403 403 403 200 200  403 403 200 200 404"},
		{"POST", P + "/changes", change("test"), "                 401 200 403 403 403 200 200  403 403 403 403 404"},
		{"POST", P + "/changes?dry_run=true", change("live"), "    401 200 403 403 403 200 200  403 403 200 200 404"},

		// Rights first: what is wrong with the request is told to those who may change something.
		{"POST", P + "/changes", `{bad`, "                         401 400 403 403 403 400 400  403 403 400 400 404"},
		{"POST", P + "/changes?unknown=1", `{}`, "                 401 400 403 403 403 400 400  403 403 400 400 404"},
		{"POST", P + "/changes", `{"commands":[{"command":"no"}]}`, " 401 400 403 403 403 400 400  403 403 400 400 404"},
		{"POST", "/admin/v1/projects", `{bad`, "                   401 400 403 403 403 403 400  403 403 403 400 400"},

		{"POST", E + "/evaluate", `{}`, "                          401 200 200 200 200 200 200  200 200 200 200 404"},
		{"GET", E + "/versions", "", "                             401 200 403 200 200 200 200  403 200 200 200 404"},
		{"GET", E + "/versions/1", "", "                           401 200 403 200 200 200 200  403 200 200 200 404"},
		{"GET", E + "/diff?from=1&to=2", "", "                     401 200 403 200 200 200 200  403 200 200 200 404"},
		{"GET", E + "/diff?from=1&to=test@1", "", "                401 200 403 200 200 200 200  403 404 404 404 404"},
		{"GET", E + "/features/checkout/blame", "", "              401 200 403 200 200 200 200  403 200 200 200 404"},
		{"POST", E + "/rollback", `{"version":1,"dry_run":true}`, "  401 200 403 403 403 200 200  403 403 200 200 404"},
		{"POST", E + "/rollback", `{"version":1,"dry_run":true,"restore_deleted":true}`, "  401 200 403 403 403 200 200  403 403 403 403 404"},
		{"POST", P + "/undo", `{"position":1,"dry_run":true}`, "   401 404 403 403 403 404 404  403 403 403 403 404"},

		{"GET", "/admin/v1/audit", "", "                           401 200 403 200 200 200 200  403 200 200 200 200"},
		{"GET", "/admin/v1/audit?project=shop", "", "              401 200 404 200 200 200 200  404 200 200 200 404"},
		{"GET", "/admin/v1/audit?project=shop&environment=test", "", "  401 200 404 200 200 200 200  404 404 404 404 404"},
		{"GET", "/admin/v1/audit/2", "", "                         401 200 404 200 200 200 200  404 200 200 200 404"},
		{"GET", "/admin/v1/audit/4", "", "                         401 200 404 200 200 200 200  404 404 404 404 404"},
		{"GET", "/admin/v1/audit/export?project=shop", "", "       401 200 404 200 200 200 200  404 200 200 200 404"},
		{"GET", "/admin/v1/tokens", "", "                          401 200 403 403 403 403 403  403 403 403 403 403"},
		{"POST", "/admin/v1/tokens", `{}`, "                       401 422 403 403 403 403 403  403 403 403 403 403"},
		{"DELETE", "/admin/v1/tokens/no", "", "                    401 404 403 403 403 403 403  403 403 403 403 403"},
	} {
		before := a.views.Position()
		for i, status := range strings.Fields(row.statuses) {
			c := call{method: row.method, path: row.path, token: tokens[i], body: row.body}
			got := a.send(c)
			if fmt.Sprint(got.status) != status {
				t.Errorf("%s by %s answers %d %s, want %s", c, c.token, got.status, got.body, status)
			}
			if got.status == 401 && got.header.Get("Www-Authenticate") != "Bearer" {
				t.Errorf("%s by %s is not told how to be known: %v", c, c.token, got.header)
			}
			if got.status != 404 || c.token == "root" || c.token == "admin" {
				a.check(c, got)
			}
		}
		if after := a.views.Position(); after != before {
			t.Errorf("%s %s has led from position %d to %d", row.method, row.path, before, after)
		}
	}
	a.run([]call{
		{"GET", P, "-", "Authorization: Basic cm9vdDpyb290", "", 401, `send the header Authorization: Bearer`},
		{"GET", P, "-", "Authorization: Bearer", "", 401, `this needs a token`},
		{"GET", P, "-", "Authorization: Bearer flt_no", "", 401, `the token is not known, or was revoked`},
		{"GET", P, "-", "Authorization: bearer " + a.secrets["viewer"], "", 200, ""},
		{"GET", "/admin/v1/projects", "stranger", "", "", 200, `{"items":[{"key":"bank"`},
		{"GET", "/admin/v1/projects", "live viewer", "", "", 200, `{"items":[{"key":"shop"`},
		{"PATCH", P, "viewer", "", `{"name":"a"}`, 403, `the token \"viewer\" has no right to manage in project shop`},
		{"PATCH", E, "live editor", "", `{"name":"a"}`, 403, `the token \"live editor\" has no right to manage in environment live of project shop`},
	})
	a.ask(call{method: "PUT", path: P + "/features/checkout/tests", status: 200, body: `{"override_tests":true,"reason":"to see one fail","cases":[
		{"name":"in live","environment":"live","identifier":"ada","enabled":true},{"name":"in test","environment":"test","identifier":"ada","enabled":false}]}`})
	for _, path := range []string{"/environments", "/features/checkout/tests"} {
		if got := a.ask(call{method: "GET", path: P + path, token: "live viewer", status: 200, contains: "live"}); strings.Contains(got.body, "test\"") {
			t.Errorf("GET %s: who may see live sees also %s", path, got.body)
		}
	}
	a.ask(call{method: "GET", path: P + "/features/checkout/tests", status: 200, contains: `"cases":[{"name":"in live" ... "environment":"test" ... "failures":[{"name":"in test"`})
}

// Who audits one environment sees of a commit what concerns that, and what all share.
func TestAdminAuditOfOneEnvironment(t *testing.T) {
	a := newAdmin(t)
	a.openShop()
	a.token("live auditor", `{"role":"auditor","project":"shop","environment":"live"}`)
	got := a.ask(call{method: "POST", path: P + "/changes", status: 200, body: `{"commands":[
		{"command":"set_feature_state","environment":"live","feature":"banner","value":"in live"},
		{"command":"set_feature_state","environment":"test","feature":"banner","value":"in test"},
		{"command":"update_feature","feature":"banner","description":"for both"}]}`})
	both := got.header.Get("Flagledger-Position")
	got = a.ask(call{method: "PATCH", path: P + "/environments/test/features/banner", body: `{"value":"in test alone"}`, status: 200})
	alone := got.header.Get("Flagledger-Position")

	for _, path := range []string{"/admin/v1/audit/" + both, "/admin/v1/audit?limit=1", "/admin/v1/audit/export", "/admin/v1/audit/export?format=csv", "/admin/v1/audit/export?format=cloudevents"} {
		got := a.ask(call{method: "GET", path: path, token: "live auditor", status: 200, contains: "in live ... for both"})
		for _, hidden := range []string{"in test", `"test":`, "test/", "environment:test"} {
			if i := strings.Index(got.body, hidden); i >= 0 {
				t.Errorf("GET %s shows %s of the environment test: %s", path, hidden, around(got.body, i))
			}
		}
	}
	a.ask(call{method: "GET", path: "/admin/v1/audit/" + alone, token: "live auditor", status: 404})
	a.ask(call{method: "GET", path: "/admin/v1/audit/" + both, status: 200, contains: `"versions":{"live": ... "test": ... in test`})
}

// The secret of a token or server key is shown once, when it is made, and its hash never.
func TestAdminSecrets(t *testing.T) {
	a := newAdmin(t)
	a.openShop()
	type made struct {
		ID, Token, Key string
	}
	create := func(path, body string) made {
		t.Helper()
		c := call{method: "POST", path: path, header: "Idempotency-Key: once " + body, body: body, status: 201}
		var m made
		if err := json.Unmarshal([]byte(a.ask(c).body), &m); err != nil || m.Token+m.Key == "" {
			t.Fatalf("%s shows no secret: %v", c, err)
		}
		c.status, c.contains = 409, "its secret was shown once and cannot be shown again"
		a.ask(c)
		return m
	}
	token := create("/admin/v1/tokens", `{"name":"CI","grants":[{"role":"viewer"}],"expires_at":"`+time.Now().Add(time.Hour).Format(time.RFC3339)+`"}`)
	server := create(E+"/keys", `{"name":"backend","kind":"server"}`)
	client := made{}
	if err := json.Unmarshal([]byte(a.ask(call{method: "POST", path: E + "/keys", body: `{"name":"web","kind":"client"}`, status: 201}).body), &client); err != nil {
		t.Fatal(err)
	}
	a.secrets["CI"] = token.Token
	a.ask(call{method: "GET", path: P, token: "CI", status: 200})
	for _, path := range []string{"/admin/v1/whoami", "/admin/v1/tokens", E + "/keys", "/admin/v1/audit", "/admin/v1/audit/export", "/admin/v1/audit/export?format=csv", "/admin/v1/audit?object=token:" + token.ID, E + "/versions"} {
		got := a.ask(call{method: "GET", path: path, status: 200})
		for _, secret := range []string{token.Token, server.Key, a.secrets["root"]} {
			for _, form := range []string{secret, commands.Hash(secret)} {
				if i := strings.Index(got.body, form); i >= 0 {
					t.Errorf("GET %s shows %s: %s", path, form, around(got.body, i))
				}
			}
		}
	}
	a.ask(call{method: "GET", path: E + "/keys", status: 200, contains: client.Key}) // it is in every app
	a.run([]call{
		{"PATCH", E + "/keys/" + server.ID, "", "", `{"active":false}`, 200, `"active":false`},
		{"DELETE", E + "/keys/" + server.ID, "", "", "", 204, ""},
		{"DELETE", E + "/keys/" + server.ID, "", "", "", 404, ""},
	})

	// A token ends when it runs out, and at once when it is revoked.
	a.later.Store(int64(2 * time.Hour))
	a.ask(call{method: "GET", path: P, token: "CI", status: 401, contains: `the token \"CI\" ran out on`})
	a.later.Store(0)
	a.ask(call{method: "GET", path: P, token: "CI", status: 200})
	a.ask(call{method: "DELETE", path: "/admin/v1/tokens/" + token.ID, status: 204})
	a.ask(call{method: "GET", path: P, token: "CI", status: 401, contains: `the token is not known, or was revoked`})

	// The last one that may do everything stays.
	var all struct{ Items []struct{ ID string } }
	if a.get("/admin/v1/tokens", &all); len(all.Items) != 1 {
		t.Fatalf("there are %d tokens, want 1", len(all.Items))
	}
	root := "/admin/v1/tokens/" + all.Items[0].ID
	a.ask(call{method: "DELETE", path: root, status: 409, contains: `is the last one that may administer everything`})
	a.token("second", `{"role":"admin"}`)
	a.ask(call{method: "DELETE", path: root, status: 204})
	a.ask(call{method: "GET", path: P, status: 401})
	a.ask(call{method: "GET", path: P, token: "second", status: 200})
}

// around is a part of a long text.
func around(text string, at int) string {
	return text[max(0, at-200):min(len(text), at+200)]
}
