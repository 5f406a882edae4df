package httpapi

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/mod/sumdb/note"

	"flagledger/commands"
	"flagledger/domain"
	"flagledger/domain/transparency"
	"flagledger/projections"
)

// A walk is a server on real views, and what was asked of it so far. Its log
// is the views themselves: what is appended is applied.
type walk struct {
	apiDocument
	url    string
	tokens map[string]string // by role
	id     string            // the last that was answered
	key    string            // likewise
	walked map[string]bool   // operations
}

type appliedLog struct{ views *projections.Views }

func (l appliedLog) Append(_ context.Context, c domain.Commit, expected uint64) (uint64, error) {
	position := l.views.Position() + 1
	if l.views.Project(c.Project).Position != expected {
		return 0, commands.ErrConflict
	}
	raw, err := json.Marshal(c)
	if err != nil {
		return 0, err
	}
	return position, l.views.Apply(domain.Recorded{Commit: c, Position: position, RecordedAt: c.Time, Raw: raw, LeafHash: sha256.Sum256(raw)}, 0)
}

// walkPersons keeps persons for commands and for the administration.
type walkPersons struct{ *memoryIdentities }

func (p walkPersons) Surrogate(_ context.Context, project string, environment int32, identifier string) (string, error) {
	return p.Identify(projections.EnvironmentID{Project: project, ID: environment}, identifier, nil).Surrogate, nil
}

func (p walkPersons) Lookup(_ string, _ int32, identifier string) string {
	if id := p.Get(projections.EnvironmentID{}, identifier); id != nil {
		return id.Surrogate
	}
	return ""
}

func (p walkPersons) Name(_ string, _ int32, surrogate string) string { return p.surrogates[surrogate] }

func (p walkPersons) List(_ projections.EnvironmentID, after string, limit int) (list []*domain.Identity) {
	for _, identifier := range slices.Sorted(maps.Keys(p.identities)) {
		if identifier > after && len(list) < limit {
			list = append(list, p.identities[identifier])
		}
	}
	return list
}

func (p walkPersons) Erase(_ context.Context, _ projections.EnvironmentID, identifier string) (string, bool, error) {
	id := p.identities[identifier]
	delete(p.identities, identifier)
	delete(p.surrogates, id.Surrogate)
	return id.Surrogate, true, nil
}

// walkLog signs what the views have, and has commits of which nothing but the position is known.
type walkLog struct {
	views *projections.Views
	key   note.Signer
	vkey  string
}

func newWalkLog(t *testing.T, views *projections.Views) walkLog {
	private, public, err := note.GenerateKey(rand.Reader, "flagledger/0000000000000000")
	if err != nil {
		t.Fatal(err)
	}
	key, err := note.NewSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	return walkLog{views, key, public}
}

func (l walkLog) Checkpoint(context.Context) (transparency.Signed, error) {
	size := l.views.Position()
	root, err := l.views.TreeRoot(size)
	if err != nil {
		return transparency.Signed{}, err
	}
	return transparency.Checkpoint{Origin: l.key.Name(), Size: size, Root: root}.Sign(l.key)
}

func (l walkLog) Checkpoints(ctx context.Context) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		signed, err := l.Checkpoint(ctx)
		yield(signed.Note, err)
	}
}

func (l walkLog) Keys() []LogKey {
	return []LogKey{{Vkey: l.vkey, Own: true, Until: time.Now(), Size: 1}, {Vkey: "another"}}
}

func (l walkLog) Leaves(_ context.Context, from, to uint64, each func(transparency.Leaf) error) error {
	for ; from <= to; from++ {
		c, err := l.views.Commit(from)
		if err != nil {
			return err
		}
		if err := each(transparency.Leaf{Position: from, Subject: "flagledger.log." + c.Project, Payload: []byte{0xff * byte(from%2)}}); err != nil {
			return err
		}
	}
	return nil
}

