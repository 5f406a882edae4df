package wire_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"flagledger/http/wire"
)

// patience is how long a test waits for what has to happen.
const patience = 30 * time.Second

// handler answers as its query says, and with what it has read.
func handler(w http.ResponseWriter, r *http.Request) {
	query, header := r.URL.Query(), w.Header()
	for name, values := range query {
		if name[0] >= 'A' && name[0] <= 'Z' {
			header[name] = values
		}
	}
	number := func(name string) int {
		n, _ := strconv.Atoi(query.Get(name))
		return n
	}
	if query.Has("panic") {
		panic(http.ErrAbortHandler)
	}
	if status := number("status"); status > 0 {
		w.WriteHeader(status)
		w.WriteHeader(status + 1) // too late
		header.Set("Late", "yes")
	}
	if query.Has("silent") {
		return
	}
	if size := number("size"); size > 0 {
		body := bytes.Repeat([]byte("<p>0123456789</p>"), size)[:size]
		for pieces := max(1, number("pieces")); pieces > 0; pieces-- {
			part := len(body) / pieces
			_, _ = w.Write(body[:part])
			body = body[part:]
		}
		return
	}
	body, err := io.ReadAll(r.Body)
	from, _, _ := net.SplitHostPort(r.RemoteAddr)
	_, _ = fmt.Fprintf(w, "%s: %s %s %q %s %d %v %.200v: %x %v", from, r.Method, r.URL, r.Host, r.Proto, r.ContentLength, r.TransferEncoding, r.Header, sha256.Sum256(body), err)
}

// requests are told apart by what is in their way of being answered.
var requests = []string{
	"GET /plain/ HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET /plain/a?size=1&x=%20y HTTP/1.1\r\nHost: a:80\r\nX-Environment-Key: k\r\nx-environment-key: l\r\naccept:*/*\r\nConnection: Keep-Alive\r\n\r\n",
	"GET /plain/?size=2000&Content-Type=application/json HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET /plain/?size=4000&Content-Length=4000 HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET /plain/?size=4200&Content-Length=4200&Etag=x&Access=a&Vary=b HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET /plain/?size=300000&Content-Length=300000&Content-Encoding=gzip HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET /plain/?size=300&pieces=3&Content-Length=300 HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET /plain/?size=300&pieces=3 HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET /plain/?size=3&Date=yesterday&B=1&B=2&A=%20a%0d%0ab HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET /plain/?status=304&Content-Type=text/plain&Content-Length=3&Etag=x HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET /plain/?status=204&size=10 HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET /plain/?status=404&size=10 HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET /plain/?status=799 HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET /plain/?silent=1 HTTP/1.1\r\nHost: a\r\n\r\n",
	"OPTIONS /plain/ HTTP/1.1\r\nHost: a\r\nOrigin: b\r\n\r\n",
	"POST /plain/ HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
	"POST /plain/?size=3 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", // is not read
	"POST /plain/ HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
	"PUT /plain/ HTTP/1.1\r\nHost: a\r\nContent-Length: 50000\r\n\r\n" + strings.Repeat("x", 50_000),
	"PUT /plain/ HTTP/1.1\r\nHost: a\r\nContent-Length: 90000\r\n\r\n" + strings.Repeat("x", 90_000),
	"POST /plain/ HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello\r\n\r\n", // old clients do
	"POST /plain/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
	"GET /other/ HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET /other/?size=3000&pieces=2 HTTP/1.1\r\nHost: a\r\n\r\n",
	"HEAD /plain/?size=10&Content-Length=10 HTTP/1.1\r\nHost: a\r\n\r\n",
	"DELETE /plain/ HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET /plain/%61 HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET /plain/? HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET http://b/plain/ HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET /plain/ HTTP/1.1\r\nHost: a\r\nPragma: no-cache\r\n\r\n",
	"GET /plain/ HTTP/1.1\r\nHost: a\r\nLong: " + strings.Repeat("x", 9000) + "\r\n\r\n",
	"GET /plain/ HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
}

// last are those after which the connection ends.
var last = []string{
	"GET /plain/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
	"GET /plain/?size=3&Connection=close HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET /plain/?size=30&Content-Length=20 HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET /plain/?size=30&Content-Length=40 HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET /plain/?panic=1 HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET /plain/ HTTP/1.0\r\n\r\n",
	"GET /plain/ HTTP/1.1\r\n\r\n",
	"GET /plain/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
	"GET /plain/ HTTP/1.1\r\nHost: a\r\nBad name: b\r\n\r\n",
	"GET /plain/ HTTP/1.1\r\nHost: a\r\nBad: \x01\r\n\r\n",
	"GET /plain/ HTTP/1.1\nHost: a\n\n",
	"GET /plain/ HTTP/2.0\r\nHost: a\r\n\r\n",
	"POST /plain/ HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
	"POST /plain/ HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: gzip\r\n\r\nhello",
	"POST /plain/ HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello",
	"POST /plain/ HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello", // and no more
	"POST /plain/ HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n",
	"PUT /plain/ HTTP/1.1\r\nHost: a\r\nContent-Length: 50000\r\n\r\n" + strings.Repeat("x", 40_000),
	"GET /plain/?size=3 HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello",
	"POST /plain/ HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello\r\n\r\n\r\n", // too many
	"PUT /plain/ HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello\r\n\r\n",
	"nonsense\r\n\r\n",
	"",
}

