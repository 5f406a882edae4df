package wire

import (
	"bufio"
	"maps"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"
)

// FuzzParse: what is taken as plain is what net/http reads, neither less nor more.
func FuzzParse(f *testing.F) {
	for _, head := range []string{
		"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"POST /api/v1/identities/?a=b&c HTTP/1.1\r\nHost: a:80\r\nContent-Length: 12\r\nX-Environment-Key: \t k \r\nx-a:\r\nX-A: c\r\n\r\n",
		"PUT /a HTTP/1.1\r\nHost: [::1]:80\r\nConnection: keep-alive\r\nCookie: a=b\r\ncookie: c=d\r\nContent-Length: 0\r\n\r\n",
		"OPTIONS /a/../b HTTP/1.1\r\nhost: a\r\nOrigin: \xff\r\n\r\n",
		"GET /?%zz;# HTTP/1.1\r\nHost: a\r\nA: b\n\r\n\r\n",
		"GET // HTTP/1.1\r\nHost: a\r\n b\r\n\r\n",
	} {
		f.Add(head)
	}
	var r request // as on a connection, one after the other
	f.Fuzz(func(t *testing.T, head string) {
		if strings.Index(head, "\r\n\r\n") != len(head)-4 || len(head) > maxSize {
			return
		}
		length, plain := r.parse(head)
		if !plain {
			return
		}
		reader := bufio.NewReaderSize(strings.NewReader(head+"more"), 2*maxSize)
		want, err := http.ReadRequest(reader)
		if err != nil {
			t.Fatalf("%q: net/http says %v", head, err)
		}
		if reader.Buffered() != len("more") {
			t.Errorf("%q: net/http leaves %d bytes", head, reader.Buffered())
		}
		if int64(length) != want.ContentLength || (length == 0) != (r.Body == http.NoBody) || (length == 0) != (want.Body == http.NoBody) {
			t.Errorf("%q: a body of %d, want %d", head, length, want.ContentLength)
		}
		if !maps.EqualFunc(r.Header, want.Header, func(a, b []string) bool { return reflect.DeepEqual(a, b) }) {
			t.Errorf("%q: %v, want %v", head, r.Header, want.Header)
		}
		got := r.Request
		got.Header, got.Body, want.Header, want.Body = nil, nil, nil, nil
		if !reflect.DeepEqual(&got, want) {
			t.Errorf("%q: %+v, want %+v", head, &got, want)
		}
	})
}

func TestTimeLimitMoves(t *testing.T) {
	begin := time.Unix(1000, 0)
	var l timeLimit
	for i, step := range []struct {
		at, d time.Duration
		moves bool
	}{
		{0, 0, false}, {0, time.Minute, true}, {time.Second, time.Minute, false}, {4 * time.Second, time.Minute, true},
		{5 * time.Second, 10 * time.Second, true}, {5 * time.Second, time.Minute, true}, {6 * time.Second, 0, true}, {7 * time.Second, 0, false},
	} {
		if got := l.moves(begin.Add(step.at), step.d); got != step.moves {
			t.Errorf("step %d: %v", i, got)
		}
	}
}
