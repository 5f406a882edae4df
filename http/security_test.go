package httpapi_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"flagledger/commands"
	httpapi "flagledger/http"
)

// The tests of who is let in and what others learn (docs/access.md). They take the routes from the server itself, so that a new one is tested, or
// named as one that has no rule yet.

// rightsOf are the rights that docs/openapi.yaml says operations need, by method and path as the server writes them; "" where it says none.
func rightsOf(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("../docs/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var document struct {
		Paths map[string]map[string]any
	}
	if err := yaml.Unmarshal(text, &document); err != nil {
		t.Fatal(err)
	}
	rights := map[string]string{}
	for path, item := range document.Paths {
		for method, operation := range item {
			if o, is := operation.(map[string]any); is {
				right, _ := o["x-right"].(string)
				rights[strings.ToUpper(method)+" "+regexp.MustCompile(`{(\w+)}`).ReplaceAllString(path, ":$1")] = right
			}
		}
	}
	return rights
}

// of the routes of the administration that no right stands before: what somebody without any grant in the project is answered. They show, or do, what
// the grants allow, which TestAdminRoles has in full.
var rightless = map[string]int{
	"GET /admin/v1/projects": 200, "POST /admin/v1/projects": 403, "POST /admin/v1/projects/:project/changes": 404, "GET /admin/v1/audit": 200,
	"GET /admin/v1/audit/export": 200, "GET /admin/v1/audit/:position": 404, "GET /admin/v1/access-log": 200, "GET /admin/v1/whoami": 200,
}

// open are the routes that need neither token nor key.
var open = []string{"GET /healthz", "GET /readyz", "GET /version", "GET /metrics",
	"GET /health", "GET /healthcheck", "GET /health/readiness", "GET /health/liveness"}

// secured is a server with a shop and those who knock at its door.
type secured struct {
	*admin
	ids map[string]string // of the server key
}

func newSecured(t *testing.T) *secured {
	s := &secured{admin: newAdmin(t), ids: map[string]string{}}
	s.openShop()
	s.run([]call{
		{"POST", "/admin/v1/projects", "", "", `{"key":"bank"}`, 201, ""},
		{"PUT", P + "/contexts/plan", "", "", `{"type":"string"}`, 200, ""},
		{"PUT", E + "/features/search/identity-overrides/ada", "", "", `{"enabled":true}`, 200, ""},
		{"PATCH", E + "/features/checkout", "", "", `{"value":"secret of live"}`, 200, ""},
		{"PATCH", P + "/environments/test/features/checkout", "", "", `{"value":"secret of test"}`, 200, ""},
	})
	for _, role := range []string{"viewer", "auditor", "approver", "editor", "admin"} {
		s.token(role, fmt.Sprintf(`{"role":%q,"project":"shop"}`, role))
		s.token("live "+role, fmt.Sprintf(`{"role":%q,"project":"shop","environment":"live"}`, role))
	}
	s.token("stranger", `{"role":"admin","project":"bank"}`)
	s.token("revoked", `{"role":"admin"}`)
	s.ask(call{method: "DELETE", path: "/admin/v1/tokens/" + fmt.Sprint(s.last["id"]), status: 204})
	s.secrets["expired"] = s.make("/admin/v1/tokens", `{"name":"expired","grants":[{"role":"admin"}],"expires_at":"`+time.Now().Add(time.Hour).Format(time.RFC3339)+`"}`)
	s.later.Store(int64(2 * time.Hour))
	return s
}

// make creates a token or SDK key and returns its secret.
func (s *secured) make(path, body string) string {
	s.t.Helper()
	var made struct{ Token, Key, ID string }
	got := s.ask(call{method: "POST", path: path, body: body, status: 201})
	if err := json.Unmarshal([]byte(got.body), &made); err != nil || made.Token+made.Key == "" {
		s.t.Fatalf("%s makes %s, error %v", path, got.body, err)
	}
	s.ids[made.Token+made.Key] = made.ID
	return made.Token + made.Key
}

// filled is a path of a route with what there is in the shop for its parameters.
func filled(path, project, environment string) string {
	return strings.NewReplacer(":project", project, ":environment", environment, ":feature", "checkout", ":segment", "west", ":context", "plan",
		":identifier", "ada", ":version", "1", ":position", "2", ":id", "none").Replace(path)
}

