package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"flagledger/commands"
	"flagledger/domain"
)

// fullLog takes what prepares the fuzzing, and then nothing more: changes are read and decided, and the state stays as it is.
type fullLog struct {
	appliedLog
	full bool
}

func (l *fullLog) Append(ctx context.Context, c domain.Commit, expected uint64) (uint64, error) {
	if l.full {
		return 0, domain.Refuse(domain.Unavailable, "the log is full")
	}
	return l.appliedLog.Append(ctx, c, expected)
}

// fuzzed is a server with a shop, and a log of its own errors.
type fuzzed struct {
	*Server
	token  string
	logged bytes.Buffer
}

func newFuzzed(f *testing.F) *fuzzed {
	views := openViews(f)
	persons, log := walkPersons{newMemoryIdentities()}, &fullLog{appliedLog: appliedLog{views}}
	service := commands.New(log, views, persons, domain.DefaultLimits(), time.Now)
	x := &fuzzed{}
	x.Server = New(Config{
		Commands: service, Views: views, Identities: persons, Metrics: prometheus.NewRegistry(), Limits: domain.DefaultLimits(), Accesses: &notedAccesses{},
		Logger: slog.New(slog.NewTextHandler(&x.logged, &slog.HandlerOptions{Level: slog.LevelError})),
	})
	x.Close() // streams end at once
	create, secret := commands.NewToken("root", []domain.Grant{{Role: domain.Admin}}, time.Time{})
	x.token = secret
	if _, err := service.Do(f.Context(), commands.Change{Commands: []commands.Command{create}, Actor: domain.Actor{Kind: "system", ID: "test"}, Source: domain.SourceSystem}); err != nil {
		f.Fatal(err)
	}
	const rules = `"rules":[{"type":"ALL","conditions":[{"property":"plan","operator":"EQUAL","value":"pro"}]}]`
	for _, s := range [][3]string{
		{"POST", "/admin/v1/projects", `{"key":"shop"}`},
		{"POST", "/admin/v1/projects/shop/environments", `{"key":"live","client_key":"shop-live-client"}`},
		{"POST", "/admin/v1/projects/shop/features", `{"key":"checkout","variants":[{"key":"a","value":1,"weight":30}]}`},
		{"POST", "/admin/v1/projects/shop/segments", `{"key":"west",` + rules + `}`},
		{"PUT", "/admin/v1/projects/shop/contexts/plan", `{"type":"string"}`},
		{"PUT", "/admin/v1/projects/shop/environments/live/features/checkout/segment-overrides/west", `{"enabled":true}`},
		{"PUT", "/admin/v1/projects/shop/environments/live/features/checkout/identity-overrides/ada", `{"variant":"a"}`},
		{"PUT", "/admin/v1/projects/shop/features/checkout/tests", `{"cases":[{"name":"ada","environment":"live","identifier":"ada","enabled":false}]}`},
	} {
		if status, body := x.ask(f, s[0], s[1], s[2], ""); status >= 300 {
			f.Fatalf("%v: %d %s", s, status, body)
		}
	}
	log.full = true
	return x
}

// ask sends a request, whose target need not be one that a URL is made of.
func (x *fuzzed) ask(t testing.TB, method, target, body, contentType string) (int, string) {
	u, err := url.ParseRequestURI(target)
	if err != nil {
		t.Skip("no server reads it so far")
	}
	x.logged.Reset()
	r := httptest.NewRequestWithContext(t.Context(), method, "/", strings.NewReader(body))
	r.URL, r.RequestURI = u, target
	r.Header = http.Header{"Authorization": {"Bearer " + x.token}, "X-Environment-Key": {"shop-live-client"}, "X-Api-Key": {"shop-live-client"}, "Content-Type": {contentType}}
	if strings.HasPrefix(target, "/ofrep") {
		delete(r.Header, "Authorization")
	}
	answer := httptest.NewRecorder()
	x.ServeHTTP(answer, r)
	if answer.Code >= 500 && answer.Code != http.StatusServiceUnavailable || x.logged.Len() > 0 {
		t.Errorf("%s %s %q: %d %s\n%s", method, target, body, answer.Code, answer.Body, &x.logged)
	}
	if kind := answer.Header().Get("Content-Type"); strings.Contains(kind, "json") && !strings.Contains(kind, "ndjson") && answer.Body.Len() > 0 && !json.Valid(answer.Body.Bytes()) {
		t.Errorf("%s %s %q answers what is no JSON: %s", method, target, body, answer.Body)
	}
	return answer.Code, answer.Body.String()
}

// fill puts what there is into a route's path, and the name where the path asks for what only a request knows.
func fill(path, name string) string {
	name = url.PathEscape(name)
	return strings.NewReplacer(":project", "shop", ":environment", "live", ":feature", "checkout", ":segment", "west",
		":identifier", name, ":version", name, ":position", name, ":id", name, ":key", name, ":token", name, ":context", name).Replace(path)
}

