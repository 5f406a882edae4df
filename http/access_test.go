package httpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"flagledger/commands"
	"flagledger/domain"
	"flagledger/domain/evaluation"
	"flagledger/projections"
)

// notedAccesses keeps looks in memory, and notes what it is asked for.
type notedAccesses struct {
	mu    sync.Mutex
	looks []Access
	asked AccessQuery
	next  string
	err   error
}

func (n *notedAccesses) Record(a Access) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.looks = append(n.looks, a)
}

func (n *notedAccesses) List(q AccessQuery) ([]Access, string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asked = q
	var visible []Access
	for _, a := range n.looks {
		if q.Visible(a.Project, a.Environment) {
			visible = append(visible, a)
		}
	}
	return visible, n.next, n.err
}

// take tells and forgets what was recorded: the place, the past, the objects.
func (n *notedAccesses) take() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	var all []string
	for _, a := range n.looks {
		one := a.Project
		if a.Environment != "" {
			one += "/" + a.Environment
		}
		if a.AsOf != "" {
			one += "@" + a.AsOf
		}
		all = append(all, one+" "+strings.Join(a.Objects, ","))
	}
	n.looks = nil
	return strings.Join(all, "; ")
}

// watch is a server whose looks are noted. Its shop declares the trait illness
// sensitive, its bank none.
type watch struct {
	t       *testing.T
	server  *Server
	secrets map[string]string
	noted   *notedAccesses
	views   *projections.Views
}

func newWatch(t *testing.T) *watch {
	t.Helper()
	views := openViews(t)
	persons := walkPersons{newMemoryIdentities()}
	service := commands.New(appliedLog{views}, views, persons, domain.DefaultLimits(), time.Now)
	w := &watch{t: t, secrets: map[string]string{}, noted: &notedAccesses{}, views: views}
	w.server = New(Config{
		Commands: service, Views: views, Identities: persons, Metrics: prometheus.NewRegistry(), Logger: slog.New(slog.DiscardHandler),
		Limits: domain.DefaultLimits(), Accesses: w.noted,
	})
	for name, grant := range map[string]domain.Grant{
		"root": {Role: domain.Admin}, "viewer": {Role: domain.Viewer}, "shop": {Role: domain.Auditor, Project: "shop"},
		"live": {Role: domain.Auditor, Project: "shop", Environment: "live"}, "test": {Role: domain.Auditor, Project: "shop", Environment: "test"},
	} {
		create, secret := commands.NewToken(name, []domain.Grant{grant}, time.Time{})
		w.secrets[name] = secret
		if _, err := service.Do(t.Context(), commands.Change{Commands: []commands.Command{create}, Actor: domain.Actor{Kind: "system", ID: "test"}, Source: domain.SourceSystem}); err != nil {
			t.Fatal(err)
		}
	}
	const (
		rule   = `{"key":%q,"rules":[{"type":"ALL","rules":[{"type":"ANY","conditions":[{"property":%q,"operator":"EQUAL","value":"x"}]}]}]}`
		shop   = "/admin/v1/projects/shop"
		bank   = "/admin/v1/projects/bank"
		secret = `{"property":"illness","operator":"EQUAL","value":"x"}`
	)
	for _, s := range [][3]string{
		{"POST", "/admin/v1/projects", `{"key":"shop"}`},
		{"POST", "/admin/v1/projects", `{"key":"bank"}`},
		{"POST", shop + "/environments", `{"key":"live","client_key":"shop-live-client"}`},
		{"POST", shop + "/environments", `{"key":"test"}`},
		{"POST", bank + "/environments", `{"key":"live"}`},
		{"PUT", shop + "/contexts/illness", `{"type":"string","privacy":"sensitive"}`},
		{"PUT", shop + "/contexts/city", `{"type":"string","privacy":"personal"}`},
		{"POST", shop + "/features", `{"key":"checkout"}`},
		{"POST", shop + "/segments", fmt.Sprintf(rule, "ill", "illness")},
		{"POST", shop + "/segments", fmt.Sprintf(rule, "path", "$.identity.traits['illness']")},
		{"POST", shop + "/segments", fmt.Sprintf(rule, "west", "city")},
		{"POST", bank + "/segments", fmt.Sprintf(rule, "rich", "illness")}, // declared elsewhere
		{"PUT", shop + "/environments/live/features/checkout/segment-overrides/ill", `{"enabled":true}`},
		{"PUT", shop + "/environments/live/features/checkout/segment-overrides/west", `{"enabled":true}`},
		{"PUT", shop + "/environments/live/features/checkout/identity-overrides/ada", `{"enabled":true}`},
		{"PATCH", shop + "/segments/ill", `{"rules":[{"type":"NONE","conditions":[` + secret + `]}]}`},
		{"POST", shop + "/environments/live/rollback", `{"version":5,"plan_hash":"any","reason":"back"}`},
	} {
		if resp := w.send("root", s[0], s[1], s[2]); resp.Code >= 300 {
			t.Fatalf("%v: %d %s", s, resp.Code, resp.Body)
		}
	}
	persons.Identify(projections.EnvironmentID{}, "ada", []evaluation.Trait{{Key: "city", Value: evaluation.String("Rome")}})
	w.noted.take()
	return w
}

