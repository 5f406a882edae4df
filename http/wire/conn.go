package wire

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"time"
)

// conn is a connection, as long as all requests on it are plain.
type conn struct {
	*tcpConn
	in      []byte      // what was read, and is of no request that is answered
	waits   atomic.Bool // for the first byte of a request
	remote  string      // the client's address
	request request
	answer  answer

	now           time.Time // when something was read last
	reads, writes timeLimit
}

const (
	usualSize = 4 << 10  // in bytes, of a buffer that is kept
	maxSize   = 64 << 10 // in bytes, of a plain request
	maxFields = 64       // lines in the header of a plain request: an idle connection keeps their memory
)

// lastMoment is how long a connection that waits is read from when the server
// ends: a request that was sent before is answered.
const lastMoment = 100 * time.Millisecond

// errOther is the end of plain requests.
var errOther = errors.New("not a plain request")

// serve answers plain requests, until there is another one, or the end.
func (c *conn) serve() {
	defer c.server.end(c)
	c.now = time.Now()
	c.remote = c.RemoteAddr().String()
	c.answer.conn, c.answer.header = c, http.Header{}
	for patience := c.server.HTTP.ReadHeaderTimeout; ; patience = c.server.HTTP.IdleTimeout {
		size, err := c.next(patience)
		switch {
		case errors.Is(err, errOther):
			c.handOver()
			return
		case err != nil || !c.handle():
			_ = c.Close()
			return
		}
		c.in = c.in[:copy(c.in, c.in[size:])]
		if len(c.in) == 0 && cap(c.in) > usualSize {
			c.in, c.request.body.rest = nil, nil
		}
	}
}

// next waits for a plain request, and is its size. Its first byte has to come
// within the given time, and its body within the one that net/http gives.
func (c *conn) next(patience time.Duration) (size int, err error) {
	if err := c.begin(patience); err != nil {
		return 0, err
	}
	head := bytes.Index(c.in, emptyLine) + len(emptyLine)
	if head < len(emptyLine) {
		return 0, errOther // as is one that comes in pieces
	}
	length, plain := c.request.parse(string(c.in[:head]))
	if size = head + length; !plain || size > maxSize || !c.server.plain(c.request.url.Path) {
		return 0, errOther
	}
	c.request.body.err = io.EOF
	for begin := c.now; len(c.in) < size; {
		if c.reads.moves(begin, c.server.HTTP.ReadTimeout) {
			_ = c.SetReadDeadline(c.reads.until)
		}
		// Memory comes with what is sent: announcing it costs a client nothing.
		if err := c.read(min(size-len(c.in), usualSize)); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			c.request.body.err, size = err, len(c.in) // the handler answers as it sees fit
		}
	}
	c.request.body.rest = c.in[head:size]
	return size, nil
}

var emptyLine = []byte("\r\n\r\n")

// begin waits for a request that begins. Empty lines behind a POST, which old
// clients send, belong to none; as many are left out as net/http does.
func (c *conn) begin(patience time.Duration) error {
	surplus := 0
	if c.request.Method == http.MethodPost { // the last one
		surplus = len("\r\n\r\n")
	}
	for {
		if len(c.in) > 0 {
			c.now = time.Now() // the answer before this one may have taken long
		} else if err := c.await(patience); err != nil {
			return err
		}
		for ; surplus > 0 && len(c.in) > 0 && (c.in[0] == '\r' || c.in[0] == '\n'); surplus-- {
			c.in = c.in[:copy(c.in, c.in[1:])]
		}
		if len(c.in) > 0 {
			return nil
		}
	}
}

// await waits for the first bytes of a request.
func (c *conn) await(patience time.Duration) error {
	if c.reads.moves(c.now, patience) {
		_ = c.SetReadDeadline(c.reads.until)
	}
	c.waits.Store(true)
	defer c.waits.Store(false)
	if !c.server.isClosing() { // Shutdown wakes only whom it sees waiting
		if err := c.read(usualSize); err == nil || !c.server.isClosing() {
			return err
		}
	}
	c.server.mu.Lock() // so that Shutdown has woken all
	_ = c.SetReadDeadline(time.Now().Add(lastMoment))
	c.server.mu.Unlock()
	return c.read(usualSize)
}

// read reads what there is, with room for so many bytes at least.
func (c *conn) read(room int) error {
	c.in = slices.Grow(c.in, room)
	n, err := c.Read(c.in[len(c.in):cap(c.in)])
	c.in, c.now = c.in[:len(c.in)+n], time.Now()
	if n > 0 {
		return nil
	}
	return err
}

// handle answers the request, and tells whether another one may come.
func (c *conn) handle() (open bool) {
	defer func() {
		switch v := recover(); v {
		case nil, http.ErrAbortHandler:
		default:
			c.server.logf("http: panic serving %v: %v\n%s", c.RemoteAddr(), v, debug.Stack())
		}
	}()
	c.request.RemoteAddr = c.remote
	c.server.HTTP.Handler.ServeHTTP(&c.answer, &c.request.Request)
	return c.answer.finish()
}

// handOver leaves the connection to net/http, with what was read.
func (c *conn) handOver() {
	_ = c.SetDeadline(time.Time{})
	select {
	case c.server.others <- &otherConn{c.tcpConn, c.in}:
	case <-c.server.closing:
		_ = c.Close()
	}
}

// timeLimit is a deadline that is set.
type timeLimit struct{ until time.Time }

// moves tells whether a deadline has to be set for something that may take d, 0
// for any time, from now on. One that comes up to a sixteenth earlier is as
// good: setting one costs as much as a handler that has its answer prepared.
func (l *timeLimit) moves(now time.Time, d time.Duration) bool {
	if d <= 0 {
		was := l.until
		l.until = time.Time{}
		return !was.IsZero()
	}
	until := now.Add(d)
	if missing := until.Sub(l.until); missing >= 0 && missing <= d/16 {
		return false
	}
	l.until = until
	return true
}
