package httpapi

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/labstack/echo/v4"

	"flagledger/domain"
	"flagledger/domain/evaluation"
	"flagledger/projections"
)

const (
	clientKey = "shop-production"
	serverKey = "ser.shop-production-secret"
)

func hashOf(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:])
}

var sdkStart = time.Date(2026, 3, 1, 10, 0, 0, 250_000_000, time.UTC)

// sdkFixture is the SDK's part of a server, on real views fed by hand.
type sdkFixture struct {
	*sdk
	persons *memoryIdentities
	handler http.Handler
	now     time.Time // of the last commit
	last    uint64    // position
}

// openViews opens empty views, which are closed with the test.
func openViews(t testing.TB) *projections.Views {
	t.Helper()
	views, err := projections.Open(filepath.Join(t.TempDir(), "views.db"), projections.Options{Schema: 1, Encode: EncodeFlag})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := views.Close(); err != nil {
			t.Error(err)
		}
	})
	return views
}

// newSDKFixture has one project, shop, with the environment production.
func newSDKFixture(t testing.TB, events ...domain.Event) *sdkFixture {
	t.Helper()
	views := openViews(t)
	f := &sdkFixture{persons: newMemoryIdentities(), now: sdkStart.Add(-2 * time.Second)}
	f.sdk = newSDK(&Server{Config: Config{
		Views: views, Identities: f.persons, Version: "1.2.3", Limits: domain.DefaultLimits(), BodyLimit: 1 << 20,
		Now: func() time.Time { return f.now },
	}})
	e := echo.New()
	for _, r := range f.routes() {
		e.Add(r.method, r.path, r.handle)
	}
	f.handler = e
	settings := domain.DefaultEnvironmentSettings()
	f.commit(t, 2*time.Second, append([]domain.Event{
		domain.ProjectCreated{Key: "shop", Name: "The MART", ProjectSettings: domain.ProjectSettings{PersistTraits: true}},
		domain.EnvironmentCreated{ID: 2, Key: "production", Name: "Production", ClientKey: clientKey, EnvironmentSettings: settings},
		domain.SDKKeyCreated{Environment: "production", ID: "k1", Kind: domain.ServerKey, Name: "server", Hash: hashOf(serverKey)},
	}, events...)...)
	return f
}

// sdkShop is a feature of each sort and a segment.
func sdkShop() []domain.Event {
	return []domain.Event{
		domain.FeatureCreated{
			ID: 3, Key: "checkout", FeatureAttributes: domain.FeatureAttributes{Description: "How \"checkout\" looks"},
			DefaultEnabled: true, InitialValue: evaluation.String("classic"), Seeds: map[string]int32{"production": 4},
		},
		domain.FeatureCreated{
			ID: 5, Key: "fraud_score", FeatureAttributes: domain.FeatureAttributes{ServerKeyOnly: true},
			DefaultEnabled: true, InitialValue: evaluation.Int(70), Seeds: map[string]int32{"production": 6},
		},
		domain.FeatureCreated{
			ID: 7, Key: "New_Search", DefaultEnabled: true, InitialValue: evaluation.String("classic"), Seeds: map[string]int32{"production": 8},
			Variants: []domain.Variant{
				{ID: 9, Key: "grid", Value: evaluation.String("grid"), Weight: 30},
				{ID: 10, Key: "list", Value: evaluation.String("list"), Weight: 70},
			},
		},
		domain.FeatureCreated{ID: 11, Key: "old_cart", InitialValue: evaluation.Null(), Seeds: map[string]int32{"production": 12}},
		domain.SegmentCreated{ID: 13, Key: "beta", Revision: 1, Name: "Beta users", Rules: []evaluation.Rule{{Type: evaluation.All, Conditions: []evaluation.Condition{
			{Property: "email", Operator: evaluation.Contains, Value: "@example.com"},
		}}}},
		domain.SegmentOverrideSet{Environment: "production", Feature: "checkout", Segment: "beta", Seed: 14, Enabled: true, Value: evaluation.String("one page")},
	}
}

