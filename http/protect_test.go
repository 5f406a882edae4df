package httpapi

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/labstack/echo/v4"
)

// A handler that panics costs its request and no other; one that fails in the middle of an answer lets nobody take that for whole.
func TestBrokenHandlers(t *testing.T) {
	var logged bytes.Buffer
	s := &Server{Config: Config{Logger: slog.New(slog.NewTextHandler(&logged, nil))}}
	e := echo.New()
	e.HTTPErrorHandler = s.handleError
	e.Use(survive)
	e.GET("/panic", func(echo.Context) error { panic("out of luck") })
	e.GET("/half", func(c echo.Context) error {
		if _, err := c.Response().Write([]byte("half")); err != nil {
			return err
		}
		c.Response().Flush()
		return errors.New("out of luck")
	})
	server := httptest.NewServer(e)
	t.Cleanup(server.Close)
	get := func(path string) (int, string, error) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		body, err := io.ReadAll(res.Body)
		return res.StatusCode, string(body), err
	}
	if status, body, err := get("/panic"); status != 500 || err != nil || strings.Contains(body, "luck") || !strings.Contains(body, "an internal error; it has been logged") {
		t.Errorf("a panic: %d %s %v", status, body, err)
	}
	if status, body, err := get("/half"); status != 200 || body != "half" || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("half an answer: %d %s %v", status, body, err)
	}
	server.Close() // what is logged behind the answer is logged
	for _, want := range []string{"request failed", "panic: out of luck", "protect_test.go", "answer broken off"} {
		if !strings.Contains(logged.String(), want) {
			t.Errorf("the log lacks %s: %s", want, &logged)
		}
	}
}

// One line a request, which names no person; the reads at level debug.
func TestRequestLog(t *testing.T) {
	w := newWatch(t)
	for level, want := range map[slog.Level]string{
		slog.LevelInfo: `INFO PATCH /admin/v1/projects/:project 200 id
INFO DELETE /admin/v1/projects/:project/environments/:environment/identities/:identifier 404 id
`,
		slog.LevelDebug: `DEBUG GET /admin/v1/projects/:project/environments/:environment/identities/:identifier 200 id
DEBUG PATCH /admin/v1/projects/:project 401 -
INFO PATCH /admin/v1/projects/:project 200 id
INFO DELETE /admin/v1/projects/:project/environments/:environment/identities/:identifier 404 id
`,
	} {
		var logged bytes.Buffer
		w.server.Logger = slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: level}))
		const live = "/admin/v1/projects/shop/environments/live"
		w.send("root", "GET", live+"/identities/ada?limit=1", "")
		w.send("root", "GET", live+"/identities/ada", "")
		w.send("nobody", "PATCH", "/admin/v1/projects/shop", `{}`)
		w.send("root", "PATCH", "/admin/v1/projects/shop", `{"reason":"why ada"}`)
		w.send("root", "DELETE", live+"/identities/bob?reason=bob+left", "")
		w.send("", "GET", "/healthz", "")
		w.send("", "GET", "/api/v1/flags/", "")
		line := regexp.MustCompile(`(?m)^time=\S+ level=(\S+) msg=request method=(\S+) route=(\S+) status=(\d+) took=\S+ request_id=r1 token=(\S+) ip=192.0.2.1$`)
		got := line.ReplaceAllString(logged.String(), "$1 $2 $3 $4 $5")
		for _, token := range w.server.organisation().Tokens.All() {
			got = strings.ReplaceAll(got, " "+token.ID+"\n", " id\n")
		}
		got = strings.ReplaceAll(got, ` ""`+"\n", " -\n")
		got = strings.Replace(got, "DEBUG GET /admin/v1/projects/:project/environments/:environment/identities/:identifier 400 id\n", "", 1)
		if got != want {
			t.Errorf("at level %s is logged\n%s\nwant\n%s", level, got, want)
		}
		if strings.Contains(logged.String(), "ada") || strings.Contains(logged.String(), "bob") {
			t.Errorf("the log names persons: %s", &logged)
		}
	}
}

// Answers of the administration, refusals and what operators ask for are protected; a name for the request is answered, and made up where it is none.
func TestProtection(t *testing.T) {
	w := newWatch(t)
	for _, path := range []string{"/admin/v1/projects", "/admin/v1/projects/moon", "/admin/v1/nothing", "/nothing", "/healthz", "/readyz", "/version", "/metrics"} {
		got := w.send("root", "GET", path, "").Header()
		for name, want := range map[string]string{
			"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store",
		} {
			if got.Get(name) != want {
				t.Errorf("%s: %s is %q, want %q", path, name, got.Get(name), want)
			}
		}
		if got.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: pages of others may read it", path)
		}
	}
	for sent, want := range map[string]string{"mine-1": "mine-1", "": "", strings.Repeat("x", 101): ""} {
		r := httptest.NewRequestWithContext(t.Context(), "GET", "/admin/v1/whoami", http.NoBody)
		r.Header.Set("X-Request-Id", sent)
		answer := httptest.NewRecorder()
		w.server.ServeHTTP(answer, r)
		got := answer.Header().Get("X-Request-Id")
		if want != "" && got != want || want == "" && len(got) != 26 {
			t.Errorf("X-Request-Id %q is answered %q", sent, got)
		}
	}
}

