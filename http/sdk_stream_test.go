package httpapi

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"flagledger/domain"
	"flagledger/domain/evaluation"
)

// listener reads an event stream line by line.
type listener struct {
	*bufio.Scanner
	t    *testing.T
	stop context.CancelFunc
}

func (f *sdkFixture) listen(t *testing.T, url string) *listener {
	t.Helper()
	return f.listenWith(t, url, clientKey)
}

func (f *sdkFixture) listenWith(t *testing.T, url, key string) *listener {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/sse/environments/"+key+"/stream", nil)
	if err != nil {
		t.Fatal(err)
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
	return &listener{bufio.NewScanner(resp.Body), t, stop}
}

// event reads up to the next empty line; "" at the end of the stream.
func (l *listener) event() string {
	l.t.Helper()
	var lines []string
	for l.Scan() {
		if l.Text() == "" {
			return strings.Join(lines, "|")
		}
		lines = append(lines, l.Text())
	}
	if err := l.Err(); err != nil {
		l.t.Errorf("the stream ended with %v", err)
	}
	return ""
}

func (l *listener) expect(want string) {
	l.t.Helper()
	if got := l.event(); got != want {
		l.t.Errorf("event %q, want %q", got, want)
	}
}

func TestSDKStream(t *testing.T) {
	f := newSDKFixture(t, sdkShop()...)
	f.streams.life, f.streams.again = time.Hour, 0
	url := serveOn(t, httptest.NewUnstartedServer(f.handler))
	l := f.listen(t, url)
	l.expect(`event: environment_updated|data: {"updated_at": 1772359200.25}`)
	state := domain.FeatureStateSet{Environment: "production", Feature: "checkout", Value: evaluation.String("new")}
	f.commit(t, 1500*time.Millisecond, state)
	l.expect(`event: environment_updated|data: {"updated_at": 1772359201.75}`)
	w := f.serve(t, sdkCase{path: "/api/v1/flags/"})
	if got := w.Header().Get("X-Flagsmith-Document-Updated-At"); got != "1772359201.75" {
		t.Errorf("the flags are of %s", got)
	}
	f.listen(t, url).expect(`event: environment_updated|data: {"updated_at": 1772359201.75}`)

	f.commit(t, time.Second, domain.EnvironmentDeleted{Environment: "production"})
	l.expect("")
}

// Who was told by one replica, and answered by another that was behind, has the old flags and the newer event; he is told once more. Of two changes that is
// the newer one, and then there is silence.
func TestSDKStreamTellsAgain(t *testing.T) {
	f := newSDKFixture(t, sdkShop()...)
	f.streams.life, f.streams.again, f.streams.heartbeat = time.Hour, 200*time.Millisecond, 300*time.Millisecond
	l := f.listen(t, serveOn(t, httptest.NewUnstartedServer(f.handler)))
	l.expect(`event: environment_updated|data: {"updated_at": 1772359200.25}`)
	told := map[string]int{}
	await := func(event string, times int) {
		t.Helper()
		for told[event] < times {
			told[l.event()]++
		}
	}
	f.commit(t, time.Second, domain.FeatureStateSet{Environment: "production", Feature: "checkout", Value: evaluation.String("new")})
	f.commit(t, time.Second, domain.FeatureStateSet{Environment: "production", Feature: "checkout", Value: evaluation.String("newer")})
	const last = `event: environment_updated|data: {"updated_at": 1772359202.25}`
	await(last, 2)
	await(": still here", told[": still here"]+3) // longer than it would take to be told a third time
	if told[last] != 2 || len(told) > 3 {
		t.Errorf("told %v", told)
	}
}

func TestSDKStreamEnds(t *testing.T) {
	const first = `event: environment_updated|data: {"updated_at": 1772359200.25}`
	t.Run("after its life, with heartbeats before", func(t *testing.T) {
		f := newSDKFixture(t)
		f.streams.heartbeat, f.streams.life = 10*time.Millisecond, 100*time.Millisecond
		l := f.listen(t, serveOn(t, httptest.NewUnstartedServer(f.handler)))
		l.expect(first)
		l.expect(": still here")
		for l.event() != "" {
		}
	})
	t.Run("when its key does", func(t *testing.T) {
		f := newSDKFixture(t, domain.SDKKeyCreated{Environment: "production", ID: "k2", Kind: domain.ClientKey, Name: "web", Key: "web-key"})
		f.streams.heartbeat, f.streams.life = 10*time.Millisecond, time.Hour
		l := f.listenWith(t, serveOn(t, httptest.NewUnstartedServer(f.handler)), "web-key")
		l.expect(first)
		f.commit(t, time.Second, domain.SDKKeyUpdated{Environment: "production", ID: "k2", Name: "web", Active: false})
		for l.event() != "" {
		}
	})
	t.Run("when the server closes", func(t *testing.T) {
		f := newSDKFixture(t)
		closing := make(chan struct{})
		f.closing = closing
		l := f.listen(t, serveOn(t, httptest.NewUnstartedServer(f.handler)))
		l.expect(first)
		close(closing)
		l.expect("")
	})
	t.Run("when the client goes", func(t *testing.T) {
		f := newSDKFixture(t)
		gone := make(chan struct{})
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			f.handler.ServeHTTP(w, r)
			close(gone)
		}))
		l := f.listen(t, serveOn(t, server))
		l.expect(first)
		l.stop()
		<-gone
	})
	t.Run("not with the time limits of other requests", func(t *testing.T) {
		f := newSDKFixture(t)
		f.streams.heartbeat = 20 * time.Millisecond
		server := httptest.NewUnstartedServer(f.handler)
		const timeout = time.Second // in which any machine reads a request
		server.Config.ReadTimeout, server.Config.WriteTimeout = timeout, timeout
		l := f.listen(t, serveOn(t, server))
		l.expect(first)
		for end := time.Now().Add(timeout + timeout/4); time.Now().Before(end); {
			l.expect(": still here")
		}
	})
	t.Run("when the client does not read", func(t *testing.T) {
		f := newSDKFixture(t)
		f.streams.write, f.streams.life = 20*time.Millisecond, time.Hour
		gone := make(chan struct{})
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			f.handler.ServeHTTP(w, r)
			close(gone)
		}))
		client, conn := net.Pipe() // holds nothing: what is not read is not written
		defer func() { _ = client.Close() }()
		server.Listener = newOneConn(conn)
		serveOn(t, server)
		if _, err := io.WriteString(client, "GET /sse/environments/"+clientKey+"/stream HTTP/1.1\r\nHost: test\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		<-gone
	})
}

