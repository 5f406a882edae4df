package httpapi

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
)

// Answers of all sizes around those of net/http's buffers come whole, one after
// the other on the same connection, with and without a length in the header.
func TestWriteWhole(t *testing.T) {
	body := bytes.Repeat([]byte("0123456789abcdef"), 20_000)
	connections := map[string]bool{}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		connections[r.RemoteAddr] = true
		if _, ok := r.Context().Value(connKey{}).(*conn); !ok {
			t.Error("the handler does not know its connection")
		}
		size, err := strconv.Atoi(r.URL.Query().Get("size"))
		if err != nil {
			t.Error(err)
		}
		if r.URL.Query().Get("length") != "" {
			w.Header().Set("Content-Length", strconv.Itoa(size))
		}
		if writeWhole(w, r, body[:size]); r.URL.Query().Get("more") != "" {
			_, _ = w.Write(body[:10])
		}
	}))
	server.Listener, server.Config.ConnContext = Listener(server.Listener, 3), ConnContext
	server.Start()
	defer server.Close()
	sizes := []int{0, 1, 2000, 2001, 2048, 2049, 100_000, len(body)}
	for size := 3800; size <= 4200; size += 3 { // with the header around 4096
		sizes = append(sizes, size)
	}
	for _, size := range sizes {
		for _, query := range []string{"&length=1", "", "&more=1"} {
			for _, method := range []string{http.MethodGet, http.MethodHead} {
				request, err := http.NewRequestWithContext(t.Context(), method, server.URL+"/?size="+strconv.Itoa(size)+query, nil)
				if err != nil {
					t.Fatal(err)
				}
				response, err := http.DefaultClient.Do(request)
				if err != nil {
					t.Fatalf("%s %s: %v", method, request.URL, err)
				}
				got, err := io.ReadAll(response.Body)
				_ = response.Body.Close()
				want := body[:size]
				if query == "&more=1" {
					want = append(bytes.Clone(want), body[:10]...)
				}
				if method == http.MethodHead {
					want = nil
				}
				if err != nil || !bytes.Equal(got, want) {
					t.Fatalf("%s %s: %d bytes, want %d, error %v", method, request.URL, len(got), len(want), err)
				}
			}
		}
	}
	if len(connections) != 1 {
		t.Errorf("%d connections, want one for all", len(connections))
	}
}

// What is held back goes out with what comes next, or when the handler is done.
func TestConnHolds(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	accepted, err := Listener(l, 0).Accept()
	if err != nil {
		t.Fatal(err)
	}
	c := accepted.(*conn)
	write := func(text string) {
		t.Helper()
		if n, err := c.Write([]byte(text)); n != len(text) || err != nil {
			t.Fatalf("write %q: %d, %v", text, n, err)
		}
	}
	for range 3 {
		c.holds = true
		write("one")
		if string(c.held) != "one" {
			t.Fatalf("held back %q", c.held)
		}
		write("two")
		write("three") // as always
		c.release()
		c.holds = true
		write("four")
		c.release()
		write("five")
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	c.holds = true
	write("held")
	if n, err := c.Write([]byte("lost")); n != 0 || err == nil {
		t.Errorf("write on a closed connection: %d, %v", n, err)
	}
	got, err := io.ReadAll(client)
	if want := "onetwothreefourfive"; string(got) != want+want+want || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}