// A compressed body is refused for being one, on every route that reads one.
func TestCompressedBodies(t *testing.T) {
	w := newWatch(t)
	for _, tc := range []struct{ path, coding, contains string }{
		{"/admin/v1/projects", "gzip", `"status":415,"detail":"bodies are not read compressed; send it as it is","field":"Content-Encoding"`},
		{"/admin/v1/projects/shop/changes", "br", `"status":415`},
		{"/api/v1/identities/", "gzip", `{"detail":"Bodies are not read compressed`},
		{"/api/v1/analytics/flags/", "zstd", `{"detail":"Bodies are not read compressed`},
		{"/ofrep/v1/evaluate/flags", "deflate", `"errorDetails":"Bodies are not read compressed`},
		{"/ofrep/v1/evaluate/flags", "identity, gzip", `"errorDetails":"Bodies are not read compressed`},
	} {
		r := httptest.NewRequestWithContext(t.Context(), "POST", tc.path, strings.NewReader("\x1f\x8b"))
		r.Header.Set("Authorization", "Bearer "+w.secrets["root"])
		if strings.HasPrefix(tc.path, "/ofrep") {
			r.Header.Set("Authorization", "Bearer shop-live-client")
		}
		r.Header.Set("X-Environment-Key", "shop-live-client")
		r.Header.Set("Content-Encoding", tc.coding)
		answer := httptest.NewRecorder()
		w.server.ServeHTTP(answer, r)
		if answer.Code != 415 || !strings.Contains(answer.Body.String(), tc.contains) {
			t.Errorf("%s, %s: %d %s", tc.path, tc.coding, answer.Code, answer.Body)
		}
	}
	r := httptest.NewRequestWithContext(t.Context(), "POST", "/ofrep/v1/evaluate/flags", strings.NewReader(`{"context":{"targetingKey":"ada"}}`))
	r.Header.Set("X-API-Key", "shop-live-client")
	r.Header.Set("Content-Encoding", "Identity")
	answer := httptest.NewRecorder()
	if w.server.ServeHTTP(answer, r); answer.Code != 200 {
		t.Errorf("identity: %d %s", answer.Code, answer.Body)
	}
}

// Bytes that are no text, in paths and queries, are not there or refused, and never an error of the server's.
func TestInvalidText(t *testing.T) {
	w := newWatch(t)
	before := w.views.Position()
	params := regexp.MustCompile(`:\w+`)
	for _, r := range w.server.routes() {
		if r.method == http.MethodOptions || !strings.HasPrefix(r.path, "/admin/") {
			continue
		}
		for _, text := range []string{"%ff%fe", "%00", "%C3%28", "a%2Fb", "..%2f..", "%F0%9F%92%A9", "%E2%80%AE"} {
			good := strings.NewReplacer(":project", "shop", ":environment", "live", ":feature", "checkout", ":segment", "west").Replace(r.path)
			for _, path := range []string{params.ReplaceAllString(r.path, text), params.ReplaceAllString(good, text), params.ReplaceAllString(good, "none") + "?reason=" + text + "&cursor=" + text + "&limit=" + text} {
				if !strings.Contains(path, text) {
					continue
				}
				body := ""
				if r.method != http.MethodGet && r.method != http.MethodDelete {
					body = `{"reason":"` + "\xff" + `"}`
				}
				if answer := w.send("root", r.method, path, body); answer.Code >= 500 || answer.Code < 300 && r.method != http.MethodGet {
					t.Errorf("%s %s: %d %s", r.method, path, answer.Code, answer.Body)
				}
			}
		}
	}
	for _, text := range []string{"%ff", "%00", "%C3%28"} {
		path := "/admin/v1/projects/shop/environments/live/features/checkout/identity-overrides/a" + text
		if answer := w.send("root", "PUT", path, `{"enabled":true}`); answer.Code != 400 && answer.Code != 422 {
			t.Errorf("PUT %s: %d %s", path, answer.Code, answer.Body)
		}
	}
	if after := w.views.Position(); after != before {
		t.Errorf("what is no text has led from position %d to %d", before, after)
	}
}

// What guards the requests of apps costs them no memory.
func TestGuardsDoNotAllocate(t *testing.T) {
	f := newSDKFixture(t)
	at, err := f.access(serverKey)
	if err != nil {
		t.Fatal(err)
	}
	c := echo.New().NewContext(httptest.NewRequestWithContext(t.Context(), "GET", "/", http.NoBody), httptest.NewRecorder())
	handle := survive(func(c echo.Context) error {
		if _, err := f.awaitPosition(c.Request()); err != nil || f.haste(at) > 0 || encoded(c.Request().Header) {
			return errTooOften
		}
		return nil
	})
	if n := testing.AllocsPerRun(100, func() {
		if err := handle(c); err != nil {
			t.Error(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations a request", n)
	}
}
