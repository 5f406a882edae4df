package httpapi

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"flagledger/http/wire"
)

// servePlainly serves as the program does, and returns the address.
func servePlainly(t *testing.T, handler http.Handler) (url string) {
	t.Helper()
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	s := wire.New(&http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}, Plain, 0)
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return "http://" + l.Addr().String()
}

// Apps get the same bytes whether wire answers them or net/http: each request
// alone, and all of them one after the other on one connection.
func TestPlainAnswers(t *testing.T) {
	f := newSDKFixture(t, sdkShop()...)
	s := New(f.Config)
	var plain atomic.Int64
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, flushes := w.(http.Flusher); !flushes {
			plain.Add(1)
		}
		s.ServeHTTP(w, r)
	})
	ours := servePlainly(t, handler)
	theirs := serveOn(t, httptest.NewUnstartedServer(handler))

	const key, server = "\r\nX-Environment-Key: " + clientKey, "\r\nX-Environment-Key: " + serverKey
	get := func(path, headers string) string {
		return "GET " + path + " HTTP/1.1\r\nHost: a" + headers + "\r\n\r\n"
	}
	post := func(path, headers, body string) string {
		return "POST " + path + " HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: " + strconv.Itoa(len(body)) + headers + "\r\n\r\n" + body
	}
	etag := regexp.MustCompile("Etag: (.*)\r\n").FindStringSubmatch(raw(t, ours, get("/api/v1/flags/", key)))[1]
	requests := []string{
		get("/api/v1/flags/", key),
		get("/api/v1/flags", server),
		get("/api/v1/flags/", key+"\r\nIf-None-Match: "+etag),
		get("/api/v1/flags/", key+"\r\nAccept-Encoding: gzip\r\nOrigin: https://shop.example"),
		get("/api/v1/flags/?feature=checkout", key),
		get("/api/v1/flags/?feature=none", key),
		get("/api/v1/flags/", ""),
		get("/api/v1/flags/", "\r\nX-Environment-Key: wrong"),
		get("/api/v1/nothing/", key),
		get("/api/v1/environment-document/", server),
		get("/api/v1/environment-document/", server+"\r\nAccept-Encoding: gzip"),
		get("/api/v1/identities/?identifier=ada%40example.com", key),
		get("/api/v1/flags/", key+"\r\nFlagledger-Min-Position: 0"),
		post("/api/v1/identities/", key, `{"identifier":"ada","traits":[{"trait_key":"email","trait_value":"ada@example.com"}]}`),
		post("/api/v1/identities/?feature=checkout", key, `{"identifier":"ada"}`),
		post("/api/v1/identities/", key, `{"identifier":`),
		post("/api/v1/traits/", key, `{"identity":{"identifier":"ada"},"trait_key":"age","trait_value":36}`),
		post("/api/v1/bulk-identities/", server, `{"data":[{"identifier":"eve","traits":[]}]}`),
		post("/api/v1/analytics/flags/", key, `{"checkout":3}`),
		post("/ofrep/v1/evaluate/flags/checkout", "\r\nAuthorization: Bearer "+clientKey, `{"context":{"targetingKey":"ada"}}`),
		post("/ofrep/v1/evaluate/flags", "\r\nX-API-Key: "+clientKey, `{"context":{"targetingKey":"ada"}}`),
		post("/ofrep/v1/evaluate/flags/none", "\r\nX-API-Key: "+clientKey, `{"context":{"targetingKey":"ada"}}`),
		post("/ofrep/v1/evaluate/flags", "", `{}`),
		"OPTIONS /api/v1/flags/ HTTP/1.1\r\nHost: a\r\nOrigin: https://shop.example\r\nAccess-Control-Request-Method: GET\r\n\r\n",
		"PUT /api/v1/flags/ HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
	}
	_ = raw(t, theirs, strings.Join(requests, "")) // stores what they store
	before := plain.Load()
	var want strings.Builder
	for _, request := range requests {
		one := raw(t, theirs, request)
		if got := raw(t, ours, request); got != one {
			t.Errorf("%q is answered\n%s\nwant\n%s", request, got, one)
		}
		want.WriteString(one)
	}
	if got := raw(t, ours, strings.Join(requests, "")); got != want.String() {
		t.Errorf("one after the other they are answered\n%s\nwant\n%s", got, want.String())
	}
	if got, want := plain.Load()-before, int64(2*len(requests)); got != want {
		t.Errorf("wire has answered %d requests, want %d", got, want)
	}
	before = plain.Load()
	if answer := raw(t, ours, get("/admin/v1/projects", "")); !strings.HasPrefix(answer, "HTTP/1.1 401") || plain.Load() != before {
		t.Errorf("wire answers the administration %s", answer)
	}
}

// raw sends requests on a connection, and returns all that comes back.
func raw(t *testing.T, url, requests string) string {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := io.WriteString(conn, requests); err != nil {
		t.Fatal(err)
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	return changing.ReplaceAllString(string(answer), "$1 ...")
}

// changing is what no two answers have in common: their time, and their name.
var changing = regexp.MustCompile(`(Date:|X-Request-Id:|"request_id":)[^\r}]*`)
