package httpapi

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"flagledger/commands"
	"flagledger/domain"
)

// A bucket fills again with time, and is forgotten once it is full and unused.
func TestThrottle(t *testing.T) {
	start := time.Date(2026, 5, 3, 14, 2, 0, 0, time.UTC)
	at := func(seconds float64) time.Time { return start.Add(time.Duration(seconds * float64(time.Second))) }
	b := newThrottle(2, 1.5) // 3 at once
	for i, step := range []struct {
		at   float64
		key  string
		wait time.Duration
	}{
		{0, "a", 0}, {0, "a", 0}, {0, "a", 0}, {0, "a", time.Second / 2}, {0, "b", 0},
		{0.25, "a", time.Second / 4}, {0.5, "a", 0}, {0.5, "a", time.Second / 2},
		{1.6, "a", 0}, {1.6, "a", 0}, {1.6, "a", 400 * time.Millisecond}, // over a turn nothing is forgotten
		{60, "a", 0}, {60, "a", 0}, {60, "a", 0}, {60, "a", time.Second / 2},
	} {
		if got := b.take(step.key, at(step.at)); (got - step.wait).Abs() > time.Microsecond {
			t.Errorf("step %d: wait %v, want %v", i, got, step.wait)
		}
	}
	for i := range 1000 {
		b.take(fmt.Sprint(i), at(100+float64(i)))
	}
	if held := len(b.recent) + len(b.last); held > 4 {
		t.Errorf("%d buckets are held of those used once a second", held)
	}
	for i := range 2*maxBuckets + 2 {
		b.take(fmt.Sprint(i), at(2000))
	}
	if held := len(b.recent) + len(b.last); held > 2*maxBuckets {
		t.Errorf("%d buckets are held", held)
	}
	if none := newThrottle(0, 1); none.take("a", start) != 0 || none.wait("a", start) != 0 {
		t.Error("without a rate there is a wait")
	}
	if few := newThrottle(0.1, 2); few.take("a", start) != 0 || few.take("a", start) != 10*time.Second || few.take("a", at(10)) != 0 {
		t.Error("one in ten seconds is not one in ten seconds")
	}
}

func TestNetwork(t *testing.T) {
	for address, want := range map[string]string{
		"192.0.2.1": "192.0.2.1", "2001:db8:1:2:3::4": "2001:db8:1:2::/64", "fe80::1%eth0": "fe80::/64", "::ffff:192.0.2.1": "::ffff:192.0.2.1", "": "", "no": "no",
	} {
		if got := network(address); got != want {
			t.Errorf("network of %q: %q, want %q", address, got, want)
		}
	}
}

