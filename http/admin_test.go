package httpapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"gopkg.in/yaml.v3"

	"flagledger/commands"
	"flagledger/domain"
	"flagledger/domain/evaluation"
	"flagledger/domain/transparency"
	"flagledger/eventstore"
	"flagledger/eventstore/checkpoints"
	"flagledger/eventstore/identities"
	"flagledger/eventstore/storetest"
	httpapi "flagledger/http"
	"flagledger/projections"
)

// The tests of the administration ask a real server over a socket, on a real log with an embedded NATS, real views and a real identity store.

// An admin is such a server.
type admin struct {
	t       *testing.T
	url     string
	server  *httpapi.Server
	store   *eventstore.Store
	views   *projections.Views
	service *commands.Service
	parts   parts
	later   atomic.Int64      // how much later than now the server's clock is, in nanoseconds
	secrets map[string]string // of tokens, by name
	asked   map[string]bool   // method and path of what succeeded, as in docs/openapi.yaml
	last    map[string]any    // the last answer that was an object
}

// bodyLimit of the server, in bytes.
const bodyLimit = 64 << 10

// Paths of the shop that most tests use.
const (
	P = "/admin/v1/projects/shop"
	E = P + "/environments/live"
)

// newAdmin starts a server with a token "root" that may do everything.
func newAdmin(t *testing.T) *admin {
	t.Helper()
	a := &admin{t: t, store: storetest.New(t), secrets: map[string]string{}, asked: map[string]bool{}}
	persons, err := identities.Open(t.Context(), a.store.JetStream(), identities.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := persons.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	a.views, err = projections.Open(filepath.Join(t.TempDir(), "views.db"), projections.Options{Schema: 1, Encode: httpapi.EncodeFlag})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.views.Close(); err != nil {
			t.Error(err)
		}
	})
	a.follow()

	now := func() time.Time { return time.Now().Add(time.Duration(a.later.Load())) }
	l := parts{a.store, persons}
	service := commands.New(l, a.views, l, domain.DefaultLimits(), now)
	a.service, a.parts = service, l
	a.server = httpapi.New(httpapi.Config{
		Commands: service, Views: a.views, Identities: l, Transparency: a.sign(), Ready: a.store.Health, Metrics: prometheus.NewRegistry(),
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil)), Now: now, Version: "1.2.3", Limits: domain.DefaultLimits(), BodyLimit: bodyLimit,
	})
	server := httptest.NewServer(a.server)
	t.Cleanup(server.Close)
	a.url = server.URL

	create, secret := commands.NewToken("Root", []domain.Grant{{Role: domain.Admin}}, time.Time{})
	a.secrets["root"] = secret
	if _, err := service.Do(t.Context(), commands.Change{Commands: []commands.Command{create}, Actor: domain.Actor{Kind: "system", ID: "test"}, Source: domain.SourceSystem}); err != nil {
		t.Fatal(err)
	}
	return a
}

// A signedLog is the transparency log of the store.
type signedLog struct {
	*checkpoints.Log
	store *eventstore.Store
}

func (l signedLog) Checkpoints(ctx context.Context) iter.Seq2[string, error] { return l.All(ctx) }

func (l signedLog) Keys() (all []httpapi.LogKey) {
	for _, k := range l.Log.Keys() {
		all = append(all, httpapi.LogKey(k))
	}
	return all
}