// commit applies events as a commit recorded some time after the one before.
func (f *sdkFixture) commit(t testing.TB, later time.Duration, events ...domain.Event) {
	t.Helper()
	f.commitTo(t, "shop", later, events...)
}

func (f *sdkFixture) commitTo(t testing.TB, project string, later time.Duration, events ...domain.Event) {
	t.Helper()
	f.last++
	f.now = f.now.Add(later)
	c := domain.Commit{ID: uuid.NewString(), Project: domain.ProjectID(project), Time: f.now, Source: domain.SourceAPI, Events: events}
	raw, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Views.Apply(domain.Recorded{Commit: c, Position: f.last, RecordedAt: f.now, Raw: raw}, 0); err != nil {
		t.Fatal(err)
	}
}

// settings replaces the settings of production.
func (f *sdkFixture) settings(t testing.TB, change func(*domain.EnvironmentSettings)) {
	t.Helper()
	s := domain.DefaultEnvironmentSettings()
	change(&s)
	f.commit(t, time.Second, domain.EnvironmentUpdated{Environment: "production", Name: "Production", EnvironmentSettings: s})
}

var sdkProduction = projections.EnvironmentID{Project: domain.ProjectID("shop"), ID: 2}

// memoryIdentities keeps identities for a test.
type memoryIdentities struct {
	mu         sync.Mutex
	identities map[string]*domain.Identity
	surrogates map[string]string
	writes     int
}

func newMemoryIdentities() *memoryIdentities {
	return &memoryIdentities{identities: map[string]*domain.Identity{}, surrogates: map[string]string{}}
}

func (m *memoryIdentities) Get(_ projections.EnvironmentID, identifier string) *domain.Identity {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.identities[identifier]
}

func (m *memoryIdentities) Identify(_ projections.EnvironmentID, identifier string, traits []evaluation.Trait) *domain.Identity {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.writes++
	next := domain.Identity{Surrogate: "surrogate of " + identifier, Identifier: identifier}
	if old := m.identities[identifier]; old != nil {
		next.Traits = slices.Clone(old.Traits)
	}
	for _, t := range traits {
		next.Traits = slices.DeleteFunc(next.Traits, func(o evaluation.Trait) bool { return o.Key == t.Key })
		if !t.Value.IsNull() {
			next.Traits = append(next.Traits, t)
		}
	}
	slices.SortFunc(next.Traits, func(a, b evaluation.Trait) int { return strings.Compare(a.Key, b.Key) })
	m.identities[identifier] = &next
	m.surrogates[next.Surrogate] = identifier
	return &next
}

func (m *memoryIdentities) Identifier(_ projections.EnvironmentID, surrogate string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.surrogates[surrogate]
}

func (m *memoryIdentities) List(projections.EnvironmentID, string, int) []*domain.Identity {
	return nil
}

func (m *memoryIdentities) Erase(context.Context, projections.EnvironmentID, string) (string, bool, error) {
	return "", false, nil
}

// sdkCase is one request and its answer.
type sdkCase struct {
	name     string
	method   string // GET, or POST with a body, where empty
	path     string
	headers  string // Name: value, separated by |
	key      string // "": the client key; "-": none
	body     string
	status   int
	contains string // "=" in front: is
	lacks    string
}