// One token's haste does not concern another, nor one address's guesses another address.
func TestRates(t *testing.T) {
	w := newWatch(t)
	now := time.Now()
	w.server.Now = func() time.Time { return now }
	w.server.TokenRate, w.server.tokens, w.server.guesses = 1, newThrottle(1, 2), newThrottle(1, 20)
	send := func(token, address string) *httptest.ResponseRecorder {
		r := httptest.NewRequestWithContext(t.Context(), "GET", "/admin/v1/whoami", http.NoBody)
		r.Header.Set("Authorization", "Bearer "+token)
		r.RemoteAddr = address + ":1234"
		answer := httptest.NewRecorder()
		w.server.ServeHTTP(answer, r)
		return answer
	}
	expect := func(token, address string, status int, retry, says string) {
		t.Helper()
		got := send(token, address)
		if got.Code != status || got.Header().Get("Retry-After") != retry || !strings.Contains(got.Body.String(), says) {
			t.Errorf("%s from %s: %d, Retry-After %q, %s; want %d, %q, %s", token, address, got.Code, got.Header().Get("Retry-After"), got.Body, status, retry, says)
		}
	}
	root, viewer := w.secrets["root"], w.secrets["viewer"]
	const me, other = "192.0.2.1", "192.0.2.2"
	expect(root, me, 200, "", "")
	expect(root, other, 200, "", "")
	expect(root, me, 429, "1", `"type":"urn:flagledger:problem:too-often","title":"Too Many Requests","status":429,"detail":"the token \"root\" makes more than 1 requests a second"`)
	expect(viewer, me, 200, "", "")
	now = now.Add(time.Second)
	expect(root, me, 200, "", "")
	expect(root, me, 429, "1", "")
	now = now.Add(time.Minute)
	for range 20 {
		expect("guess", me, 401, "", "not known")
	}
	expect("guess", me, 429, "1", "too many unknown tokens came from 192.0.2.1")
	expect(root, me, 429, "1", "too many unknown tokens") // a right guess is not told from a wrong one
	expect("", me, 401, "", "needs a token")
	expect(root, other, 200, "", "")
	now = now.Add(time.Second)
	expect(root, me, 200, "", "")

	// Apps are as free as ever, until there is a rate for them too.
	app := func(path, header, key, body string) *httptest.ResponseRecorder {
		r := httptest.NewRequestWithContext(t.Context(), "POST", path, strings.NewReader(body))
		r.Header.Set(header, key)
		answer := httptest.NewRecorder()
		w.server.ServeHTTP(answer, r)
		return answer
	}
	const identify, client = `{"identifier":"ada"}`, "shop-live-client"
	create, server := commands.NewSDKKey("live", "backend", domain.ServerKey, time.Time{})
	ch := commands.Change{Project: "shop", Commands: []commands.Command{create}, Actor: domain.Actor{Kind: "system", ID: "test"}, Source: domain.SourceSystem}
	if _, err := w.server.Commands.Do(t.Context(), ch); err != nil {
		t.Fatal(err)
	}
	const evaluate, context = "/ofrep/v1/evaluate/flags", `{"context":{"targetingKey":"ada"}}`
	w.server.wrong = newThrottle(1, 20)
	for i := range 20 {
		path, header, body, want := "/api/v1/identities/", "X-Environment-Key", identify, 403
		if i%2 == 1 {
			path, header, body, want = evaluate, "X-API-Key", context, 401
		}
		if got := app(path, header, "guess", body); got.Code != want {
			t.Fatalf("unknown key %d is answered %d %s", i, got.Code, got.Body)
		}
	}
	if got := app("/api/v1/identities/", "X-Environment-Key", "guess", identify); got.Code != 429 || got.Header().Get("Retry-After") != "1" || !strings.Contains(got.Body.String(), "throttled") {
		t.Errorf("one unknown key more is answered %d %s %v", got.Code, got.Body, got.Header())
	}
	if got := app(evaluate, "X-API-Key", "guess", context); got.Code != 429 || got.Header().Get("Retry-After") != "1" || !strings.Contains(got.Body.String(), "unknown SDK keys") {
		t.Errorf("one unknown key of a provider more is answered %d %s %v", got.Code, got.Body, got.Header())
	}
	for range 50 { // a key that is known is not held up
		if got := app("/api/v1/identities/", "X-Environment-Key", client, identify); got.Code != 200 {
			t.Fatalf("%d %s", got.Code, got.Body)
		}
	}
	w.server.keys = newThrottle(0.5, 4)
	for i, want := range []int{200, 200, 429} {
		if got := app("/api/v1/identities/", "X-Environment-Key", client, identify); got.Code != want || want == 429 && (got.Header().Get("Retry-After") != "2" || got.Body.String() != `{"detail":"Request was throttled."}`) {
			t.Errorf("request %d of the client key: %d %s %v", i, got.Code, got.Body, got.Header())
		}
	}
	if got := app(evaluate, "X-API-Key", client, context); got.Code != 429 || got.Header().Get("Retry-After") != "2" || !strings.Contains(got.Body.String(), "more requests than it may") {
		t.Errorf("the same key of a provider: %d %s %v", got.Code, got.Body, got.Header())
	}
	for i, want := range []int{200, 200, 429} {
		if got := app(evaluate, "X-API-Key", server, context); got.Code != want {
			t.Errorf("request %d of the server key: %d %s", i, got.Code, got.Body)
		}
	}
}