func newWalk(t *testing.T) *walk {
	t.Helper()
	views := openViews(t)
	persons := walkPersons{newMemoryIdentities()}
	service := commands.New(appliedLog{views}, views, persons, domain.DefaultLimits(), time.Now)
	s := New(Config{
		Commands: service, Views: views, Identities: persons, Transparency: newWalkLog(t, views), Metrics: prometheus.NewRegistry(), Logger: slog.New(slog.DiscardHandler),
		Version: "1.2.3", Limits: domain.DefaultLimits(), BodyLimit: 100_000,
		Backup: func(_ context.Context, w io.Writer, kind string) error { // the real one needs a log
			_, err := io.WriteString(w, kind)
			return err
		},
	})
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	w := &walk{apiDocument: readDocument(t), url: server.URL, tokens: map[string]string{}, walked: map[string]bool{}}
	for name, grant := range map[string]domain.Grant{
		"admin": {Role: domain.Admin}, "editor": {Role: domain.Editor}, "auditor": {Role: domain.Auditor}, "viewer": {Role: domain.Viewer},
		"stranger": {Role: domain.Admin, Project: "elsewhere"},
	} {
		create, secret := commands.NewToken(name, []domain.Grant{grant}, time.Time{})
		w.tokens[name] = secret
		if _, err := service.Do(t.Context(), commands.Change{Commands: []commands.Command{create}, Actor: domain.Actor{Kind: "system", ID: "test"}, Source: domain.SourceSystem}); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// withoutRight are tokens that lack a right, and how they are refused.
var withoutRight = map[any]struct {
	token  string
	status int
}{
	"read": {"stranger", 404}, "audit": {"viewer", 403}, "write": {"auditor", 403}, "manage": {"editor", 403},
}

// step is one request of a walk and the status it gets.
type step struct {
	method, path, body string
	status             int
	headers            string // Name: value, separated by |
}

func (w *walk) take(t *testing.T, s step) {
	t.Helper()
	s.path, s.headers = strings.ReplaceAll(s.path, "$id", w.id), strings.ReplaceAll(s.headers, "$key", w.key)
	path, query, _ := strings.Cut(s.path, "?")
	name := w.operationOf(s.method, path)
	op := w.operations()[name]
	if op == nil {
		t.Fatalf("%s %s is not described", s.method, path)
	}
	if s.status < 300 {
		w.walked[name] = true
		w.checkRequest(t, name, op, query, s)
	}
	if refused, is := withoutRight[op["x-right"]]; is && s.status < 300 {
		if resp, body := w.send(t, s, w.tokens[refused.token]); resp.StatusCode != refused.status {
			t.Errorf("%s by %s: status %d, want %d; %s", name, refused.token, resp.StatusCode, refused.status, body)
		}
	}
	resp, body := w.send(t, s, w.tokens["admin"])
	if resp.StatusCode != s.status {
		t.Errorf("%s %s: status %d, want %d; %s", s.method, s.path, resp.StatusCode, s.status, body)
		return
	}
	for _, finding := range w.checkAnswer(op, resp, body) {
		t.Errorf("%s %s: %s; %s", s.method, s.path, finding, body)
	}
	var made struct{ ID, Key string }
	if json.Unmarshal(body, &made) == nil && s.method == http.MethodPost && made.ID != "" {
		w.id, w.key = made.ID, made.Key
	}
}

func (w *walk) send(t *testing.T, s step, token string) (*http.Response, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), s.method, w.url+s.path, strings.NewReader(s.body))
	if err != nil {
		t.Fatal(err)
	}
	if isAdmin(" " + s.path) {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for h := range strings.SplitSeq(s.headers, "|") {
		if name, value, ok := strings.Cut(h, ": "); ok {
			req.Header.Set(name, value)
		}
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, body
}

// checkRequest holds what is sent, and will be accepted, to the document.
func (w *walk) checkRequest(t *testing.T, name string, op apiDocument, query string, s step) {
	t.Helper()
	_, path, _ := strings.Cut(name, " ")
	declared := map[any]bool{"X-Environment-Key": true, "X-API-Key": true} // keys
	for _, p := range append(w.at("paths", path).list("parameters"), op.list("parameters")...) {
		declared[w.resolve(p)["name"]] = true
	}
	for part := range strings.SplitSeq(query, "&") {
		if name, _, _ := strings.Cut(part, "="); name != "" && !declared[name] {
			t.Errorf("%s: the parameter %s is not described", s.path, name)
		}
	}
	for h := range strings.SplitSeq(s.headers, "|") {
		if name, _, _ := strings.Cut(h, ":"); name != "" && !declared[name] && !strings.HasPrefix(name, "Authorization") {
			t.Errorf("%s: the header %s is not described", s.path, name)
		}
	}
	if s.body == "" {
		return
	}
	var body any
	if err := json.Unmarshal([]byte(s.body), &body); err != nil {
		t.Fatalf("%s: %v in %s", s.path, err, s.body)
	}
	schema := op.at("requestBody", "content", "application/json")["schema"]
	if schema == nil {
		t.Errorf("%s %s: a body is not described", s.method, s.path)
		return
	}
	for _, finding := range w.findings(schema, body, "request") {
		t.Errorf("%s %s: %s", s.method, s.path, finding)
	}
}

// checkFilters compares the parameters of the audit with the filters that it
// says it has when it is asked for another one.
func (w *walk) checkFilters(t *testing.T) {
	t.Helper()
	_, body := w.send(t, step{method: http.MethodGet, path: "/admin/v1/audit?colour=red"}, w.tokens["admin"])
	var refusal problem
	if err := json.Unmarshal(body, &refusal); err != nil {
		t.Fatal(err)
	}
	_, names, _ := strings.Cut(refusal.Detail, "there are ")
	served := strings.Split(names, ", ")
	var described []string
	for _, p := range w.at("paths", "/admin/v1/audit").list("parameters") {
		if p := w.resolve(p); p["in"] == "query" {
			described = append(described, p["name"].(string))
		}
	}
	slices.Sort(served)
	slices.Sort(described)
	if !slices.Equal(served, described) {
		t.Errorf("the audit has the filters %v, described are %v", served, described)
	}
}

// checkAnswer holds an answer to the document.
func (w *walk) checkAnswer(op apiDocument, resp *http.Response, body []byte) (found []string) {
	status := fmt.Sprint(resp.StatusCode)
	described := w.resolve(op.at("responses")[status])
	if described == nil && resp.StatusCode >= 400 {
		described = w.resolve(op.at("responses")["default"])
	}
	if described == nil {
		return []string{"the status " + status + " is not described"}
	}
	for _, name := range []string{"ETag", "Flagledger-Position", "Flagledger-As-Of", "Retry-After", "X-Flagsmith-Document-Updated-At", "Last-Modified"} {
		if resp.Header.Get(name) != "" && described.at("headers")[name] == nil {
			found = append(found, "the header "+name+" is not described")
		}
	}
	if described.at("headers")["Flagledger-Position"] != nil && resp.StatusCode < 300 && resp.Header.Get("Flagledger-Position") == "" {
		found = append(found, "the header Flagledger-Position is not there")
	}
	contentType, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";")
	if len(body) == 0 {
		if described["content"] != nil {
			found = append(found, "there is no body")
		}
		return found
	}
	content := described.at("content", contentType)
	if content == nil {
		return append(found, "a body of type "+contentType+" is not described")
	}
	if strings.HasPrefix(contentType, "text/") || contentType == "application/zip" {
		return found
	}
	values := json.NewDecoder(bytes.NewReader(body)) // one, or one a line
	for {
		var value any
		switch err := values.Decode(&value); {
		case errors.Is(err, io.EOF):
			return found
		case err != nil:
			return append(found, err.Error())
		}
		found = append(found, w.findings(content["schema"], value, "answer")...)
	}
}

// The walk asks for every operation and sees that requests and answers are what
// the document says, and that a token without the right it names is refused.
func TestDocumentWalk(t *testing.T) {
	const (
		p    = "/admin/v1/projects/shop"
		e    = p + "/environments/production"
		why  = `"reason":"autumn","ticket":"SHOP-1"`
		done = "?reason=autumn&ticket=SHOP-1"
		tree = `[{"type":"ALL","conditions":[{"property":"email","operator":"CONTAINS","value":"@example.com"}],"rules":[{"type":"ANY","conditions":[{"property":"country","operator":"IN","value":"US,CA"}]}]}]`

		client = "X-Environment-Key: production-client-key"
		apiKey = "X-API-Key: production-client-key"
		server = "X-Environment-Key: $key"
	)
	w := newWalk(t)
	steps := []step{
		{"GET", "/healthz", "", 200, ""},
		{"GET", "/readyz", "", 200, ""},
		{"GET", "/version", "", 200, ""},
		{"GET", "/health", "", 200, ""},
		{"GET", "/healthcheck", "", 200, ""},
		{"GET", "/health/readiness/", "", 200, ""},
		{"GET", "/health/liveness/", "", 200, ""},
		{"GET", "/metrics", "", 200, ""},
		{"GET", "/admin/v1/whoami", "", 200, ""},

		{"POST", "/admin/v1/projects", `{"key":"shop","name":"The MART","description":"A shop","hide_disabled_flags":false,"persist_traits":true,"strict_contexts":false,` + why + `}`, 201, "Correlation-Id: c1|Flagledger-Source: cli"},
		{"POST", "/admin/v1/projects", `{"key":"shop"}`, 409, ""},
		{"POST", "/admin/v1/projects", `{"key":"elsewhere"}`, 201, ""},
		{"GET", "/admin/v1/projects?limit=1", "", 200, "Flagledger-Min-Position: 1"},
		{"PATCH", p, `{"description":"The shop","hide_disabled_flags":false,"persist_traits":true,"strict_contexts":false,` + why + `}`, 200, ""},
		{"PATCH", p, `{"name":"Mart"}`, 412, `If-Match: "1"`},
		{"PATCH", p, `{"title":"Mart"}`, 400, ""},
		{"GET", p, "", 200, ""},

		{"POST", p + "/environments", `{"key":"production","name":"Production","description":"Live","client_key":"production-client-key","allow_client_traits":true,"hide_sensitive_data":false,"hide_disabled_flags":null,"use_identity_overrides_in_local_eval":true,"use_identity_composite_key_for_hashing":true,` + why + `}`, 201, ""},
		{"POST", "/admin/v1/tokens", `{"name":"ci","grants":[{"role":"editor","project":"shop","environment":"production"}],"expires_at":"2100-01-01T00:00:00Z",` + why + `}`, 201, "Idempotency-Key: t1"},
		{"POST", "/admin/v1/tokens", `{"name":"ci","grants":[{"role":"editor","project":"shop","environment":"production"}],"expires_at":"2100-01-01T00:00:00Z",` + why + `}`, 409, "Idempotency-Key: t1"},
		{"GET", "/admin/v1/tokens?limit=1", "", 200, ""},
		{"DELETE", "/admin/v1/tokens/$id" + done, "", 204, ""},
		{"PATCH", e, `{"name":"Production","description":"Live!","hide_disabled_flags":false,"allow_client_traits":true,` + why + `}`, 200, ""},
		{"GET", e, "", 200, ""},
		{"GET", p + "/environments", "", 200, ""},
		{"POST", e + "/keys", `{"name":"web","kind":"client",` + why + `}`, 201, ""},
		{"PATCH", e + "/keys/$id", `{"name":"the web","active":false,"expires_at":null,` + why + `}`, 200, ""},
		{"GET", e + "/keys", "", 200, ""},
		{"DELETE", e + "/keys/$id" + done, "", 204, ""},

		{"PUT", p + "/contexts/plan", `{"type":"string","description":"Plan","owner":"growth","allowed":["free","pro"],"privacy":"public","required":true,` + why + `}`, 200, ""},
		{"PUT", p + "/contexts/age", `{"type":"integer"}`, 200, ""},
		{"GET", p + "/contexts", "", 200, ""},
		{"GET", p + "/contexts/plan", "", 200, ""},
		{"DELETE", p + "/contexts/age" + done, "", 204, ""},

		{"POST", p + "/features", `{"key":"checkout","description":"PayPal","kind":"release","owners":["ana"],"tags":["money"],"server_key_only":false,"object_value":false,"default_enabled":true,"initial_value":"classic",` + why + `}`, 201, ""},
		{"POST", p + "/features", `{"key":"search","default_enabled":true,"initial_value":"classic","variants":[{"key":"grid","value":"grid","weight":30},{"key":"list","value":7,"weight":20.5}]}`, 201, ""},
		{"PATCH", p + "/features/search", `{"description":"Search","kind":"experiment","owners":["bo"],"tags":[],"archived":false,"server_key_only":false,"object_value":false,"variants":[{"key":"grid","value":"grid","weight":40},{"key":"list","value":7,"weight":20.5}],` + why + `}`, 200, ""},
		{"GET", p + "/features?tag=money&kind=release&archived=false&limit=1&cursor=", "", 200, ""},
		{"GET", p + "/features/search", "", 200, ""},
		{"GET", p + "/features/moon", "", 404, ""},

		{"POST", p + "/segments", `{"key":"beta","name":"Beta users","description":"Testers","rules":` + tree + `,` + why + `}`, 201, ""},
		{"POST", p + "/segments", `{"key":"west","feature":"checkout","rules":[{"field":"country","operator":"in","values":["FR","DE"]},{"field":"age","operator":"gte","values":[18]}]}`, 201, ""},
		{"POST", p + "/segments", `{"key":"bad","rules":[{"type":"ALL","conditions":[{"property":"age","operator":"MODULO","value":"0|0"}]}]}`, 422, ""},
		{"GET", p + "/segments?feature=checkout", "", 200, ""},
		{"GET", p + "/segments/beta", "", 200, ""},

		{"PUT", p + "/segments/beta/tests", `{"cases":[{"name":"a tester","identifier":"ada","traits":{"email":"ada@example.com","country":"US"},"member":true}],` + why + `}`, 200, ""},
		{"PUT", p + "/features/checkout/tests", `{"cases":[{"name":"everybody","environment":"production","traits":{},"enabled":true,"value":"classic"}]}`, 200, ""},
		{"PUT", p + "/features/checkout/tests", `{"cases":[{"name":"nobody","environment":"production","enabled":false}]}`, 409, ""},
		{"PUT", p + "/features/checkout/tests", `{"cases":[{"name":"nobody","environment":"production","enabled":false}],"override_tests":true,"reason":"later"}`, 200, ""},
		{"PUT", p + "/features/checkout/tests", `{"cases":[]}`, 200, ""},
		{"GET", p + "/segments/beta/tests", "", 200, ""},
		{"GET", p + "/features/checkout/tests", "", 200, ""},
		{"PUT", p + "/segments/beta/tests", `{"cases":[]}`, 200, ""},

		{"PATCH", e + "/features/search", `{"enabled":true,"value":null,"weights":{"grid":50},` + why + `}`, 200, ""},
		{"PATCH", e + "/features/search", `{"weights":{"grid":150}}`, 422, ""},
		{"PUT", e + "/features/search/segment-overrides/beta", `{"enabled":true,"weights":{"grid":100},"place":0,` + why + `}`, 200, ""},
		{"PUT", e + "/features/checkout/segment-overrides/west", `{"enabled":true,"value":"paypal"}`, 200, ""},
		{"PUT", e + "/features/checkout/segment-overrides/beta", `{"enabled":true,"value":42}`, 200, ""},
		{"PUT", e + "/features/checkout/segment-overrides", `{"order":["beta","west"],` + why + `}`, 200, ""},
		{"PUT", e + "/features/checkout/identity-overrides/ada", `{"enabled":false,"value":true,` + why + `}`, 200, ""},
		{"PUT", e + "/features/search/identity-overrides/ada", `{"enabled":true,"variant":"list",` + why + `}`, 200, ""},
		{"GET", e + "/features", "", 200, ""},
		{"GET", e + "/features/checkout", "", 200, ""},
		{"GET", e + "/features/checkout/analytics?from=2020-01-01T00:00:00Z&to=2020-01-20T00:00:00Z&by=outcome,hour", "", 200, ""},
		{"GET", p + "/segments/beta/usages", "", 200, ""},
		{"GET", e + "/identities", "", 200, ""},
		{"GET", e + "/identities/ada", "", 200, ""},

		{"POST", "/api/v1/identities/", `{"identifier":"ada","traits":[{"trait_key":"email","trait_value":"ada@example.com"},{"trait_key":"age","trait_value":36,"transient":true}],"transient":false}`, 200, client},
		{"GET", "/api/v1/identities/?identifier=ada&transient=true", "", 200, client},
		{"GET", "/api/v1/identities/?identifier=ada&feature=search", "", 200, client},
		{"GET", "/api/v1/identities/?identifier=", "", 200, client},
		{"GET", "/api/v1/identities/?identifier=ada&feature=moon", "", 404, client},
		{"GET", "/api/v1/flags/", "", 200, client},
		{"GET", "/api/v1/flags/?feature=checkout", "", 200, client},
		{"GET", "/api/v1/flags/", "", 304, client + "|If-None-Match: *"},
		{"GET", "/api/v1/flags/", "", 403, ""},
		{"POST", "/api/v1/identities/", `{"identifier":true}`, 400, client},
		{"POST", "/api/v1/bulk-identities/", `{"data":[{"identifier":"bo","traits":[{"trait_key":"country","trait_value":"FR"}]}]}`, 200, client},
		{"POST", "/api/v1/traits/", `{"identity":{"identifier":"bo"},"trait_key":"country","trait_value":"DE"}`, 200, client},
		{"PUT", "/api/v1/traits/bulk/", `[{"identity":{"identifier":"bo"},"trait_key":"country","trait_value":null},{"identity":{"identifier":"bo"},"trait_key":"vip","trait_value":true}]`, 200, client},
		{"POST", "/api/v1/traits/increment-value/", `{"trait_key":"visits","increment_by":2,"identifier":"bo"}`, 200, client},
		{"POST", "/api/v1/analytics/flags/", `{"checkout":3}`, 200, client},
		{"POST", "/api/v2/analytics/flags/", `{"evaluations":[{"feature_name":"checkout","identity_identifier":"bo","enabled_when_evaluated":true,"count":3}]}`, 204, client},
		{"GET", e + "/identities/bo", "", 200, ""},

		{"POST", "/ofrep/v1/evaluate/flags", `{"context":{"targetingKey":"ada","country":"FR","age":3,"tags":["a"],"address":{}}}`, 200, apiKey},
		{"POST", "/ofrep/v1/evaluate/flags", `{"context":{}}`, 200, apiKey},
		{"POST", "/ofrep/v1/evaluate/flags?flagConfigEtag=1-1&flagConfigLastModified=1", `{"context":{"targetingKey":"ada"}}`, 304, apiKey + "|If-None-Match: *"},
		{"POST", "/ofrep/v1/evaluate/flags", `{}`, 400, apiKey},
		{"POST", "/ofrep/v1/evaluate/flags", `{}`, 401, ""},
		{"POST", "/ofrep/v1/evaluate/flags/checkout", `{"context":{"targetingKey":"ada"}}`, 200, apiKey},
		{"POST", "/ofrep/v1/evaluate/flags/search", `{"context":{}}`, 400, apiKey},
		{"POST", "/ofrep/v1/evaluate/flags/moon", `{"context":{}}`, 404, apiKey},

		{"POST", e + "/keys", `{"name":"backend","kind":"server","expires_at":"2100-01-01T00:00:00Z"}`, 201, ""},
		{"GET", "/api/v1/environment-document/", "", 200, server},
		{"GET", "/api/v1/environment-document/", "", 403, client},

		{"POST", p + "/changes", `{"commands":[
			{"command":"update_segment","segment":"beta","rules":[{"type":"ALL","conditions":[{"property":"email","operator":"CONTAINS","value":"@example"}]}]},
			{"command":"set_variants","feature":"search","variants":[{"key":"grid","value":"big grid","weight":40},{"key":"list","value":7,"weight":20.5}]},
			{"command":"create_environment","key":"staging"},
			{"command":"set_feature_state","environment":"staging","feature":"checkout","enabled":false},
			{"command":"remove_segment_override","environment":"production","feature":"checkout","segment":"west"},
			{"command":"delete_segment","segment":"west"}],"dry_run":false,` + why + `}`, 200, "Idempotency-Key: one"},
		{"POST", p + "/changes?dry_run=true", `{"commands":[{"command":"delete_feature","feature":"checkout"}]}`, 409, ""},
		{"POST", p + "/changes?dry_run=true", `{"commands":[{"command":"delete_environment","environment":"staging"}],"dry_run":true}`, 200, ""},
		{"POST", p + "/changes?dry_run=true&impact=true", `{"commands":[{"command":"update_project","name":"Mart"}],"impact":{"stored":1}}`, 200, ""},
		{"POST", p + "/changes", `{"commands":[{"command":"delete_project"}]}`, 422, "Idempotency-Key: one"},
		{"PATCH", p + "/segments/beta", `{"name":"Beta","description":"","rules":` + tree + `,` + why + `}`, 200, ""},
		{"PATCH", p + "/segments/beta", `{"rules":[{"type":"NONE","conditions":[{"property":"age","operator":"MODULO","value":"2|0"}]}]}`, 200, ""},

		{"GET", e + "/versions?limit=3", "", 200, ""},
		{"GET", e + "/versions/1", "", 200, ""},
		{"GET", e + "/versions/10", "", 200, ""},
		{"GET", e + "/versions/99", "", 404, ""},
		{"POST", e + "/rollback", `{"version":10,"dry_run":true,"impact":{"stored":10,"identities":[{"identifier":"cy","traits":{"country":"US"}}]}}`, 200, ""},
		{"POST", e + "/rollback", `{"to":"10","features":["search","checkout"],"segments":[],"restore_deleted":false,"plan_hash":"any",` + why + `}`, 200, ""},
		{"POST", e + "/rollback", `{"version":10}`, 422, ""},
		{"POST", e + "/rollback", `{"version":10,"plan_hash":"other","reason":"autumn"}`, 409, ""},
		{"GET", e + "/pins", "", 200, ""},
		{"GET", p + "/segments/beta/usages", "", 200, ""},
		{"GET", e + "/features/search", "", 200, ""},
		{"GET", e + "/features/search?as_of=9", "", 200, ""},
		{"GET", p + "/features?as_of=position:14", "", 200, ""},
		{"GET", p + "/features?as_of=yesterday", "", 400, ""},
		{"GET", e + "/features/search/blame", "", 200, ""},
		{"GET", e + "/diff?from=3&to=latest", "", 200, ""},
		{"GET", e + "/diff?from=staging@1", "", 200, ""},
		{"POST", e + "/evaluate", `{"identifier":"ada","as_of":"10","explain":true}`, 200, ""},
		{"POST", e + "/evaluate", `{"traits":{"email":"cy@example.com","country":"US"},"feature":"search","explain":true}`, 200, ""},
		{"POST", p + "/undo", `{"position":1}`, 422, ""},
		{"POST", p + "/undo", `{"position":32,"from":null,"to":null,"dry_run":true,"impact":{"stored":1}}`, 200, ""},
		{"POST", p + "/undo", `{"actor":"nobody","token":"nobody","change_request":"1","correlation_id":"c1","dry_run":true}`, 404, ""},
		{"DELETE", e + "/pins/segments/beta" + done, "", 204, ""},
		{"DELETE", e + "/pins/variants/search" + done, "", 204, ""},

		{"POST", e + "/clone", `{"key":"preview","name":"Preview","description":"A clone","client_key":"preview-client-key",` + why + `}`, 201, ""},
		{"DELETE", p + "/environments/preview" + done, "", 204, ""},
		{"DELETE", e + "/features/search/segment-overrides/beta" + done, "", 204, ""},
		{"DELETE", e + "/features/search/identity-overrides/ada" + done, "", 204, ""},
		{"DELETE", e + "/identities/ada" + done, "", 204, ""},
		{"DELETE", p + "/features/search" + done, "", 204, ""},
		{"DELETE", e + "/features/checkout/segment-overrides/beta" + done, "", 204, ""},
		{"DELETE", p + "/segments/beta" + done, "", 204, ""},
		{"DELETE", "/admin/v1/projects/elsewhere" + done, "", 204, ""},
		{"DELETE", p, "", 409, ""},

		{"GET", "/admin/v1/audit?limit=100", "", 200, ""},
		{"GET", "/admin/v1/audit?project=shop&environment=production&object=feature:checkout&actor_kind=token&type=segment_override.set.v1&source=api&ticket=SHOP-1&q=autumn&from=2020-01-01T00:00:00Z&to=2100-01-01T00:00:00Z", "", 200, ""},
		{"GET", "/admin/v1/audit?actor=nobody&token=nobody&change_request=1&correlation_id=c1&reason=autumn&limit=1", "", 200, ""},
		{"GET", "/admin/v1/audit?project=shop&environment=production&affects=feature:checkout", "", 200, ""},
		{"GET", "/admin/v1/backup?kind=keys", "", 200, ""},
		{"GET", "/admin/v1/backup?kind=all", "", 400, ""},
		{"GET", "/admin/v1/audit/export", "", 200, ""},
		{"GET", "/admin/v1/audit/export?format=cloudevents&project=shop", "", 200, ""},
		{"GET", "/admin/v1/audit/export?format=csv", "", 200, ""},
		{"GET", "/admin/v1/audit/export?format=xml", "", 400, ""},
		{"GET", "/admin/v1/audit?colour=red", "", 400, ""},
		{"GET", "/admin/v1/audit/7", "", 200, ""},
		{"GET", "/admin/v1/audit/999", "", 404, ""},
		{"GET", "/admin/v1/access-log?project=shop&object=segment:beta&actor=nobody&from=2020-01-01T00:00:00Z&to=2100-01-01T00:00:00Z&cursor=&limit=1", "", 200, ""},
		{"GET", "/admin/v1/access-log?colour=red", "", 400, ""},
		{"GET", "/admin/v1/log/checkpoint", "", 200, ""},
		{"GET", "/admin/v1/log/keys", "", 200, ""},
		{"GET", "/admin/v1/log/proof/inclusion?position=2&size=5", "", 200, ""},
		{"GET", "/admin/v1/log/proof/inclusion?position=6&size=5", "", 400, ""},
		{"GET", "/admin/v1/log/proof/inclusion", "", 400, ""},
		{"GET", "/admin/v1/log/proof/consistency?from=2&to=5", "", 200, ""},
		{"GET", "/admin/v1/log/proof/consistency?from=2&to=100000", "", 404, ""},
		{"GET", "/admin/v1/log/proof/consistency?from=0", "", 400, ""},
		{"GET", "/admin/v1/log/proof/consistency?from=-1", "", 400, ""},
		{"GET", "/admin/v1/log/proof/consistency?from=18446744073709551616", "", 400, ""},
		{"GET", "/admin/v1/log/export?from=2&to=5", "", 200, ""},
		{"GET", "/admin/v1/log/export?from=5&to=2", "", 400, ""},
		{"GET", "/admin/v1/log/export?to=100000", "", 404, ""},
	}
	for _, s := range steps {
		w.take(t, s)
	}
	w.checkFilters(t)
	for _, name := range slices.Sorted(maps.Keys(w.operations())) {
		if !w.walked[name] && !strings.Contains(name, "/stream") { // which has no end
			t.Errorf("%s is not walked", name)
		}
	}
}
