package httpapi

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"flagledger/domain"
	"flagledger/domain/evaluation"
)

// connect opens an event stream as browsers do, with nothing but its address
// and what they saw last, "" for nothing.
func connect(t *testing.T, url, last string) *listener {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "text/event-stream")
	if last != "" {
		req.Header.Set("Last-Event-ID", last)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		_ = resp.Body.Close()
	})
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/event-stream" || resp.Header.Get("Access-Control-Allow-Origin") != "*" {
		t.Fatalf("%s %v", resp.Status, resp.Header)
	}
	l := &listener{bufio.NewScanner(resp.Body), t, stop}
	if retry := l.event(); !regexp.MustCompile(`^retry: [12]\d\d\d$`).MatchString(retry) {
		t.Errorf("the stream begins with %q", retry)
	}
	return l
}

// refetch is the event that tells of a position, as many seconds after the
// start of the fixture.
func refetch(position, seconds int) string {
	return fmt.Sprintf(`id: 2-%d|event: message|data: {"type":"refetchEvaluation","etag":"2-%d","lastModified":%d}`, position, position, sdkStart.Unix()+int64(seconds))
}

// Providers fetch flags only when they are told to: also after an interruption,
// of which they see nothing.
func TestOFREPStream(t *testing.T) {
	f, o := newOFREPFixture(t, ofrepShop()...)
	path := streamPath(t, o, f)
	url := serveOn(t, httptest.NewUnstartedServer(f.handler)) + path
	change := domain.FeatureStateSet{Environment: "production", Feature: "checkout", Enabled: true, Value: evaluation.String("new")}

	l := connect(t, url, "")
	l.expect(refetch(1, 0))
	f.commit(t, 3*time.Second, change)
	l.expect(refetch(2, 3))

	current := connect(t, url, "2-2") // nothing happened since: nothing is told
	behind := connect(t, url, "2-1")
	behind.expect(refetch(2, 3))
	for _, unknown := range []string{"2-99", "7-2", "x", "2"} {
		connect(t, url, unknown).expect(refetch(2, 3))
	}
	f.commit(t, time.Second, change)
	for _, l := range []*listener{l, current, behind} {
		l.expect(refetch(3, 4))
	}
	if w := f.bulk(t, `{"targetingKey":"bob"}`, bearer); !strings.HasPrefix(w.Header().Get("ETag"), `"2-3-`) {
		t.Errorf("the ETag is %s", w.Header().Get("ETag"))
	}

	f.commit(t, time.Second, domain.EnvironmentDeleted{Environment: "production"})
	l.expect("")
	if w := f.serve(t, sdkCase{path: path}); w.Code != 401 {
		t.Errorf("of an environment that is gone: %d", w.Code)
	}
}

// A stream that says nothing for long would be taken for dead; one that ends
// makes providers stale.
func TestOFREPStreamStaysOpen(t *testing.T) {
	f, o := newOFREPFixture(t)
	f.streams.heartbeat, f.streams.life = time.Millisecond, time.Millisecond
	server := httptest.NewUnstartedServer(f.handler)
	const timeout = time.Second // in which any machine reads a request
	server.Config.ReadTimeout, server.Config.WriteTimeout = timeout, timeout
	l := connect(t, serveOn(t, server)+streamPath(t, o, f), "2-1")
	for end := time.Now().Add(timeout + timeout/4); time.Now().Before(end); {
		l.expect(": still here")
	}
}