func (w *watch) send(token, method, path, body string) *httptest.ResponseRecorder {
	w.t.Helper()
	r := httptest.NewRequestWithContext(w.t.Context(), method, path, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+w.secrets[token])
	r.Header.Set("X-Environment-Key", "shop-live-client")
	r.Header.Set("X-Request-Id", "r1")
	r.Header.Set("User-Agent", "tester")
	answer := httptest.NewRecorder()
	w.server.ServeHTTP(answer, r)
	return answer
}

// What is recorded of each request, with the policies sensitive and all.
func TestAccessIsRecorded(t *testing.T) {
	w := newWatch(t)
	const (
		shop    = "/admin/v1/projects/shop"
		bank    = "/admin/v1/projects/bank"
		live    = shop + "/environments/live"
		ada     = "identity:live/surrogate of ada"
		illPath = "shop segment:ill,segment:path"
	)
	version := func(n uint64) uint64 {
		v, err := w.views.Version(projections.EnvironmentID{Project: domain.ProjectID("shop"), ID: w.views.Project(domain.ProjectID("shop")).Environments.Get("live").ID}, n)
		if err != nil {
			t.Fatal(err)
		}
		return v.Position
	}
	newest := w.views.Position()
	for _, tc := range []struct {
		name, method, path, body string
		status                   int
		sensitive, all           string
	}{
		{"segments", "GET", shop + "/segments", "", 200, illPath, illPath + ",segment:west"},
		{"a page of them", "GET", shop + "/segments?limit=1", "", 200, "shop segment:ill", "shop segment:ill"},
		{"a segment", "GET", shop + "/segments/ill", "", 200, "shop segment:ill", "shop segment:ill"},
		{"one by JSONPath", "GET", shop + "/segments/path", "", 200, "shop segment:path", "shop segment:path"},
		{"one of plain traits", "GET", shop + "/segments/west", "", 200, "", "shop segment:west"},
		{"one of a project that declares nothing", "GET", bank + "/segments/rich", "", 200, "", "bank segment:rich"},
		{"of the past", "GET", fmt.Sprintf("%s/segments/ill?as_of=position:%d", shop, newest), "", 200, fmt.Sprintf("shop@position:%d segment:ill", newest), fmt.Sprintf("shop@position:%d segment:ill", newest)},
		{"none", "GET", shop + "/segments/moon", "", 404, "", ""},
		{"where it is used", "GET", shop + "/segments/ill/usages", "", 200, "", ""},
		{"through a change of its name", "PATCH", shop + "/segments/ill", `{"name":"ill"}`, 200, "shop segment:ill", "shop segment:ill"},
		{"through a change that is refused", "PATCH", shop + "/segments/ill", `{"colour":"red"}`, 400, "", ""},
		{"through a trial", "POST", shop + "/changes", `{"commands":[{"command":"update_segment","segment":"ill","rules":[{"type":"ALL","conditions":[{"property":"city","operator":"EQUAL","value":"Oslo"}]}]}],"dry_run":true}`, 200, "shop segment:ill", "shop segment:ill"},
		{"through a declaration that rules contradict", "PUT", shop + "/contexts/illness", `{"type":"integer","privacy":"sensitive"}`, 409, illPath + "; shop/live segment:ill", illPath + "; shop/live segment:ill"},
		{"through a trial of it", "POST", shop + "/changes", `{"commands":[{"command":"set_context","key":"illness","type":"integer"}],"dry_run":true}`, 409, illPath + "; shop/live segment:ill", illPath + "; shop/live segment:ill"},
		{"pins", "GET", live + "/pins", "", 200, "shop/live segment:ill", "shop/live segment:ill"},
		{"identities", "GET", live + "/identities", "", 200, "shop/live " + ada, "shop/live " + ada},
		{"an identity", "GET", live + "/identities/ada", "", 200, "shop/live " + ada, "shop/live " + ada},
		{"an identity that is not there", "GET", live + "/identities/bob", "", 404, "", ""},
		{"an identity where nothing is sensitive", "GET", bank + "/environments/live/identities/ada", "", 200, "", "bank/live " + ada},
		{"evaluation by stored traits", "POST", live + "/evaluate", `{"identifier":"ada"}`, 200, "shop/live " + ada, "shop/live " + ada},
		{"evaluation of the past", "POST", live + "/evaluate", `{"identifier":"ada","as_of":"6"}`, 200, fmt.Sprintf("shop/live@position:%d %s", version(6), ada), fmt.Sprintf("shop/live@position:%d %s", version(6), ada)},
		{"evaluation by given traits", "POST", live + "/evaluate", `{"identifier":"ada","traits":{"city":"Oslo"}}`, 200, "shop/live " + ada, "shop/live " + ada},
		{"evaluation of a stranger", "POST", live + "/evaluate", `{"identifier":"bob"}`, 200, "", ""},
		{"explained", "POST", live + "/evaluate", `{"identifier":"bob","traits":{"city":"Oslo"},"explain":true}`, 200, "shop/live segment:ill", "shop/live segment:ill,segment:west"},
		{"explained of a stored one", "POST", live + "/evaluate", `{"identifier":"ada","traits":{"city":"Oslo"},"explain":true}`, 200, "shop/live " + ada, "shop/live " + ada},
		{"a version", "GET", live + "/versions/5", "", 200, fmt.Sprintf("shop/live@position:%d %s,segment:ill", version(5), ada), fmt.Sprintf("shop/live@position:%d %s,segment:ill,segment:west", version(5), ada)},
		{"versions", "GET", live + "/versions?limit=2", "", 200, "shop segment:ill; shop/live segment:ill", "shop segment:ill; shop/live segment:ill"},
		{"a comparison", "GET", live + "/diff?from=4&to=6", "", 200,
			fmt.Sprintf("shop/live@position:%d..position:%d %s,segment:ill", version(4), version(6), ada), fmt.Sprintf("shop/live@position:%d..position:%d %s,segment:ill", version(4), version(6), ada)},
		{"a preview", "POST", live + "/rollback", `{"version":6,"dry_run":true}`, 200, "shop/live segment:ill", "shop/live segment:ill"},
		{"whom it would affect", "POST", shop + "/changes", `{"commands":[{"command":"remove_identity_override","environment":"live","feature":"checkout","identifier":"ada"}],"dry_run":true,"impact":{"stored":5}}`, 200, "shop/live " + ada, "shop/live " + ada},
		{"the audit of a segment", "GET", "/admin/v1/audit?project=shop&object=segment:west&type=segment.created.v2", "", 200, "", "shop segment:west"},
		{"the audit", "GET", "/admin/v1/audit?project=shop&type=identity_override.set.v1", "", 200, "shop/live " + ada, "shop/live " + ada},
		{"its export", "GET", "/admin/v1/audit/export?project=shop&type=segment.rules_set.v1", "", 200, "shop segment:ill", "shop segment:ill"},
		{"an entry", "GET", fmt.Sprintf("/admin/v1/audit/%d", version(5)), "", 200, "shop/live " + ada, "shop/live " + ada},
		{"features", "GET", live + "/features", "", 200, "", ""},
		{"the access log", "GET", "/admin/v1/access-log", "", 200, "", ""},
		{"an app", "GET", "/api/v1/identities/?identifier=ada&transient=true", "", 200, "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, policy := range []struct {
				AccessPolicy
				want string
			}{{"", tc.sensitive}, {AccessSensitive, tc.sensitive}, {AccessAll, tc.all}, {AccessOff, ""}} {
				w.server.AccessPolicy = policy.AccessPolicy
				if answer := w.send("root", tc.method, tc.path, tc.body); answer.Code != tc.status {
					t.Fatalf("status %d, want %d: %s", answer.Code, tc.status, answer.Body)
				}
				if got := w.noted.take(); got != policy.want {
					t.Errorf("policy %q recorded\n%q, want\n%q", policy.AccessPolicy, got, policy.want)
				}
			}
		})
	}
	w.server.AccessPolicy, w.server.Accesses = "", nil
	if answer := w.send("root", "GET", shop+"/segments/ill", ""); answer.Code != 200 {
		t.Errorf("with no place to record: %d", answer.Code)
	}
}