func (l signedLog) Leaves(ctx context.Context, from, to uint64, each func(transparency.Leaf) error) error {
	for ; from <= to; from++ {
		m, err := l.store.Get(ctx, from)
		if err == nil {
			err = each(m.Leaf())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// sign signs checkpoints until the end of the test.
func (a *admin) sign() signedLog {
	l := signedLog{checkpoints.New(a.views, checkpoints.Options{KeyFile: filepath.Join(a.t.TempDir(), "signing.key")}), a.store}
	ctx, stop := context.WithCancel(context.Background())
	var signing sync.WaitGroup
	signing.Go(func() { l.Run(ctx, a.store.JetStream(), 1, a.store.LastPosition) })
	a.t.Cleanup(func() {
		stop()
		signing.Wait()
	})
	return l
}

// awaitCheckpoint waits until a checkpoint can be had.
func (a *admin) awaitCheckpoint() {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(a.t.Context(), time.Minute)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, a.url+"/admin/v1/log/checkpoint", nil)
		if err != nil {
			a.t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+a.secrets["root"])
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			a.t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode == http.StatusOK {
			return
		}
	}
}

// follow feeds the log to the views until the end of the test.
func (a *admin) follow() {
	ctx, stop := context.WithCancel(context.Background())
	messages, err := a.store.Subscriber(a.views.Reached).Subscribe(ctx, eventstore.Subjects)
	if err != nil {
		a.t.Fatal(err)
	}
	var following sync.WaitGroup
	following.Go(func() {
		for m := range messages {
			rec, err := eventstore.Decode(m)
			if err == nil {
				err = a.views.Apply(rec, 0)
			}
			if err != nil {
				a.t.Error(err)
			}
			m.Ack()
		}
	})
	a.t.Cleanup(func() {
		stop()
		following.Wait()
	})
}

// parts are the log and the identity store as the service and the server want them.
type parts struct {
	store   *eventstore.Store
	persons *identities.Store
}

func (p parts) Append(ctx context.Context, c domain.Commit, expected uint64) (uint64, error) {
	position, err := p.store.Append(ctx, c, expected)
	if _, ok := errors.AsType[*eventstore.ConflictError](err); ok {
		err = commands.ErrConflict
	}
	return position, err
}

func (p parts) Surrogate(ctx context.Context, project string, environment int32, identifier string) (string, error) {
	return p.persons.Surrogate(ctx, identities.EnvironmentToken(project, environment), identifier)
}

func (p parts) Lookup(project string, environment int32, identifier string) string {
	if id := p.persons.Get(identities.EnvironmentToken(project, environment), identifier); id != nil {
		return id.Surrogate
	}
	return ""
}

func (p parts) Name(project string, environment int32, surrogate string) string {
	identifier, _ := p.persons.Identifier(identities.EnvironmentToken(project, environment), surrogate)
	return identifier
}

func of(id projections.EnvironmentID) identities.Environment {
	return identities.EnvironmentToken(id.Project, id.ID)
}

func (p parts) Get(id projections.EnvironmentID, identifier string) *domain.Identity {
	return p.persons.Get(of(id), identifier)
}

func (p parts) Identify(id projections.EnvironmentID, identifier string, traits []evaluation.Trait) *domain.Identity {
	return p.persons.Identify(of(id), identifier, traits)
}

func (p parts) Identifier(id projections.EnvironmentID, surrogate string) string {
	identifier, _ := p.persons.Identifier(of(id), surrogate)
	return identifier
}

func (p parts) List(id projections.EnvironmentID, after string, limit int) []*domain.Identity {
	return p.persons.List(of(id), after, limit)
}

func (p parts) Erase(ctx context.Context, id projections.EnvironmentID, identifier string) (string, bool, error) {
	return p.persons.Erase(ctx, of(id), identifier)
}

// A call is a request and what is expected of its answer. In path, header and body, $name stands for the member of the last answer that had one.
type call struct {
	method, path string
	token        string // its name, root where empty; "-": none
	header       string // Name: value, separated by |
	body         string
	status       int
	contains     string // pieces, separated by " ... "
}

func (c call) String() string { return strings.TrimSpace(c.method + " " + c.path + " " + c.body) }

// reply is what came back.
type reply struct {
	status int
	header http.Header
	body   string
}

// run makes the calls, one after the other.
func (a *admin) run(calls []call) {
	a.t.Helper()
	for _, c := range calls {
		a.ask(c)
	}
}

// ask makes one call and checks the answer.
func (a *admin) ask(c call) reply {
	a.t.Helper()
	got := a.send(c)
	if got.status != c.status {
		a.t.Errorf("%s by %s answers %d %s, want %d", c, c.token, got.status, got.body, c.status)
		return got
	}
	for piece := range strings.SplitSeq(c.contains, " ... ") {
		if !strings.Contains(got.body, piece) {
			a.t.Errorf("%s answers %s, which lacks %s", c, got.body, piece)
		}
	}
	a.check(c, got)
	return got
}

// check sees what holds of every answer of the administration.
func (a *admin) check(c call, got reply) {
	a.t.Helper()
	if strings.Contains(got.body, `"hash":`) {
		a.t.Errorf("%s shows the hash of a secret: %s", c, got.body)
	}
	if got.header.Get("X-Request-Id") == "" && strings.HasPrefix(c.path, "/admin/") {
		a.t.Errorf("%s answers without X-Request-Id", c)
	}
	if got.body == "" {
		return
	}
	if got.status >= 400 {
		var problem struct {
			Type, Title string
			Status      int
		}
		if err := json.Unmarshal([]byte(got.body), &problem); err != nil || got.header.Get("Content-Type") != "application/problem+json" ||
			problem.Type == "" || problem.Title != http.StatusText(got.status) || problem.Status != got.status {
			a.t.Errorf("%s answers %s %s, which is no problem of status %d", c, got.header.Get("Content-Type"), got.body, got.status)
		}
		return
	}
	var object map[string]any
	if json.Unmarshal([]byte(got.body), &object) == nil {
		a.last = object
	}
	if _, is := object["position"]; c.method != http.MethodGet && !is && got.header.Get("Flagledger-Position") == "" && !strings.HasSuffix(c.path, "/evaluate") {
		a.t.Errorf("%s answers without a position", c)
	}
}

var placeholder = regexp.MustCompile(`\$[a-z_]+`)

// fill puts members of the last answer where they are named.
func (a *admin) fill(text string) string {
	return placeholder.ReplaceAllStringFunc(text, func(name string) string { return fmt.Sprint(a.last[name[1:]]) })
}

func (a *admin) send(c call) reply {
	a.t.Helper()
	path := a.fill(c.path)
	req, err := http.NewRequestWithContext(a.t.Context(), c.method, a.url+path, strings.NewReader(a.fill(c.body)))
	if err != nil {
		a.t.Fatal(err)
	}
	if c.token == "" {
		c.token = "root"
	}
	if secret := a.secrets[c.token]; secret != "" {
		req.Header.Set("Authorization", "Bearer "+secret)
	} else if c.token != "-" {
		a.t.Fatalf("there is no token %q", c.token)
	}
	for h := range strings.SplitSeq(c.header, "|") {
		if name, value, ok := strings.Cut(h, ": "); ok {
			req.Header.Set(name, a.fill(value))
		}
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		a.t.Fatalf("%s: %v", c, err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		a.t.Fatalf("%s: %v", c, err)
	}
	if res.StatusCode == http.StatusAccepted && c.status < 300 { // recorded, and not seen within two seconds: what follows is about what is seen
		res.StatusCode = c.status
		position, err := strconv.ParseUint(res.Header.Get("Flagledger-Position"), 10, 64)
		if err := errors.Join(err, a.views.Wait(a.t.Context(), position)); err != nil {
			a.t.Fatalf("%s: %v", c, err)
		}
	}
	if res.StatusCode < 300 {
		a.asked[c.method+" "+strings.SplitN(path, "?", 2)[0]] = true
	}
	return reply{res.StatusCode, res.Header, string(body)}
}

// get reads a resource into out.
func (a *admin) get(path string, out any) {
	a.t.Helper()
	a.getBy("root", path, out)
}

// getBy reads a resource with the token into out.
func (a *admin) getBy(token, path string, out any) {
	a.t.Helper()
	got := a.ask(call{method: "GET", path: path, token: token, status: 200})
	if err := json.Unmarshal([]byte(got.body), out); err != nil {
		a.t.Fatalf("GET %s: %v in %s", path, err, got.body)
	}
}

// token makes a token of that name.
func (a *admin) token(name, grants string) {
	a.t.Helper()
	var made struct{ Token string }
	got := a.ask(call{method: "POST", path: "/admin/v1/tokens", body: fmt.Sprintf(`{"name":%q,"grants":[%s]}`, name, grants), status: 201})
	if err := json.Unmarshal([]byte(got.body), &made); err != nil || made.Token == "" {
		a.t.Fatalf("no token in %s: %v", got.body, err)
	}
	a.secrets[name] = made.Token
}

// openShop makes a shop with two environments, live and test, three features and two segments, of which west overrides checkout in live.
func (a *admin) openShop() {
	a.t.Helper()
	a.run([]call{
		{method: "POST", path: "/admin/v1/projects", body: `{"key":"shop","name":"Shop"}`, status: 201},
		{method: "POST", path: P + "/environments", body: `{"key":"live","name":"Live","client_key":"shop-live-client"}`, status: 201},
		{method: "POST", path: P + "/environments", body: `{"key":"test","name":"Test"}`, status: 201},
		{method: "POST", path: P + "/features", body: `{"key":"checkout","initial_value":"classic","default_enabled":true}`, status: 201},
		{method: "POST", path: P + "/features", body: `{"key":"search","initial_value":"classic","variants":[{"key":"grid","value":"grid","weight":30},{"key":"list","value":7,"weight":20}]}`, status: 201},
		{method: "POST", path: P + "/features", body: `{"key":"banner"}`, status: 201},
		{method: "POST", path: P + "/segments", body: `{"key":"west","name":"Western users","rules":[{"type":"ALL","conditions":[{"property":"country","operator":"IN","value":"US,CA"}]}]}`, status: 201},
		{method: "POST", path: P + "/segments", body: `{"key":"beta","name":"Beta users","feature":"search","rules":[{"type":"ALL","conditions":[{"property":"email","operator":"CONTAINS","value":"@example.com"}]}]}`, status: 201},
		{method: "PUT", path: E + "/features/checkout/segment-overrides/west", body: `{"enabled":true,"value":"paypal"}`, status: 200},
	})
}

// Every route of the administration, in the order in which a shop might use them.
func TestAdmin(t *testing.T) {
	a := newAdmin(t)
	const why = `"reason":"autumn","ticket":"SHOP-1"`
	const done = "?reason=autumn&ticket=SHOP-1"
	a.run([]call{
		{"GET", "/healthz", "-", "", "", 200, `"status":"ok"`},
		{"GET", "/readyz", "-", "", "", 200, `"status":"ok","position":1`},
		{"GET", "/version", "-", "", "", 200, `"version":"1.2.3"`},
		{"GET", "/metrics", "-", "", "", 200, ""},
		{"GET", "/health", "-", "", "", 200, `"status":"ok","position":1`},
		{"GET", "/health/", "-", "", "", 200, `"status":"ok","position":1`},
		{"GET", "/health/readiness/", "-", "", "", 200, `"status":"ok","position":1`},
		{"GET", "/health/liveness/", "-", "", "", 200, `{"status":"ok"}`},
		{"GET", "/healthcheck", "-", "", "", 200, `"status":"ok","position":1`},
		{"GET", "/version/", "-", "", "", 200, `"image_tag":"1.2.3","ci_commit_sha":"unknown","has_email_provider":false,"is_enterprise":false,"is_saas":false,"self_hosted_data":null,"package_versions":{}}`},
		{"GET", "/admin/v1/whoami", "", "", "", 200, `"name":"Root" ... "grants":[{"role":"admin"}]`},
		{"GET", "/admin/v1/projects", "", "", "", 200, `{"items":[]}`},

		{"POST", "/admin/v1/projects", "", "", `{"key":"shop","name":"Shop","description":"An online shop",` + why + `}`, 201, `"key":"shop","name":"Shop","description":"An online shop" ... "persist_traits":true`},
		{"GET", P, "", "", "", 200, `"key":"shop"`},
		{"PATCH", P, "", "", `{"name":"The Shop",` + why + `}`, 200, `"name":"The Shop","description":"An online shop"`},
		{"GET", "/admin/v1/projects", "", "", "", 200, `"name":"The Shop"`},

		{"POST", P + "/environments", "", "", `{"key":"live","name":"Live","client_key":"shop-live-client",` + why + `}`, 201, `"key":"live" ... "client_key":"shop-live-client" ... "version":1`},
		{"PATCH", E, "", "", `{"description":"What customers see","hide_disabled_flags":true,` + why + `}`, 200, `"name":"Live","description":"What customers see" ... "hide_disabled_flags":true`},
		{"PATCH", E, "", "", `{"hide_disabled_flags":null,` + why + `}`, 200, `"hide_disabled_flags":null`},
		{"GET", E, "", "", "", 200, `"key":"live"`},
		{"GET", P + "/environments", "", "", "", 200, `"key":"live"`},

		{"POST", P + "/features", "", "", `{"key":"checkout","description":"How to pay","kind":"ops","owners":["ana"],"tags":["money"],"default_enabled":true,"initial_value":"classic",` + why + `}`, 201, `"key":"checkout" ... "kind":"ops","owners":["ana"],"tags":["money"] ... "initial_value":"classic"`},
		{"POST", P + "/features", "", "", `{"key":"search","initial_value":1,"variants":[{"key":"grid","value":"grid","weight":30.5},{"key":"list","value":false,"weight":20}]}`, 201, `"kind":"release" ... "initial_value":1 ... "weight":30.5`},
		{"GET", P + "/features/search", "", "", "", 200, `"key":"grid","value":"grid","weight":30.5 ... "key":"list","value":false,"weight":20`},
		{"PATCH", P + "/features/search", "", "", `{"kind":"experiment","tags":["ml"],"archived":true,"variants":[{"key":"list","value":false,"weight":20},{"key":"grid","value":"big grid","weight":40}],` + why + `}`, 200, `"kind":"experiment" ... "tags":["ml"] ... "archived":true ... "key":"grid","value":"big grid","weight":40`},
		{"GET", P + "/features?archived=true", "", "", "", 200, `{"items":[{"id":`},
		{"GET", P + "/features?tag=money&kind=ops&archived=false", "", "", "", 200, `"key":"checkout"`},
		{"GET", P + "/features?tag=nobody", "", "", "", 200, `{"items":[]}`},

		{"POST", P + "/segments", "", "", `{"key":"west","name":"Western users","rules":[{"type":"ALL","conditions":[{"property":"country","operator":"IN","value":"US,CA"}],"rules":[{"type":"NONE","conditions":[{"property":"blocked","operator":"EQUAL","value":"true"}]}]}],` + why + `}`, 201, `"revision":1 ... "id":"c1","property":"country"`},
		{"POST", P + "/segments", "", "", `{"key":"beta","feature":"search","rules":[{"field":"email","operator":"contains","values":["@example.com"]}]}`, 201, `"feature":"search" ... "operator":"CONTAINS","value":"@example.com"`},
		{"GET", P + "/segments", "", "", "", 200, `"key":"beta" ... "key":"west"`},
		{"GET", P + "/segments?feature=search", "", "", "", 200, `{"items":[{"id":`},
		{"GET", P + "/segments/west", "", "", "", 200, `"name":"Western users"`},
		{"PATCH", P + "/segments/west", "", "", `{"name":"The West","rules":[{"type":"ANY","conditions":[{"property":"country","operator":"IN","value":"US,CA,MX"}]}],` + why + `}`, 200, `"name":"The West" ... "revision":2 ... "value":"US,CA,MX"`},
		{"PUT", P + "/segments/west/tests", "", "", `{"cases":[{"name":"Ada","traits":{"country":"CA"},"member":true}],` + why + `}`, 200, `"failures":[]`},
		{"GET", P + "/segments/west/tests", "", "", "", 200, `"name":"Ada"`},
		{"GET", P + "/features/checkout/tests", "", "", "", 200, `{"cases":[],"failures":[],"uncovered":[{"environment":"live","by":"environment"}]}`},
		{"PUT", P + "/features/checkout/tests", "", "", `{"cases":[{"name":"everybody","environment":"live","identifier":"ada","enabled":true,"value":"classic"}],` + why + `}`, 200, `"failures":[]`},

		{"PUT", P + "/contexts/plan", "", "", `{"type":"string","description":"What they pay","owner":"growth","allowed":["free","pro"],"privacy":"personal",` + why + `}`, 200, `"key":"plan","type":"string"`},
		{"GET", P + "/contexts", "", "", "", 200, `"allowed":["free","pro"]`},
		{"GET", P + "/contexts/plan", "", "", "", 200, `"privacy":"personal"`},
		{"DELETE", P + "/contexts/plan" + done, "", "", "", 204, ""},

		{"GET", E + "/features", "", "", "", 200, `"feature":"checkout","enabled":true,"value":"classic" ... "feature":"search"`},
		{"PATCH", E + "/features/search", "", "", `{"enabled":true,"value":2,"weights":{"grid":100},` + why + `}`, 200, `"enabled":true,"value":2,"weights":{"grid":100}`},
		{"GET", E + "/features/search", "", "", "", 200, `"enabled":true,"value":2`},
		{"PUT", E + "/features/search/segment-overrides/beta", "", "", `{"enabled":false,` + why + `}`, 200, `"segment_overrides":[{"segment":"beta"`},
		{"PUT", E + "/features/search/segment-overrides/west", "", "", `{"value":"west","weights":{},"place":0,` + why + `}`, 200, `"segment_overrides":[{"segment":"west"`},
		{"PUT", E + "/features/search/segment-overrides", "", "", `{"order":["beta","west"],` + why + `}`, 200, `"segment_overrides":[{"segment":"beta"`},
		{"GET", P + "/segments/west/usages", "", "", "", 200, `{"items":[{"environment":"live","feature":"search","priority":1}]}`},
		{"DELETE", E + "/features/search/segment-overrides/west" + done, "", "", "", 204, ""},
		{"PUT", E + "/features/search/identity-overrides/ada", "", "", `{"enabled":true,"variant":"list",` + why + `}`, 200, `"feature":"search","enabled":true ... "variant":"list"`},
		{"GET", E + "/identities", "", "", "", 200, `"identifier":"ada"`},
		{"GET", E + "/identities/ada", "", "", "", 200, `"overrides":[{"feature":"search"`},
		{"GET", E + "/features/search/analytics", "", "", "", 200, ""},

		{"POST", E + "/keys", "", "", `{"name":"web","kind":"client",` + why + `}`, 201, `"kind":"client" ... "name":"web" ... "key":"`},
		{"GET", E + "/keys", "", "", "", 200, `"key":"`},
		{"POST", E + "/keys", "", "", `{"name":"backend","kind":"server","expires_at":"2100-01-01T00:00:00Z",` + why + `}`, 201, `"kind":"server" ... "key":"ser.`},
		{"PATCH", E + "/keys/$id", "", "", `{"name":"the backend","active":false,"expires_at":null,` + why + `}`, 200, `"name":"the backend" ... "active":false`},
		{"DELETE", E + "/keys/$id" + done, "", "", "", 204, ""},
	})
	var environment struct{ Version uint64 }
	a.get(E, &environment)
	a.run([]call{
		{"POST", P + "/changes", "", "", `{"commands":[
			{"command":"set_variants","feature":"search","variants":[{"key":"grid","value":"huge grid","weight":40},{"key":"list","value":false,"weight":20}]},
			{"command":"set_feature_state","environment":"live","feature":"checkout","value":"one page"}],"override_tests":true,` + why + `}`, 200,
			`"recorded":true ... "object":"feature:search" ... "object":"state:live/checkout" ... one page`},
		{"POST", P + "/changes", "", "", `{"commands":[{"command":"delete_segment","segment":"west"}],"dry_run":true}`, 200, `"dry_run":true,"recorded":false ... "object":"segment:west","action":"deleted"`},

		{"GET", E + "/versions", "", "", "", 200, `"summary":["Root `},
		{"GET", E + "/versions/1", "", "", "", 200, `"version":1 ... "content":{"features":[]`},
		{"GET", E + "/diff?from=1&to=latest", "", "", "", 200, `"object":"feature:checkout","action":"created"`},
		{"GET", E + "/features/checkout/blame", "", "", "", 200, `"reason":"autumn","ticket":"SHOP-1"`},
		{"POST", E + "/evaluate", "", "", `{"identifier":"ada","feature":"search","explain":true}`, 200, `"feature":"search","enabled":true ... "decided_by":[{"element":"`},
		{"POST", E + "/rollback", "", "", fmt.Sprintf(`{"version":%d,"dry_run":true}`, environment.Version), 200, `"dry_run":true,"recorded":false ... "plan_hash":"`},
		{"POST", E + "/rollback", "", "", fmt.Sprintf(`{"version":%d,"plan_hash":"$plan_hash","override_tests":true,`, environment.Version) + why + `}`, 200, `"recorded":true ... "to_version":`},
		{"GET", E + "/pins", "", "", "", 200, `"variants":[{"feature":"search"`},
		{"DELETE", E + "/pins/variants/search" + done, "", "", "", 204, ""},
		{"DELETE", E + "/pins/segments/west" + done, "", "", "", 204, ""},

		{"PUT", E + "/features/search/identity-overrides/bob", "", "", `{"enabled":true}`, 200, ""},
		{"DELETE", E + "/features/search/identity-overrides/bob" + done, "", "", "", 204, ""},
		{"DELETE", E + "/identities/bob" + done, "", "", "", 204, ""},
		{"POST", E + "/clone", "", "", `{"key":"preview","name":"Preview",` + why + `}`, 201, `"key":"preview"`},
		{"DELETE", P + "/environments/preview" + done, "", "", "", 204, ""},
		{"PATCH", E + "/features/search", "", "", `{"enabled":false}`, 200, ""},
		{"POST", P + "/undo", "", "", `{"position":1,"dry_run":true}`, 404, "the commit at position 1 is not one of this project"},

		{"POST", "/admin/v1/tokens", "", "", `{"name":"CI","grants":[{"role":"editor","project":"shop","environment":"live"}],` + why + `}`, 201, `"name":"CI" ... "token":"flt_`},
		{"GET", "/admin/v1/tokens", "", "", "", 200, `"name":"CI"`},
		{"GET", "/admin/v1/audit", "", "", "", 200, `"object":"token:`},
		{"GET", "/admin/v1/audit/2", "", "", "", 200, `"sentence":"Root created project shop" ... "reason":"autumn","ticket":"SHOP-1"`},
		{"GET", "/admin/v1/audit/export", "", "", "", 200, `"position":2`},
	})
	var tokens struct{ Items []struct{ ID, Name string } }
	a.get("/admin/v1/tokens", &tokens)
	for _, token := range tokens.Items {
		if token.Name == "CI" {
			a.ask(call{method: "DELETE", path: "/admin/v1/tokens/" + token.ID + done, status: 204})
		}
	}
	// One change, taken back.
	got := a.ask(call{method: "PATCH", path: E + "/features/checkout", body: `{"enabled":false,"override_tests":true,` + why + `}`, status: 200})
	position := got.header.Get("Flagledger-Position")
	a.run([]call{
		{"POST", P + "/undo", "", "", `{"position":` + position + `,"dry_run":true}`, 200, `"recorded":false ... "plan_hash":"`},
		{"POST", P + "/undo", "", "", `{"position":` + position + `,"plan_hash":"$plan_hash",` + why + `}`, 200, `"recorded":true`},
		{"GET", E + "/features/checkout", "", "", "", 200, `"enabled":true`},
	})
	a.awaitCheckpoint()
	// And everything goes.
	a.run([]call{
		{"DELETE", E + "/features/search/segment-overrides/beta" + done, "", "", "", 204, ""},
		{"DELETE", E + "/features/search/identity-overrides/ada" + done, "", "", "", 204, ""},
		{"DELETE", P + "/segments/beta" + done, "", "", "", 204, ""},
		{"DELETE", P + "/segments/west" + done, "", "", "", 204, ""},
		{"DELETE", P + "/features/search" + done, "", "", "", 204, ""},
		{"DELETE", P + "/features/checkout" + done, "", "", "", 204, ""},
		{"DELETE", E + done, "", "", "", 204, ""},
		{"DELETE", P + done, "", "", "", 204, ""},
		{"GET", P, "", "", "", 404, `there is no project \"shop\"`},
		{"GET", "/admin/v1/audit?project=shop&limit=1", "", "", "", 200, `"sentence":"Root deleted project shop"`},
		{"GET", "/admin/v1/access-log?limit=1", "", "", "", 200, `"items":[]`},

		{"GET", "/admin/v1/log/checkpoint", "", "", "", 200, ""},
		{"GET", "/admin/v1/log/keys", "", "", "", 200, `"own":true`},
		{"GET", "/admin/v1/log/proof/inclusion?position=2&size=3", "", "", "", 200, `"size":3`},
		{"GET", "/admin/v1/log/proof/inclusion?position=4&size=3", "", "", "", 400, `position 4 is not in a log of 3 commits; want 1 to 3`},
		{"GET", "/admin/v1/log/proof/inclusion?size=3", "", "", "", 400, `this needs position`},
		{"GET", "/admin/v1/log/proof/consistency?from=2&to=3", "", "", "", 200, `"from":2`},
		{"GET", "/admin/v1/log/proof/consistency?from=3&to=2", "", "", "", 400, `cannot be the beginning`},
		{"GET", "/admin/v1/log/proof/consistency?from=two", "", "", "", 400, `\"two\" is not a position`},
		{"GET", "/admin/v1/log/export?from=2", "", "", "", 200, `"end":`},
	})
	for _, operation := range a.operationsNotAsked() {
		if operation != "GET /admin/v1/backup" { // which is of the whole program: TestBackup there
			t.Errorf("%s was not asked with success", operation)
		}
	}
}

// operationsNotAsked are those of the administration, which docs/openapi.yaml names, of which nothing succeeded.
func (a *admin) operationsNotAsked() (missing []string) {
	a.t.Helper()
	text, err := os.ReadFile("../docs/openapi.yaml")
	if err != nil {
		a.t.Fatal(err)
	}
	var document struct {
		Paths map[string]map[string]any
	}
	if err := yaml.Unmarshal(text, &document); err != nil {
		a.t.Fatal(err)
	}
	parameter := regexp.MustCompile(`\\\{\w+\\\}`)
	for path, item := range document.Paths {
		pattern := regexp.MustCompile("^" + parameter.ReplaceAllString(regexp.QuoteMeta(path), `[^/]+`) + "$")
		for method := range item {
			method = strings.ToUpper(method)
			if !strings.HasPrefix(path, "/admin/") || !slices.Contains([]string{"GET", "POST", "PUT", "PATCH", "DELETE"}, method) {
				continue
			}
			found := false
			for asked := range a.asked {
				is, at, _ := strings.Cut(asked, " ")
				found = found || is == method && pattern.MatchString(at)
			}
			if !found {
				missing = append(missing, method+" "+path)
			}
		}
	}
	slices.Sort(missing)
	return missing
}