// A stream is worth no more than the key that it is for.
func TestOFREPStreamEnds(t *testing.T) {
	for name, end := range map[string]func(*testing.T, *sdkFixture){
		"with the key": func(t *testing.T, f *sdkFixture) {
			f.commit(t, time.Second, domain.SDKKeyRevoked{Environment: "production", ID: "k2"})
		},
		"when it is switched off": func(t *testing.T, f *sdkFixture) {
			f.commit(t, time.Second, domain.SDKKeyUpdated{Environment: "production", ID: "k2", Name: "app"})
		},
		"when it is out of date": func(t *testing.T, f *sdkFixture) {
			f.commit(t, time.Second, domain.SDKKeyUpdated{Environment: "production", ID: "k2", Name: "app", Active: true, ExpiresAt: sdkStart})
		},
	} {
		t.Run(name, func(t *testing.T) {
			f, o := newOFREPFixture(t)
			f.streams.heartbeat = time.Millisecond
			f.Now = func() time.Time { return sdkStart.Add(time.Minute) } // the fixture's own is not for two goroutines
			f.commit(t, time.Second, domain.SDKKeyCreated{Environment: "production", ID: "k2", Kind: domain.ServerKey, Name: "app", Hash: hashOf("ser.app")})
			at, err := o.access(http.Header{"X-Api-Key": {"ser.app"}})
			if err != nil {
				t.Fatal(err)
			}
			url := serveOn(t, httptest.NewUnstartedServer(f.handler))
			l := connect(t, url+streamAddress(at), "")
			other := connect(t, url+streamPath(t, o, f), "")
			l.expect(refetch(1, 0)) // keys are no part of what is evaluated
			end(t, f)
			for l.event() != "" {
			}
			other.expect(refetch(1, 0))
			other.expect(": still here")
			if w := f.serve(t, sdkCase{path: streamAddress(at)}); w.Code != 401 {
				t.Errorf("again: %d", w.Code)
			}
		})
	}
	t.Run("when the server closes", func(t *testing.T) {
		f, o := newOFREPFixture(t)
		closing := make(chan struct{})
		f.closing = closing
		l := connect(t, serveOn(t, httptest.NewUnstartedServer(f.handler))+streamPath(t, o, f), "2-1")
		close(closing)
		l.expect("")
	})
}

// The answer to an event is of the snapshot that the event told of, also from a
// process that learns of it later, but not at any price.
func TestOFREPFreshness(t *testing.T) {
	for name, tc := range map[string]struct {
		query  string
		waits  bool
		served uint64 // position
	}{
		"no hint":                     {"", false, 1},
		"the snapshot that there is":  {"?flagConfigEtag=2-1&flagConfigLastModified=1772359200", false, 1},
		"an older one":                {"?flagConfigEtag=2-0&flagConfigLastModified=1772359100", false, 1},
		"the next one":                {"?flagConfigEtag=2-2", true, 2},
		"the next one by time":        {"?flagConfigLastModified=1772359210", true, 2},
		"by a time in letters":        {"?flagConfigLastModified=2026-03-01T10:00:10Z", true, 2},
		"by both":                     {"?flagConfigEtag=2-2&flagConfigLastModified=1772359210", true, 2},
		"one that does not come":      {"?flagConfigEtag=2-9", true, 2},
		"of another environment":      {"?flagConfigEtag=3-2", false, 1},
		"an ETag of somebody else":    {"?flagConfigEtag=%22abc%22", false, 1},
		"a time that is none":         {"?flagConfigLastModified=soon", false, 1},
		"a position that is none":     {"?flagConfigEtag=2-99999999999999999999", false, 1},
		"something else in the query": {"?a=%zz;b", false, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, o := newOFREPFixture(t)
				begun := time.Now()
				answered := make(chan string, 1)
				go func() {
					w := f.serve(t, sdkCase{method: "POST", path: ofrepFlags + tc.query, headers: bearer, body: `{"context":{"targetingKey":"bob"}}`})
					answered <- w.Body.String()
				}()
				synctest.Wait()
				if waits := len(answered) == 0; waits != tc.waits {
					t.Errorf("waits: %v", waits)
				}
				f.commit(t, 10*time.Second, domain.FeatureStateSet{Environment: "production", Feature: "checkout", Enabled: true})
				if body, want := <-answered, fmt.Sprintf(`"position":%d}`, tc.served); !strings.Contains(body, want) {
					t.Errorf("%s\nlacks %s", body, want)
				}
				if waited := time.Since(begun); waited != 0 && (waited != o.wait || name != "one that does not come") {
					t.Errorf("waited for %v", waited)
				}
			})
		})
	}
	t.Run("an environment that goes", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f, _ := newOFREPFixture(t)
			status := make(chan int, 1)
			go func() {
				status <- f.serve(t, sdkCase{method: "POST", path: ofrepFlags + "?flagConfigEtag=2-2", headers: bearer, body: `{"context":{}}`}).Code
			}()
			synctest.Wait()
			f.commit(t, time.Second, domain.EnvironmentDeleted{Environment: "production"})
			if got := <-status; got != 401 {
				t.Errorf("%d", got)
			}
		})
	})
}
