package httpapi

import (
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"flagledger/domain"
	"flagledger/domain/evaluation"
)

// names are the names of the flags in an answer, in order.
func names(body string) string {
	var all []string
	for part := range strings.SplitSeq(body, `"name":"`) {
		if name, _, ok := strings.Cut(part, `","created_date"`); ok {
			all = append(all, name)
		}
	}
	return strings.Join(all, " ")
}

func TestSDKFlags(t *testing.T) {
	f := newSDKFixture(t, sdkShop()...)
	const notFound = `={"detail":"Given feature not found"}`
	f.run(t, []sdkCase{
		{name: "values", path: "/api/v1/flags/", status: 200, contains: `"feature_state_value":null`},
		{name: "no splits without an identity", path: "/api/v1/flags/", status: 200, contains: `"type":"MULTIVARIATE"},"feature_state_value":"classic","environment":2,"identity":null,"feature_segment":null,"enabled":true,"variant":null,"reason":"DEFAULT"`},
		{name: "server only features are not for client keys", path: "/api/v1/flags/", status: 200, lacks: "fraud_score"},
		{name: "but for server keys", path: "/api/v1/flags/", key: serverKey, status: 200, contains: "fraud_score"},
		{name: "one feature", path: "/api/v1/flags/?feature=checkout", status: 200, contains: `{"id":4,"feature":{"id":3,"name":"checkout"`},
		{name: "in lower case", path: "/api/v1/flags?feature=new_search", status: 200, contains: `"name":"New_Search"`},
		{name: "an unknown feature", path: "/api/v1/flags/?feature=nothing", status: 404, contains: notFound},
		{name: "a server only feature", path: "/api/v1/flags/?feature=fraud_score", status: 404, contains: notFound},
		{name: "a server only feature for a server key", path: "/api/v1/flags/?feature=fraud_score", key: serverKey, status: 200, contains: "70"},
	})

	hide := true
	for _, tc := range []struct {
		project     bool
		environment *bool
		client      string
		server      string
	}{
		{false, nil, "New_Search checkout old_cart", "New_Search checkout fraud_score old_cart"},
		{true, nil, "New_Search checkout", "New_Search checkout fraud_score"},
		{false, &hide, "New_Search checkout", "New_Search checkout fraud_score"},
		{true, new(bool), "New_Search checkout old_cart", "New_Search checkout fraud_score old_cart"},
	} {
		t.Run(fmt.Sprintf("hide disabled flags: project %v, environment %v", tc.project, tc.environment != nil), func(t *testing.T) {
			f.settings(t, func(s *domain.EnvironmentSettings) { s.HideDisabledFlags = tc.environment })
			f.commit(t, time.Second, domain.ProjectUpdated{Name: "The MART", ProjectSettings: domain.ProjectSettings{PersistTraits: true, HideDisabledFlags: tc.project}})
			for key, want := range map[string]string{clientKey: tc.client, serverKey: tc.server} {
				for _, path := range []string{"/api/v1/flags/", "/api/v1/identities/?identifier=ada"} {
					w := f.serve(t, sdkCase{path: path, key: key})
					if got := names(w.Body.String()); got != want {
						t.Errorf("%s %s: %s, want %s", key, path, got, want)
					}
				}
				w := f.serve(t, sdkCase{path: "/api/v1/flags/?feature=old_cart", key: key})
				if hidden := !strings.Contains(want, "old_cart"); hidden != (w.Code == http.StatusNotFound) {
					t.Errorf("%s: old_cart answered %d", key, w.Code)
				}
			}
		})
	}
}

// serve answers a request without a network.
func (f *sdkFixture) serve(t testing.TB, tc sdkCase) *httptest.ResponseRecorder {
	t.Helper()
	method := tc.method
	if method == "" {
		method = http.MethodGet
	}
	r := httptest.NewRequestWithContext(t.Context(), method, tc.path, strings.NewReader(tc.body))
	if tc.key == "" {
		tc.key = clientKey
	}
	r.Header.Set("X-Environment-Key", tc.key)
	for h := range strings.SplitSeq(tc.headers, "|") {
		if name, value, ok := strings.Cut(h, ": "); ok {
			r.Header.Add(name, value)
		}
	}
	w := httptest.NewRecorder()
	f.handler.ServeHTTP(w, r)
	return w
}