// A record says who, when, from where and by which route, and nothing that
// identifies whom it is about.
func TestAccessRecord(t *testing.T) {
	w := newWatch(t)
	now := time.Date(2026, 5, 3, 14, 2, 0, 0, time.UTC)
	w.server.Now = func() time.Time { return now }
	w.send("shop", "GET", "/admin/v1/projects/shop/environments/live/identities/ada", "")
	body, err := json.Marshal(w.noted.looks)
	if err != nil {
		t.Fatal(err)
	}
	id := w.noted.looks[0].Actor.ID
	want := fmt.Sprintf(`[{"id":"","time":"2026-05-03T14:02:00Z","actor":{"kind":"token","id":%q,"name":"shop","token":%q},"client":{"ip":"192.0.2.1","user_agent":"tester","request_id":"r1"},`+
		`"route":"GET /admin/v1/projects/:project/environments/:environment/identities/:identifier","project":"shop","environment":"live","objects":["identity:live/surrogate of ada"]}]`, id, id)
	if string(body) != want {
		t.Errorf("got %s, want %s", body, want)
	}
}

func TestAccessLog(t *testing.T) {
	w := newWatch(t)
	id := uuid.NewString()
	for _, a := range []Access{{Project: "shop", Objects: []string{"segment:ill"}}, {Project: "shop", Environment: "live"}, {Project: "shop", Environment: "test"}, {Project: "bank"}} {
		a.ID = id
		w.noted.Record(a)
	}
	w.noted.next = id
	for _, tc := range []struct {
		token, query string
		status       int
		want         string // shown, or part of the refusal
	}{
		{"root", "", 200, "shop shop/live shop/test bank"},
		{"shop", "", 200, "shop shop/live shop/test"},
		{"live", "", 200, "shop shop/live"},
		{"test", "project=shop", 200, "shop shop/test"},
		{"viewer", "", 403, "no right to the history"},
		{"nobody", "", 401, "needs a token"},
		{"shop", "project=bank", 404, `there is no project \"bank\"`},
		{"root", "project=moon", 404, `there is no project \"moon\"`},
		{"viewer", "project=shop", 404, `there is no project \"shop\"`},
		{"root", "object=segment:ill", 400, "needs the filter project"},
		{"root", "project=shop&object=ill", 400, "is not an object"},
		{"root", "project=shop&object=feature:checkout", 400, "neither a segment nor an identity"},
		{"root", "project=shop&object=segment:moon", 404, "the history has nothing about"},
		{"root", "actor=", 400, "has no value"},
		{"root", "colour=red", 400, "colour"},
		{"root", "from=noon", 400, "is not a time"},
		{"root", "to=noon", 400, "is not a time"},
		{"root", "limit=501", 400, "from 1 to 500"},
		{"root", "cursor=!", 400, "is not a cursor"},
		{"root", "cursor=" + cursorOf("7"), 400, "is not a cursor"},
	} {
		answer := w.send(tc.token, "GET", "/admin/v1/access-log?"+tc.query, "")
		if answer.Code != tc.status {
			t.Errorf("%s by %s: status %d, want %d: %s", tc.query, tc.token, answer.Code, tc.status, answer.Body)
			continue
		}
		if tc.status != 200 {
			if !strings.Contains(answer.Body.String(), tc.want) {
				t.Errorf("%s by %s: %s lacks %s", tc.query, tc.token, answer.Body, tc.want)
			}
			continue
		}
		var list page[Access]
		if err := json.Unmarshal(answer.Body.Bytes(), &list); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, a := range list.Items {
			got = append(got, strings.TrimSuffix(a.Project+"/"+a.Environment, "/"))
		}
		if !slices.Equal(got, strings.Fields(tc.want)) || list.Next != cursorOf(id) {
			t.Errorf("%s by %s: got %v, next %q", tc.query, tc.token, got, list.Next)
		}
	}
	w.send("root", "GET", "/admin/v1/access-log?project=shop&object=identity:live/7f&actor=t1&from=2026-05-03T12:00:00Z&to=2026-05-04T12:00:00Z&limit=7&cursor="+cursorOf(id), "")
	q := w.noted.asked
	q.Visible = nil
	if got, want := fmt.Sprint(q), fmt.Sprint(AccessQuery{
		Project: "shop", Object: "identity:live/7f", Actor: "t1", Before: id, Limit: 7,
		From: time.Date(2026, 5, 3, 12, 0, 0, 0, time.UTC), To: time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC),
	}); got != want {
		t.Errorf("asked for %s, want %s", got, want)
	}
	for asked, want := range map[string]string{
		"segment:*": "segment:*", "identity:*": "identity:*/*", "identity:*/*": "identity:*/*", "identity:live/*": "identity:live/*", "identity:live/ada": "identity:live/surrogate of ada",
	} {
		if got := w.send("root", "GET", "/admin/v1/access-log?project=shop&object="+asked, ""); got.Code != 200 || w.noted.asked.Object != want {
			t.Errorf("%s: %d, asks for %s, want %s", asked, got.Code, w.noted.asked.Object, want)
		}
	}
	w.noted.next, w.noted.looks = "", nil
	if got := w.send("root", "GET", "/admin/v1/access-log", "").Body.String(); got != `{"items":[]}`+"\n" {
		t.Errorf("nothing recorded: %s", got)
	}
	w.noted.err = io.ErrUnexpectedEOF
	if got := w.send("root", "GET", "/admin/v1/access-log", "").Code; got != http.StatusInternalServerError {
		t.Errorf("a file that cannot be read: %d", got)
	}
}