func plain(path string) bool { return strings.HasPrefix(path, "/plain/") }

// listen serves in the background, and returns where.
func listen(t *testing.T, serve func(*net.TCPListener) error, shut func() error) string {
	t.Helper()
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- serve(l) }()
	t.Cleanup(func() {
		if err := shut(); err != nil {
			t.Error(err)
		}
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

// both are a server of wire, and of net/http, with the same handler.
func both(t *testing.T) (ours, theirs string) {
	quiet := log.New(io.Discard, "", 0)
	of := func() *http.Server { return &http.Server{Handler: http.HandlerFunc(handler), ErrorLog: quiet} }
	s, h := wire.New(of(), plain, 0), of()
	return listen(t, s.Serve, s.Close), listen(t, func(l *net.TCPListener) error { return h.Serve(l) }, h.Close)
}

// exchange sends pieces on one connection and returns all that comes back.
func exchange(t *testing.T, address string, pieces ...string) string {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	sent := make(chan struct{})
	go func() { // or both sides could wait for each other to read
		defer close(sent)
		for _, piece := range pieces {
			if _, err := io.WriteString(conn, piece); err != nil {
				return // it is closed already
			}
		}
		_ = conn.(*net.TCPConn).CloseWrite()
	}()
	answer, err := io.ReadAll(conn)
	if err != nil && !strings.Contains(err.Error(), "reset") { // by who did not read all
		t.Errorf("%q: %v", pieces, err)
	}
	<-sent
	return dates.ReplaceAllString(string(answer), "Date: now")
}

var dates = regexp.MustCompile(`Date: [A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT`)

// Whatever is asked, the answer is the one of net/http, byte for byte.
func TestAnswersAreThoseOfNetHTTP(t *testing.T) {
	ours, theirs := both(t)
	for _, request := range append(requests, last...) {
		got, want := exchange(t, ours, request), exchange(t, theirs, request)
		if got != want {
			t.Errorf("%.200q is answered\n%.500q, want\n%.500q", request, got, want)
		}
		if strings.Contains(request, "GET /plain/ HTTP/1.1") && strings.Contains(got, "200 OK") && !strings.Contains(got, "127.0.0.1: GET") {
			t.Errorf("%.200q: the handler does not know who asks: %q", request, got)
		}
		if want == "" && request != "" && !strings.Contains(request, "panic") {
			t.Errorf("%.200q is not answered", request)
		}
	}
}

// Where net/http would send chunks there is a length, and the rest is the same.
func TestAnswersOfUnknownLength(t *testing.T) {
	ours, theirs := both(t)
	for _, pieces := range []int{1, 3} {
		request := fmt.Sprintf("GET /plain/?size=9000&pieces=%d HTTP/1.1\r\nHost: a\r\n\r\n", pieces)
		read := func(address string) (*http.Response, string) {
			r, err := http.ReadResponse(bufio.NewReader(strings.NewReader(exchange(t, address, request))), nil)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(r.Body)
			if err != nil {
				t.Fatal(err)
			}
			return r, string(body)
		}
		got, body := read(ours)
		if want, all := read(theirs); body != all || got.Header.Get("Content-Type") != want.Header.Get("Content-Type") || got.ContentLength != 9000 || want.ContentLength != -1 {
			t.Errorf("%v, %d bytes; want %v, %d bytes", got, len(body), want, len(all))
		}
	}
}

// So it is with many requests on one connection, however they come in pieces.
func TestSequences(t *testing.T) {
	ours, theirs := both(t)
	random := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		var all strings.Builder
		for range 1 + random.IntN(8) {
			few := requests[:21] // plain ones
			if random.IntN(4) == 0 {
				few = requests
			}
			all.WriteString(few[random.IntN(len(few))])
		}
		all.WriteString("GET /plain/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
		want := exchange(t, theirs, all.String())
		if got := exchange(t, ours, all.String()); got != want {
			t.Fatalf("%.3000q is answered\n%.3000q, want\n%.3000q", all.String(), got, want)
		}
		var pieces []string
		for rest := all.String(); rest != ""; {
			n := 1 + random.IntN(min(len(rest), 1+random.IntN(2000)))
			pieces, rest = append(pieces, rest[:n]), rest[n:]
		}
		if got := exchange(t, ours, pieces...); got != want {
			t.Fatalf("%.3000q in %d pieces is answered\n%.3000q, want\n%.3000q", all.String(), len(pieces), got, want)
		}
	}
}

// dial connects, for a test that sends by itself.
func dial(t *testing.T, address string) *net.TCPConn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return conn.(*net.TCPConn)
}

func send(t *testing.T, conn io.Writer, text string) {
	t.Helper()
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
}

// Shutdown lets a request end that is under way, closes whoever waits, and
// refuses what comes after.
func TestShutdown(t *testing.T) {
	began, goOn := make(chan bool), make(chan bool)
	s := wire.New(&http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/plain/slow" || r.URL.Path == "/other/slow" {
			began <- true
			<-goOn
		}
		_, _ = io.WriteString(w, "done")
	})}, plain, 0)
	address := listen(t, s.Serve, s.Close)

	fresh := dial(t, address)
	idle, slow, other := dial(t, address), dial(t, address), dial(t, address)
	send(t, idle, "GET /plain/ HTTP/1.1\r\nHost: a\r\n\r\n")
	if n, err := io.ReadAtLeast(idle, make([]byte, 1000), 10); n == 0 || err != nil {
		t.Fatal(n, err)
	}
	send(t, slow, "GET /plain/slow HTTP/1.1\r\nHost: a\r\n\r\n")
	<-began
	send(t, other, "GET /other/slow HTTP/1.1\r\nHost: a\r\n\r\n")
	<-began
	ended := make(chan error, 1)
	go func() { ended <- s.Shutdown(t.Context()) }()
	for _, conn := range []net.Conn{idle, fresh} {
		if rest, err := io.ReadAll(conn); len(rest) > 0 || err != nil {
			t.Errorf("who waits reads %q, %v", rest, err)
		}
	}
	select {
	case err := <-ended:
		t.Errorf("it ends before the requests, %v", err)
	default:
	}
	close(goOn)
	for _, conn := range []net.Conn{slow, other} {
		answer, err := io.ReadAll(conn)
		if err != nil || !strings.HasSuffix(string(answer), "\r\nConnection: close\r\n\r\ndone") && !strings.HasSuffix(string(answer), "\r\n\r\ndone") {
			t.Errorf("%q, %v", answer, err)
		}
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if conn, err := net.Dial("tcp", address); err == nil {
		_ = conn.Close()
		t.Error("it still accepts")
	}
}