func TestSDKValidators(t *testing.T) {
	for path, key := range map[string]string{"/api/v1/flags/": clientKey, "/api/v1/environment-document/": serverKey} {
		t.Run(path, func(t *testing.T) {
			f := newSDKFixture(t, sdkShop()...)
			ask := func(headers string) *httptest.ResponseRecorder {
				return f.serve(t, sdkCase{path: path, key: key, headers: headers})
			}
			expect := func(w *httptest.ResponseRecorder, status int) {
				t.Helper()
				if w.Code != status || (status == 304) != (w.Body.Len() == 0) {
					t.Errorf("%d with %d bytes, want %d", w.Code, w.Body.Len(), status)
				}
			}
			w := ask("")
			expect(w, 200)
			etag, modified := w.Header().Get("ETag"), w.Header().Get("Last-Modified")
			if modified != "Sun, 01 Mar 2026 10:00:00 GMT" {
				t.Errorf("Last-Modified: %s", modified)
			}
			expect(ask("If-None-Match: "+etag), 304)
			expect(ask(`If-None-Match: "other", `+strings.TrimPrefix(etag, "W/")), 304)
			expect(ask("If-None-Match: *"), 304)
			expect(ask(`If-None-Match: "other"`), 200)
			expect(ask(`If-None-Match: "other"|If-Modified-Since: `+modified), 200)
			expect(ask("If-Modified-Since: "+modified), 304)
			expect(ask("If-Modified-Since: yesterday"), 200)
			expect(ask("If-Modified-Since: Sun, 01 Mar 2026 09:59:59 GMT"), 200)
			expect(ask("If-Modified-Since: Sun, 01 Mar 2026 10:00:01 GMT"), 200) // of a clock that is ahead, perhaps
			expect(ask("If-Modified-Since: Sun, 01 Mar 2026 10:01:00 GMT"), 200) // which is yet to come
			f.now = f.now.Add(time.Minute)
			expect(ask("If-Modified-Since: Sun, 01 Mar 2026 10:01:00 GMT"), 304)
			expect(ask("If-Modified-Since: Sun, 01 Mar 2026 10:00:59 GMT"), 200)
			f.now = f.now.Add(-time.Minute)

			// What other projects do in the same second does not matter.
			f.commitTo(t, "office", 0, domain.ProjectCreated{Key: "office", Name: "Office"})
			expect(ask("If-Modified-Since: "+modified), 304)

			// Another snapshot in the same second has a date of its own.
			state := domain.FeatureStateSet{Environment: "production", Feature: "checkout", Value: evaluation.String("new")}
			f.commit(t, 100*time.Millisecond, state)
			w = ask("If-None-Match: " + etag)
			expect(w, 200)
			if w.Header().Get("Last-Modified") != modified || w.Header().Get("ETag") == etag { // the other date is yet to come
				t.Errorf("validators of the second snapshot: %v", w.Header())
			}
			expect(ask("If-Modified-Since: "+modified), 200)
			f.now = f.now.Add(900 * time.Millisecond)
			w = ask("If-Modified-Since: " + modified)
			expect(w, 200)
			if got := w.Header().Get("Last-Modified"); got != "Sun, 01 Mar 2026 10:00:01 GMT" {
				t.Errorf("Last-Modified of the second snapshot: %s", got)
			}
			expect(ask("If-Modified-Since: Sun, 01 Mar 2026 10:00:01 GMT"), 304)

			state.Value = evaluation.String("newer")
			f.commit(t, 0, state)
			expect(ask("If-Modified-Since: Sun, 01 Mar 2026 10:00:01 GMT"), 200)
			f.now = f.now.Add(time.Second)
			expect(ask("If-Modified-Since: "+modified), 200)
			w = ask("")
			expect(ask("If-Modified-Since: "+w.Header().Get("Last-Modified")), 304)
			expect(ask("If-None-Match: "+w.Header().Get("ETag")), 304)
		})
	}
}

func TestSDKGzip(t *testing.T) {
	f := newSDKFixture(t, sdkShop()...)
	plain := f.serve(t, sdkCase{path: "/api/v1/flags/", key: serverKey})
	for accepted, zipped := range map[string]bool{
		"gzip": true, "deflate, GZIP;q=0.5, br": true, "br": false, "gzip;q=0": false, "gzip; q=0.000": false, "": false,
	} {
		w := f.serve(t, sdkCase{path: "/api/v1/flags/", key: serverKey, headers: "Accept-Encoding: " + accepted})
		if got := w.Header().Get("Content-Encoding") == "gzip"; got != zipped {
			t.Errorf("%q: compressed: %v", accepted, got)
		}
		if w.Header().Get("Vary") != "Accept-Encoding" || w.Header().Get("ETag") != plain.Header().Get("ETag") {
			t.Errorf("%q: %v", accepted, w.Header())
		}
		body := w.Body.String()
		if zipped {
			r, err := gzip.NewReader(w.Body)
			if err != nil {
				t.Fatal(err)
			}
			unzipped, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			body = string(unzipped)
		}
		if body != plain.Body.String() {
			t.Errorf("%q: %s", accepted, body)
		}
	}
	w := f.serve(t, sdkCase{path: "/api/v1/flags/?feature=checkout", headers: "Accept-Encoding: gzip"})
	if w.Header().Get("Content-Encoding") != "" || w.Header().Get("X-Flagsmith-Document-Updated-At") != "" {
		t.Errorf("one feature: %v", w.Header())
	}
}