// adminBodies are one of each sort of body that the administration reads.
var adminBodies = []string{
	``, `{}`, `{"key":"new","name":"New","reason":"r","ticket":"T-1"}`, `{"cases":[{"name":"a","environment":"live","traits":{"plan":1},"value":null}]}`,
	`{"commands":[{"command":"set_feature_state","environment":"live","feature":"checkout","value":"b","weights":{"a":1}},{"command":"update_segment","segment":"west","rules":[{"field":"plan","operator":"in","values":[1,"b"]}]}],"dry_run":true,"impact":{"stored":1,"identities":[{"identifier":"ada","traits":{"plan":"pro"}}]}}`,
	`{"key":"new","kind":"ops","variants":[{"key":"x","value":7,"weight":1e1}],"tags":["t"],"owners":[],"initial_value":null}`,
	`{"rules":[{"type":"ANY","rules":[{"type":"NONE","conditions":[{"property":"$.identity.key","operator":"PERCENTAGE_SPLIT","value":"50"},{"property":"v","operator":"GREATER_THAN","value":"1.2:semver"}]}]}]}`,
	`{"enabled":true,"value":"x","weights":{"a":100},"place":0}`, `{"order":["west"]}`, `{"variant":"a"}`, `{"type":"semver","allowed":["1.0.0"],"privacy":"sensitive"}`,
	`{"version":1,"dry_run":true,"restore_deleted":true,"features":["checkout"]}`, `{"to":"2026-05-03T14:02:00Z","plan_hash":"any","reason":"r"}`,
	`{"position":3,"dry_run":true}`, `{"actor":"a","from":"2026-05-03T14:02:00Z","plan_hash":"any","reason":"r"}`,
	`{"identifier":"ada","traits":{"plan":"pro","n":1.5},"as_of":"1","explain":true}`, `{"name":"ci","grants":[{"role":"editor","project":"shop"}],"expires_at":"2099-01-01T00:00:00Z"}`,
	`{"name":"k","kind":"server","active":false}`, `{"hide_disabled_flags":null,"client_key":"another-key"}`,
}

// FuzzAdmin asks every route of the administration with any name in the path, query and body: it is answered, and never with an error of the server's.
func FuzzAdmin(f *testing.F) {
	x := newFuzzed(f)
	var routes []route
	for _, r := range x.routes() {
		if strings.HasPrefix(r.path, "/admin/") {
			routes = append(routes, r)
		}
	}
	for i, r := range routes {
		if r.method == http.MethodGet || r.method == http.MethodDelete {
			f.Add(uint8(i), "ada", "limit=2&reason=r", []byte(nil))
			f.Add(uint8(i), "1", "project=shop&object=segment:west&cursor="+cursorOf("2")+"&from=2026-05-03T14:02:00Z&to=latest&as_of=position:3&q=west&format=csv", []byte(nil))
			continue
		}
		for _, body := range adminBodies {
			f.Add(uint8(i), "ada", "", []byte(body))
		}
	}
	f.Fuzz(func(t *testing.T, n uint8, name, query string, body []byte) {
		r := routes[int(n)%len(routes)]
		x.ask(t, r.method, fill(r.path, name)+"?"+query, string(body), "application/json")
	})
}

// FuzzApps asks every route for apps likewise.
func FuzzApps(f *testing.F) {
	x := newFuzzed(f)
	var routes []route
	for _, r := range x.routes() {
		if !strings.HasPrefix(r.path, "/admin/") && r.method != http.MethodOptions && !strings.HasSuffix(r.path, "z") && r.path != "/metrics" && r.path != "/version" {
			routes = append(routes, r)
		}
	}
	for i := range routes {
		for _, body := range []string{
			`{"identifier":"ada","traits":[{"trait_key":"plan","trait_value":"pro","transient":true}]}`, `{"data":[{"identifier":"ada"}]}`, `{"context":{"targetingKey":"ada","plan":["x"]}}`,
			`{"identity":{"identifier":"ada"},"trait_key":"n","trait_value":1}`, `[{"identity":{"identifier":"ada"},"trait_key":"n","trait_value":null}]`, `{"identifier":"ada","trait_key":"n","increment_by":1}`,
			`{"checkout":1}`, `{"evaluations":[{"feature_name":"checkout","identity_identifier":"ada","enabled_when_evaluated":true,"count":1}]}`,
		} {
			f.Add(uint8(i), "checkout", "identifier=ada&feature=checkout&flagConfigEtag=2-3", []byte(body), false)
		}
		f.Add(uint8(i), "shop-live-client", "", []byte("identifier=ada&traits[0]trait_key=plan&traits[0].trait_value=pro&identity.identifier=ada"), true)
	}
	f.Fuzz(func(t *testing.T, n uint8, name, query string, body []byte, form bool) {
		r, contentType := routes[int(n)%len(routes)], "application/json"
		if form {
			contentType = "application/x-www-form-urlencoded"
		}
		x.ask(t, r.method, fill(r.path, name)+"?"+query, string(body), contentType)
	})
}