func (f *sdkFixture) run(t *testing.T, cases []sdkCase) {
	t.Helper()
	url := servePlainly(t, f.handler)
	for _, tc := range cases {
		name := tc.name
		if name == "" {
			name = tc.method + " " + tc.path + " " + tc.body[:min(len(tc.body), 80)]
		}
		t.Run(name, func(t *testing.T) {
			status, _, body := f.send(t, url, tc)
			if status != tc.status {
				t.Errorf("status %d, want %d; body %s", status, tc.status, body)
			}
			if want, exact := strings.CutPrefix(tc.contains, "="); exact && body != want {
				t.Errorf("body\n%s\nwant\n%s", body, want)
			} else if !exact && !strings.Contains(body, want) {
				t.Errorf("body %s\nlacks %s", body, want)
			}
			if tc.lacks != "" && strings.Contains(body, tc.lacks) {
				t.Errorf("body %s\nhas %s", body, tc.lacks)
			}
			if body != "" && !json.Valid([]byte(body)) {
				t.Errorf("body is not JSON: %s", body)
			}
		})
	}
}

func (f *sdkFixture) send(t *testing.T, url string, tc sdkCase) (int, http.Header, string) {
	t.Helper()
	method := tc.method
	if method == "" {
		method = http.MethodGet
		if tc.body != "" {
			method = http.MethodPost
		}
	}
	req, err := http.NewRequestWithContext(t.Context(), method, url+tc.path, strings.NewReader(tc.body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept-Encoding", "identity")
	if tc.body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	switch tc.key {
	case "":
		req.Header.Set("X-Environment-Key", clientKey)
	case "-":
	default:
		req.Header.Set("X-Environment-Key", tc.key)
	}
	for h := range strings.SplitSeq(tc.headers, "|") {
		if name, value, ok := strings.Cut(h, ": "); ok {
			req.Header.Set(name, value)
		}
	}
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(body)
}

func TestSDKKeys(t *testing.T) {
	f := newSDKFixture(t, sdkShop()...)
	f.commit(t, time.Second,
		domain.SDKKeyCreated{Environment: "production", ID: "k2", Kind: domain.ClientKey, Name: "web", Key: "web"},
		domain.SDKKeyCreated{Environment: "production", ID: "k3", Kind: domain.ClientKey, Name: "gone", Key: "switched-off"},
		domain.SDKKeyUpdated{Environment: "production", ID: "k3", Name: "gone", Active: false},
		domain.SDKKeyCreated{Environment: "production", ID: "k4", Kind: domain.ServerKey, Name: "old", Hash: hashOf("ser.expired"), ExpiresAt: f.now.Add(time.Second)},
		domain.SDKKeyCreated{Environment: "production", ID: "k5", Kind: domain.ServerKey, Name: "new", Hash: hashOf("ser.valid"), ExpiresAt: f.now.Add(2 * time.Second)},
	)
	const missing, unknown = `={"detail":"Invalid or missing Environment key"}`, `={"detail":"Invalid or missing Environment Key"}`
	f.run(t, []sdkCase{
		{name: "client key", path: "/api/v1/flags/", status: 200},
		{name: "server key", path: "/api/v1/flags/", key: serverKey, status: 200},
		{name: "another client key", path: "/api/v1/flags/", key: "web", status: 200},
		{name: "server key that is not yet out of date", path: "/api/v1/flags/", key: "ser.valid", status: 200},
		{name: "no key", path: "/api/v1/flags/", key: "-", status: 403, contains: missing},
		{name: "unknown key", path: "/api/v1/flags/", key: "no", status: 403, contains: unknown},
		{name: "unknown server key", path: "/api/v1/flags/", key: "ser.no", status: 403, contains: unknown},
		{name: "inactive key", path: "/api/v1/flags/", key: "switched-off", status: 403, contains: unknown},
		{name: "expired key", path: "/api/v1/flags/", key: "ser.expired", status: 403, contains: unknown},
		{name: "the hash of a server key is no key", path: "/api/v1/flags/", key: hashOf(serverKey), status: 403, contains: unknown},
		{name: "client key for the document", path: "/api/v1/environment-document/", status: 403, contains: missing},
		{name: "inactive key of a stream", path: "/sse/environments/switched-off/stream", key: "-", status: 403, contains: unknown},
		{name: "server key in a path", path: "/sse/environments/" + serverKey + "/stream", key: "-", status: 403, contains: missing},
	})
}

func TestSDKHeaders(t *testing.T) {
	f := newSDKFixture(t, sdkShop()...)
	server := httptest.NewServer(f.handler)
	defer server.Close()
	for _, tc := range []sdkCase{
		{path: "/api/v1/flags/"},
		{path: "/api/v1/flags"},
		{path: "/api/v1/identities/?identifier=ada"},
		{path: "/api/v1/identities", body: `{"identifier":"ada"}`},
		{path: "/api/v1/environment-document", key: serverKey},
		{path: "/api/v1/flags/", key: "wrong"},
	} {
		tc.headers = "Origin: https://shop.example"
		_, h, _ := f.send(t, server.URL, tc)
		for name, want := range map[string]string{
			"Flagsmith-Version": "1.2.3", "Content-Type": "application/json", "Pragma": "no-cache", "Access-Control-Allow-Origin": "*",
			"Cache-Control":                 "max-age=0, no-cache, no-store, must-revalidate, private",
			"Access-Control-Expose-Headers": "x-flagsmith-document-updated-at, ETag, Retry-After",
		} {
			if got := h.Get(name); got != want {
				t.Errorf("%s: %s is %q, want %q", tc.path, name, got, want)
			}
		}
		want := "1772359200.25"
		if tc.key == "wrong" {
			want = ""
		}
		if got := h.Get("X-Flagsmith-Document-Updated-At"); got != want {
			t.Errorf("%s: updated at %q, want %q", tc.path, got, want)
		}
	}
	status, h, body := f.send(t, server.URL, sdkCase{method: "OPTIONS", path: "/api/v1/identities/", key: "-", headers: "Origin: https://shop.example|Access-Control-Request-Method: POST"})
	if status != 204 || body != "" || h.Get("Access-Control-Allow-Origin") != "*" || !strings.Contains(h.Get("Access-Control-Allow-Methods"), "POST") {
		t.Errorf("preflight: %d %s %v", status, body, h)
	}
	for _, name := range []string{
		"x-environment-key", "content-type", "flagsmith-application-name", "flagsmith-application-version", "flagsmith-sdk-user-agent",
		"user-agent", "sentry-trace", "traceparent", "tracestate", "baggage",
	} {
		if !slices.Contains(strings.Split(h.Get("Access-Control-Allow-Headers"), ", "), name) {
			t.Errorf("preflight does not allow %s", name)
		}
	}
}

// A change of microseconds is later, and a time is never later than itself.
func TestAppendSeconds(t *testing.T) {
	for micros := range int64(200_000) {
		at := sdkStart.Add(time.Duration(micros) * 4999 * time.Microsecond)
		var seconds float64
		if err := json.Unmarshal(appendSeconds(nil, at), &seconds); err != nil {
			t.Fatal(err)
		}
		whole := int64(seconds)
		read := time.Unix(whole, int64((seconds-float64(whole))*1e9))
		if read.After(at) || at.Sub(read) >= time.Microsecond {
			t.Fatalf("%v is read back as %v", at, read)
		}
	}
}

// Every route is there with and without a slash at the end, does not redirect,
// wants a key, and lets pages ask.
func TestSDKRoutes(t *testing.T) {
	f := newSDKFixture(t)
	paths := map[string]int{}
	for _, r := range f.routes() {
		paths[strings.TrimSuffix(r.path, "/")+" "+r.method]++
		want := http.StatusForbidden
		if r.method == http.MethodOptions {
			want = http.StatusNoContent
		}
		w := f.serve(t, sdkCase{method: r.method, path: r.path, key: "-", body: "not even JSON"})
		if w.Code != want || w.Header().Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("%s %s: %d %v", r.method, r.path, w.Code, w.Header())
		}
	}
	for path, n := range paths {
		if n != 2 {
			t.Errorf("%s: %d routes, want one with a slash and one without", path, n)
		}
	}
}