// Shutdown begins for both kinds of connections at once: an idle one that HTTP
// has is not kept, and asked more of, until the last plain request is answered.
func TestShutdownTellsAllAtOnce(t *testing.T) {
	began, goOn := make(chan bool), make(chan bool)
	s := wire.New(&http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/plain/slow" {
			began <- true
			<-goOn
		}
		_, _ = io.WriteString(w, "done")
	})}, plain, 0)
	address := listen(t, s.Serve, s.Close)
	slow, other := dial(t, address), dial(t, address)
	send(t, other, "GET /other/ HTTP/1.1\r\nHost: a\r\n\r\n")
	if n, err := io.ReadAtLeast(other, make([]byte, 1000), 10); n == 0 || err != nil {
		t.Fatal(n, err)
	}
	send(t, slow, "GET /plain/slow HTTP/1.1\r\nHost: a\r\n\r\n")
	<-began
	ended := make(chan error, 1)
	go func() { ended <- s.Shutdown(t.Context()) }()
	if rest, err := io.ReadAll(other); len(rest) > 0 || err != nil {
		t.Errorf("who waits reads %q, %v", rest, err)
	}
	close(goOn)
	if answer, err := io.ReadAll(slow); err != nil || !strings.HasSuffix(string(answer), "done") {
		t.Errorf("%q, %v", answer, err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// A request that came before Shutdown is answered, also where the connection
// was waiting for it and had not seen it yet.
func TestShutdownAnswersWhatCame(t *testing.T) {
	s := wire.New(&http.Server{Handler: http.HandlerFunc(handler)}, plain, 0)
	address := listen(t, s.Serve, s.Close)
	const request = "GET /plain/?size=3 HTTP/1.1\r\nHost: a\r\n\r\n"
	conns := make([]*net.TCPConn, 300)
	for i := range conns {
		conns[i] = dial(t, address)
		send(t, conns[i], request)
	}
	for _, conn := range conns {
		if n, err := io.ReadAtLeast(conn, make([]byte, 1000), 10); n == 0 || err != nil {
			t.Fatal(n, err)
		}
	}
	for _, conn := range conns {
		send(t, conn, request)
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	lost := 0
	for _, conn := range conns {
		if answer, err := io.ReadAll(conn); err != nil || !strings.HasSuffix(string(answer), "<p>") {
			lost++
		}
	}
	if lost > 0 {
		t.Errorf("%d of %d requests are not answered", lost, len(conns))
	}
}

// A body that does not come in time is answered, as by net/http.
func TestBodyTooLate(t *testing.T) {
	of := func() *http.Server {
		return &http.Server{Handler: http.HandlerFunc(handler), ReadTimeout: 100 * time.Millisecond, IdleTimeout: time.Minute}
	}
	s, h := wire.New(of(), plain, 0), of()
	ours, theirs := listen(t, s.Serve, s.Close), listen(t, func(l *net.TCPListener) error { return h.Serve(l) }, h.Close)
	ask := func(address string) string {
		conn := dial(t, address)
		send(t, conn, "POST /plain/?size=3 HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello")
		answer, err := io.ReadAll(conn)
		if err != nil {
			t.Error(err)
		}
		return dates.ReplaceAllString(string(answer), "Date: now")
	}
	if got, want := ask(ours), ask(theirs); got != want || got == "" {
		t.Errorf("%q, want %q", got, want)
	}
}

// A connection holds little memory, whatever was sent on it, or is announced.
func TestMemoryOfConnections(t *testing.T) {
	var fields strings.Builder
	for i := range 600 {
		fmt.Fprintf(&fields, "%x:\r\n", i)
	}
	head := "POST /plain/?size=3 HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n"
	for name, request := range map[string]string{
		"many fields": "GET /plain/?size=3 HTTP/1.1\r\nHost: a\r\n" + fields.String() + "\r\n",
		"large body":  head + strings.Repeat("x", 60_000),
		"announced":   "GET /plain/?size=3 HTTP/1.1\r\nHost: a\r\n\r\n" + head,
	} {
		s := wire.New(&http.Server{Handler: http.HandlerFunc(handler)}, plain, 0)
		address := listen(t, s.Serve, s.Close)
		const conns, most = 200, 40 << 10
		before := heap()
		for range conns {
			conn := dial(t, address)
			send(t, conn, request)
			if n, err := io.ReadAtLeast(conn, make([]byte, 1000), 10); n == 0 || err != nil {
				t.Fatal(n, err)
			}
		}
		each := 0
		for end := time.Now().Add(patience); time.Now().Before(end); { // the last ones may still be at it
			if each = (heap() - before) / conns; each <= most {
				break
			}
		}
		if each > most {
			t.Errorf("%s: a connection holds %d bytes, at most %d are expected", name, each, most)
		}
	}
}

// heap is how many bytes are in use.
func heap() int {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// A shutdown that takes too long says so, and Close ends what there is.
func TestShutdownTakesTooLong(t *testing.T) {
	for _, path := range []string{"/plain/", "/other/"} {
		began, goOn := make(chan bool), make(chan bool)
		s := wire.New(&http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			began <- true
			<-goOn
		})}, plain, 0)
		conn := dial(t, listen(t, s.Serve, s.Close))
		send(t, conn, "GET "+path+" HTTP/1.1\r\nHost: a\r\n\r\n")
		<-began
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := s.Shutdown(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: shutdown ends with %v", path, err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if rest, err := io.ReadAll(conn); len(rest) > 0 || err != nil && !strings.Contains(err.Error(), "reset") {
			t.Errorf("%s: %q, %v", path, rest, err)
		}
		close(goOn)
	}
}

// A panic ends its connection, and is logged; others go on.
func TestPanic(t *testing.T) {
	var logged bytes.Buffer
	s := wire.New(&http.Server{ErrorLog: log.New(&logged, "", 0), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RawQuery != "" {
			panic("a mistake")
		}
		_, _ = io.WriteString(w, "fine")
	})}, plain, 1)
	address := listen(t, s.Serve, s.Close)
	if answer := exchange(t, address, "GET /plain/?a HTTP/1.1\r\nHost: a\r\n\r\n"); answer != "" {
		t.Errorf("it is answered %q", answer)
	}
	if answer := exchange(t, address, "GET /plain/ HTTP/1.1\r\nHost: a\r\n\r\n"); !strings.HasSuffix(answer, "fine") {
		t.Errorf("the next one is answered %q", answer)
	}
	if !strings.Contains(logged.String(), "a mistake") || !strings.Contains(logged.String(), "wire_test.go") {
		t.Errorf("logged: %s", &logged)
	}
}

// As many connections as may be open are served, in either way, and their places
// are given back.
func TestMostConnections(t *testing.T) {
	s := wire.New(&http.Server{Handler: http.HandlerFunc(handler)}, plain, 2)
	address := listen(t, s.Serve, s.Close)
	for range 5 {
		for _, request := range requests[:26] {
			if exchange(t, address, request) == "" {
				t.Fatalf("%.100q is not answered", request)
			}
		}
	}
}