// adminRoutes are the routes of the administration.
func adminRoutes(t *testing.T) (all [][2]string) {
	rights := rightsOf(t)
	for _, r := range httpapi.Routes() {
		name := strings.Replace(r[0], "HEAD", "GET", 1) + " " + r[1]
		if !strings.HasPrefix(r[1], "/admin/") {
			continue
		}
		if _, known := rightless[name]; rights[name] == "" && !known {
			t.Errorf("%s: neither docs/openapi.yaml nor this test says who may", name)
		}
		all = append(all, r)
	}
	if len(all) < 80 {
		t.Fatalf("only %d routes of the administration", len(all))
	}
	return all
}

// plain is a refusal without what is another in each: the name of the request.
func (r reply) plain() string {
	return regexp.MustCompile(`,"request_id":"[^"]*"`).ReplaceAllString(r.body, "")
}

// Whoever is not known is told so on every route, in the same words whatever is asked for, at once, and nothing happens.
func TestSecurityOfStrangers(t *testing.T) {
	s := newSecured(t)
	key := s.make(E+"/keys", `{"name":"backend","kind":"server"}`)
	root := s.secrets["root"]
	const needed, unknown = "this needs a token: send the header Authorization: Bearer", "the token is not known, or was revoked"
	credentials := []struct{ name, header, says string }{
		{"none", "", needed},
		{"no scheme", "Authorization: " + root, needed},
		{"no token", "Authorization: Bearer", needed},
		{"an empty token", "Authorization: Bearer ", needed},
		{"another scheme", "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("root:"+root)), needed},
		{"another header", "X-API-Key: " + root, needed},
		{"garbage", "Authorization: Bearer \xff\xfe", unknown},
		{"much", "Authorization: Bearer " + strings.Repeat("a", 32<<10), unknown},
		{"the hash of a token", "Authorization: Bearer " + commands.Hash(root), unknown},
		{"half a token", "Authorization: Bearer " + root[:len(root)-1], unknown},
		{"more than a token", "Authorization: Bearer " + root + "a", unknown},
		{"a token in other case", "Authorization: Bearer " + strings.ToUpper(root), unknown},
		{"two tokens", "Authorization: Bearer " + root + " " + root, unknown},
		{"a client key", "Authorization: Bearer shop-live-client", unknown},
		{"a server key", "Authorization: Bearer " + key, unknown},
		{"revoked", "Authorization: Bearer " + s.secrets["revoked"], unknown},
		{"expired", "Authorization: Bearer " + s.secrets["expired"], `the token \"expired\" ran out on`},
	}
	before := s.views.Position()
	for _, r := range adminRoutes(t) {
		for _, who := range credentials {
			said := map[string]string{}
			for _, project := range []string{"shop", "moon"} {
				c := call{method: r[0], path: filled(r[1], project, "live"), token: "-", header: who.header + "|Flagledger-Min-Position: 999999", body: `{"key":`}
				if c.method == http.MethodGet || c.method == http.MethodHead {
					c.body = ""
				}
				got := s.send(c)
				if got.status != 401 || got.header.Get("Www-Authenticate") != "Bearer" || got.header.Get("Cache-Control") != "no-store" {
					t.Errorf("%s with %s answers %d %s %v, want 401", c, who.name, got.status, got.body, got.header)
				}
				if c.method != http.MethodHead && !strings.Contains(got.body, who.says) {
					t.Errorf("%s with %s answers %s, want %s", c, who.name, got.body, who.says)
				}
				s.check(c, got)
				said[project] = got.plain()
			}
			if said["shop"] != said["moon"] {
				t.Errorf("%s %s with %s tells what exists: %v", r[0], r[1], who.name, said)
			}
		}
	}
	if after := s.views.Position(); after != before {
		t.Errorf("strangers have led from position %d to %d", before, after)
	}
}

// A token has the rights of its role and no others, on every route. What it may not see is answered as what is not there, in the same words. The
// requests have a parameter that no route knows: so those who may are told that (400), and nothing happens.
func TestSecurityOfTokens(t *testing.T) {
	s := newSecured(t)
	roles := map[string][]string{
		"viewer": {"read"}, "auditor": {"read", "audit"}, "approver": {"read", "audit"}, "editor": {"read", "audit", "write"},
		"admin": {"read", "audit", "write", "manage"},
	}
	rights := rightsOf(t)
	before := s.views.Position()
	ask := func(r [2]string, token, project, environment string) reply {
		return s.send(call{method: r[0], path: filled(r[1], project, environment) + "?no-such-parameter=1", token: token})
	}
	// hidden sees that what exists is answered as what does not.
	hidden := func(r [2]string, token, project, environment string) {
		t.Helper()
		there := ask(r, token, project, environment)
		instead := [2]string{project, "moon"}
		if project != "shop" || token == "stranger" {
			instead = [2]string{"moon", environment}
		}
		absent := ask(r, token, instead[0], instead[1])
		names := strings.NewReplacer(`\"`+project+`\"`, `\"moon\"`)
		if instead[1] == "moon" {
			names = strings.NewReplacer(`\"`+environment+`\"`, `\"moon\"`)
		}
		if there.status != 404 || absent.status != 404 || names.Replace(there.plain()) != absent.plain() {
			t.Errorf("%s %s by %s in %s/%s answers %d %s, and of what does not exist %d %s", r[0], r[1], token, project, environment, there.status, there.body, absent.status, absent.body)
		}
	}
	for _, r := range adminRoutes(t) {
		name := strings.Replace(r[0], "HEAD", "GET", 1) + " " + r[1]
		inProject, inEnvironment := strings.Contains(r[1], ":project"), strings.Contains(r[1], ":environment")
		right := rights[name]
		if status, is := rightless[name]; is {
			c := call{method: r[0], path: filled(r[1], "shop", "live"), token: "stranger"}
			if r[0] == http.MethodPost {
				c.body = `{"key":"new"}`
			}
			if got := s.send(c); got.status != status {
				t.Errorf("%s by a stranger answers %d %s, want %d", c, got.status, got.body, status)
			}
			continue
		}
		if inProject {
			hidden(r, "stranger", "shop", "live")
		} else if got := ask(r, "stranger", "", ""); got.status != 403 {
			t.Errorf("%s by a stranger answers %d %s, want 403", name, got.status, got.body)
		}
		for role, has := range roles {
			want := map[bool]int{true: 400, false: 403}
			may := slices.Contains(has, right) && inProject
			if got := ask(r, role, "shop", "live"); got.status != want[may] {
				t.Errorf("%s by %s answers %d %s, want %d", name, role, got.status, got.body, want[may])
			}
			// The same role in one environment.
			may = may && (inEnvironment || right == "read")
			if got := ask(r, "live "+role, "shop", "live"); got.status != want[may] {
				t.Errorf("%s by %s in live alone answers %d %s, want %d", name, role, got.status, got.body, want[may])
			}
			if inEnvironment {
				hidden(r, "live "+role, "shop", "test")
			}
		}
	}
	if after := s.views.Position(); after != before {
		t.Errorf("requests with an unknown parameter have led from position %d to %d", before, after)
	}
}

// sdkBodies are bodies with which the routes for apps answer 2xx.
var sdkBodies = map[string]string{
	"POST /api/v1/identities": `{"identifier":"bob"}`, "POST /api/v1/bulk-identities": `{"data":[{"identifier":"bob"}]}`,
	"POST /api/v1/traits":                 `{"identity":{"identifier":"bob"},"trait_key":"a","trait_value":1}`,
	"PUT /api/v1/traits/bulk":             `[{"identity":{"identifier":"bob"},"trait_key":"a","trait_value":1}]`,
	"POST /api/v1/traits/increment-value": `{"identifier":"bob","trait_key":"n","increment_by":1}`,
	"POST /api/v1/analytics/flags":        `{"checkout":1}`, "POST /api/v2/analytics/flags": `{"evaluations":[]}`,
	"POST /ofrep/v1/evaluate/flags": `{"context":{"targetingKey":"bob"}}`, "POST /ofrep/v1/evaluate/flags/:key": `{"context":{"targetingKey":"bob"}}`,
}

// A key opens its environment alone, for what it is for, for as long as it is valid. What is wrong with one that does not is not told.
func TestSecurityOfKeys(t *testing.T) {
	s := newSecured(t)
	const T = P + "/environments/test"
	soon := time.Now().Add(3 * time.Hour).Format(time.RFC3339)
	server := s.make(E+"/keys", `{"name":"backend","kind":"server"}`)
	other := s.make(T+"/keys", `{"name":"test","kind":"server"}`)
	revoked, inactive := s.make(E+"/keys", `{"name":"revoked","kind":"server"}`), s.make(E+"/keys", `{"name":"inactive","kind":"client"}`)
	expired := s.make(E+"/keys", `{"name":"expired","kind":"server","expires_at":"`+soon+`"}`)
	s.run([]call{
		{"DELETE", E + "/keys/" + s.ids[revoked], "", "", "", 204, ""},
		{"PATCH", E + "/keys/" + s.ids[inactive], "", "", `{"active":false}`, 200, ""},
		{"POST", P + "/environments", "", "", `{"key":"gone","client_key":"client-of-gone"}`, 201, ""},
		{"DELETE", P + "/environments/gone", "", "", "", 204, ""},
	})
	s.later.Store(int64(4 * time.Hour))
	refused := map[string]string{
		"none": "", "unknown": "moon-key-is-none", "unknown server key": "ser.moon", "hash": commands.Hash(server), "without its beginning": strings.TrimPrefix(server, "ser."),
		"revoked": revoked, "inactive": inactive, "expired": expired, "of an environment that is gone": "client-of-gone", "a token": s.secrets["root"], "garbage": "\xff\xfe",
		"much": strings.Repeat("a", 32<<10), "the key of the environment": "live", "in other case": "SHOP-LIVE-CLIENT",
	}
	before := s.views.Position()
	tested := 0
	for _, r := range httpapi.Routes() {
		name := r[0] + " " + strings.TrimSuffix(r[1], "/")
		switch {
		case strings.HasPrefix(r[1], "/admin/"), r[0] == http.MethodOptions:
			continue
		case slices.Contains(open, strings.Replace(name, "HEAD", "GET", 1)):
			if got := s.send(call{method: r[0], path: r[1], token: "-"}); got.status != 200 || strings.Contains(got.body, "shop") {
				t.Errorf("%s answers %d %s", name, got.status, got.body)
			}
			continue
		}
		tested++
		status, headers := 403, []string{"X-Environment-Key: "}
		if strings.HasPrefix(r[1], "/ofrep/") {
			status, headers = 401, []string{"Authorization: Bearer ", "X-API-Key: "}
		}
		inPath := regexp.MustCompile(`/environments/:key/|/:token`).MatchString(r[1])
		send := func(key, header string) reply {
			path := r[1]
			if inPath {
				path, header = strings.Replace(path, ":key", url.PathEscape(key), 1), ""
			} else {
				path, header = strings.Replace(path, ":key", "checkout", 1), header+key
			}
			path = strings.Replace(path, ":token", base64.RawURLEncoding.EncodeToString([]byte(key)), 1)
			return s.send(call{method: r[0], path: path, token: "-", header: header + "|Flagledger-Min-Position: 999999", body: sdkBodies[name]})
		}
		for _, header := range headers {
			said := ""
			for which, key := range refused {
				got := send(key, header)
				if which == "none" && inPath {
					continue // it is another path
				}
				if got.status != status {
					t.Errorf("%s with key %s answers %d %s, want %d", name, which, got.status, got.body, status)
				}
				if which == "none" || inPath && strings.HasPrefix(key, "ser.") {
					continue // who sends none is told so, as is who puts into a path what is secret
				}
				if said == "" {
					said = got.body
				}
				if got.body != said {
					t.Errorf("%s with key %s answers %s, with another %s", name, which, got.body, said)
				}
			}
		}
	}
	if tested < 20 {
		t.Errorf("only %d routes for apps were tested", tested)
	}
	if after := s.views.Position(); after != before {
		t.Errorf("refused keys have led from position %d to %d", before, after)
	}

	// Each key sees its own environment.
	const evaluate = "/ofrep/v1/evaluate/flags"
	for _, tc := range []struct{ key, sees, not string }{
		{"shop-live-client", "secret of live", "secret of test"}, {server, "secret of live", "secret of test"}, {other, "secret of test", "secret of live"},
	} {
		for _, c := range []call{
			{method: "GET", path: "/api/v1/flags/", header: "X-Environment-Key: " + tc.key},
			{method: "POST", path: "/api/v1/identities/", header: "X-Environment-Key: " + tc.key, body: `{"identifier":"bob"}`},
			{method: "POST", path: evaluate, header: "Authorization: Bearer " + tc.key, body: `{"context":{"targetingKey":"bob"}}`},
			{method: "POST", path: evaluate + "/checkout", header: "X-API-Key: " + tc.key, body: `{"context":{"targetingKey":"bob"}}`},
		} {
			c.token = "-"
			if got := s.send(c); got.status != 200 || !strings.Contains(got.body, tc.sees) || strings.Contains(got.body, tc.not) {
				t.Errorf("%s with %s answers %d %s", c, c.header, got.status, got.body)
			}
		}
	}
	// A client key, which every browser has, does not open what is for servers.
	for key, status := range map[string]int{"shop-live-client": 403, server: 200} {
		got := s.send(call{method: "GET", path: "/api/v1/environment-document/", token: "-", header: "X-Environment-Key: " + key})
		if got.status != status || (status == 403) == strings.Contains(got.body, "secret of live") {
			t.Errorf("the environment document with %s: %d %s", key, got.status, got.body)
		}
	}
}