// Every route that reads says here whether its answer shows rules of segments or
// data of identities. One that does is recorded, and the answer of one that does
// not has none of them: a new route cannot be forgotten.
func TestEveryRouteThatReadsIsWatched(t *testing.T) {
	w := newWatch(t)
	w.server.Transparency = newWalkLog(t, w.views)
	w.server.Backup = func(_ context.Context, out io.Writer, kind string) error {
		_, err := io.WriteString(out, "all of it")
		return err
	}
	shop := w.views.Project(domain.ProjectID("shop"))
	fifth, err := w.views.Version(projections.EnvironmentID{Project: shop.ID, ID: shop.Environments.Get("live").ID}, 5)
	if err != nil {
		t.Fatal(err)
	}
	unwatched := map[string]bool{}
	for _, route := range w.server.routes() {
		if route.method == "GET" && strings.HasPrefix(route.path, "/admin/") {
			unwatched[route.path] = true
		}
	}
	const p, e = pathProject, pathEnvironment
	const all = "identity:*/*,segment:*"
	for route, shows := range map[string]string{ // "": nothing; else an object that must be recorded
		"/admin/v1/projects": "", p: "", p + "/environments": "", e: "", e + "/keys": "",
		p + "/features": "", p + "/features/:feature": "", p + "/features/:feature/tests": "",
		p + "/segments": "segment:ill", p + "/segments/:segment": "segment:ill", p + "/segments/:segment/tests": "segment:ill", p + "/segments/:segment/usages": "",
		p + "/contexts": "", p + "/contexts/:context": "",
		e + "/features": "", e + "/features/:feature": "", e + "/features/:feature/analytics": "", e + "/features/:feature/blame": "",
		e + "/identities": "identity:live/surrogate of ada", e + "/identities/:identifier": "identity:live/surrogate of ada",
		e + "/pins": "segment:ill", e + "/versions": "segment:ill", e + "/versions/:version": "segment:ill", e + "/diff?from=4&to=6": "segment:ill",
		"/admin/v1/audit": "segment:ill", "/admin/v1/audit/export": "segment:ill", "/admin/v1/audit/:position": "identity:live/surrogate of ada",
		"/admin/v1/log/checkpoint": "", "/admin/v1/log/keys": "", "/admin/v1/log/proof/inclusion?position=1": "", "/admin/v1/log/proof/consistency?from=1": "",
		"/admin/v1/log/export": all, "/admin/v1/backup": all,
		"/admin/v1/access-log": "", "/admin/v1/tokens": "", "/admin/v1/whoami": "",
	} {
		t.Run(route, func(t *testing.T) {
			path := strings.NewReplacer(":project", "shop", ":environment", "live", ":feature", "checkout", ":segment", "ill", ":context", "illness",
				":identifier", "ada", ":version", "5", ":position", fmt.Sprint(fifth.Position)).Replace(route)
			answer := w.send("root", "GET", path, "")
			if answer.Code != http.StatusOK {
				t.Fatalf("status %d: %s", answer.Code, answer.Body)
			}
			got := w.noted.take()
			if shows != "" && !strings.Contains(got, shows) {
				t.Errorf("recorded %q, want %s", got, shows)
			}
			for _, secret := range []string{`"property":"illness"`, `"identifier":"ada"`, `identity ada`} {
				if shows == "" && (got != "" || strings.Contains(answer.Body.String(), secret)) {
					t.Errorf("recorded %q; the answer has %s: %s", got, secret, answer.Body)
				}
			}
		})
		route, _, _ = strings.Cut(route, "?")
		delete(unwatched, route)
	}
	for route := range unwatched {
		t.Errorf("GET %s is new: say what it shows", route)
	}
}