// serveOn starts a server, which is closed after its listeners have gone.
func serveOn(t *testing.T, server *httptest.Server) (url string) {
	t.Helper()
	server.Start()
	t.Cleanup(server.Close)
	return server.URL
}

// oneConn is a net.Listener that accepts one connection.
type oneConn struct {
	conns  chan net.Conn
	closed context.Context
	close  context.CancelFunc
}

func newOneConn(conn net.Conn) *oneConn {
	l := &oneConn{conns: make(chan net.Conn, 1)}
	l.closed, l.close = context.WithCancel(context.Background())
	l.conns <- conn
	return l
}

func (l *oneConn) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed.Done():
		return nil, net.ErrClosed
	}
}

func (l *oneConn) Close() error {
	l.close()
	return nil
}

func (l *oneConn) Addr() net.Addr { return &net.TCPAddr{} }

// There are no more streams than there may be; where one ends, there is room for another.
func TestMaxStreams(t *testing.T) {
	f := newSDKFixture(t, sdkShop()...)
	f.MaxStreams, f.streams.life = 2, time.Hour
	url := serveOn(t, httptest.NewUnstartedServer(f.handler))
	first := f.listen(t, url)
	f.listen(t, url)
	another := func() (status int, retry string) {
		t.Helper()
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/sse/environments/"+clientKey+"/stream", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if err := resp.Body.Close(); err != nil {
			t.Error(err)
		}
		return resp.StatusCode, resp.Header.Get("Retry-After")
	}
	if status, retry := another(); status != http.StatusServiceUnavailable || retry != "5" {
		t.Errorf("a third stream is answered %d, Retry-After %q", status, retry)
	}
	first.stop()
	for deadline := time.Now().Add(time.Minute); ; {
		status, _ := another()
		if status == http.StatusOK {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("after the end of one, another is answered %d", status)
		}
	}
}
