// Package wire answers plain HTTP/1.1 requests with less work around the
// handler than net/http does, and leaves all others to net/http.
//
// What most apps send is short and looks the same each time: a known path, a few
// headers, a small body of known length; and it is answered from memory in some
// microseconds. For such a request net/http starts a goroutine that watches for
// the client going away, changes six time limits, and copies and sorts the
// headers of the answer, which together cost more than the answer does. A
// connection of Server begins without that: it reads a request, runs the same
// handler, and writes the answer in one piece.
//
// The first request that is not plain ends this. Its connection, with the bytes
// that were read of it, goes to net/http and stays there, as if nothing had been
// before. So only what every reader takes in the same way is read here
// (request.go), and what is unusual, such as chunks, upgrades, HTTP/1.0 or a
// client that closes, has one implementation, which is not ours.
package wire

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/net/netutil"
)

// Server serves connections, the plain requests on them itself. HTTP does the
// rest; its handler and its time limits hold for both.
//
// The handler of a plain request has an http.ResponseWriter that can neither
// flush nor be hijacked, and a context that does not end when the client goes
// away. It must not keep the request, or the header of its answer, once it has
// returned.
type Server struct {
	HTTP  *http.Server
	plain func(path string) bool
	slots chan struct{} // one is taken for each connection; nil: any number

	mu       sync.Mutex
	conns    map[*conn]struct{} // those that are not HTTP's
	serving  sync.WaitGroup     // of conns
	listener net.Listener
	closing  chan struct{} // closed when no more requests are to be answered
	others   chan net.Conn // on their way to HTTP
}

// New makes a server on top of another. plain tells for which paths a request
// can be a plain one: those whose handlers are quick, and stream nothing. most
// is how many connections may be open at a time, further ones wait; 0: any number.
func New(h *http.Server, plain func(path string) bool, most int) *Server {
	s := &Server{HTTP: h, plain: plain, conns: map[*conn]struct{}{}, closing: make(chan struct{}), others: make(chan net.Conn)}
	if most > 0 {
		s.slots = make(chan struct{}, most)
	}
	return s
}

// Serve answers requests on the connections of l, which it closes, until
// Shutdown or Close. It is called once, and never returns nil.
func (s *Server) Serve(l *net.TCPListener) error {
	s.mu.Lock()
	s.listener = l
	s.mu.Unlock()
	defer func() { _ = l.Close() }()
	go func() { _ = s.HTTP.Serve(handedOver{s, l.Addr()}) }() // until Shutdown or Close
	return s.accept(l)
}

// ServeTLS leaves everything to HTTP, except that it holds to the number of connections.
func (s *Server) ServeTLS(l net.Listener, certFile, keyFile string) error {
	if s.slots != nil {
		l = netutil.LimitListener(l, cap(s.slots))
	}
	return s.HTTP.ServeTLS(l, certFile, keyFile)
}

// accept begins to serve connections. What fails, for want of files for
// instance, is tried again.
func (s *Server) accept(l *net.TCPListener) error {
	const longest = time.Second
	for delay := time.Duration(0); ; {
		if s.slots != nil {
			select {
			case s.slots <- struct{}{}:
			case <-s.closing:
				return http.ErrServerClosed
			}
		}
		tcp, err := l.AcceptTCP()
		if err == nil {
			delay = 0
			s.begin(&conn{tcpConn: &tcpConn{TCPConn: tcp, server: s}})
			continue
		}
		s.release()
		if s.isClosing() {
			return http.ErrServerClosed
		}
		if errors.Is(err, net.ErrClosed) {
			return err
		}
		delay = min(max(2*delay, 5*time.Millisecond), longest)
		s.logf("http: accept error: %v; retrying in %v", err, delay)
		select {
		case <-time.After(delay):
		case <-s.closing:
			return http.ErrServerClosed
		}
	}
}

// release gives the slot of a connection back.
func (s *Server) release() {
	if s.slots != nil {
		<-s.slots
	}
}

func (s *Server) begin(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.isClosing() {
		_ = c.Close()
		return
	}
	s.conns[c] = struct{}{}
	s.serving.Add(1)
	go c.serve()
}

func (s *Server) end(c *conn) {
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
	s.serving.Done()
}

func (s *Server) isClosing() bool {
	select {
	case <-s.closing:
		return true
	default:
		return false
	}
}

// Shutdown accepts nothing more, lets requests end that are under way, and
// closes all connections, as http.Server's does.
func (s *Server) Shutdown(ctx context.Context) error {
	s.stop(func(c *conn) {
		if c.waits.Load() {
			_ = c.SetReadDeadline(time.Unix(1, 0))
		}
	})
	ended, others := make(chan struct{}), make(chan error, 1)
	go func() {
		s.serving.Wait()
		close(ended)
	}()
	go func() { others <- s.HTTP.Shutdown(ctx) }() // at once: it tells its clients
	var late error
	select {
	case <-ended:
	case <-ctx.Done():
		late = ctx.Err()
	}
	return errors.Join(late, <-others)
}

// Close closes all connections at once.
func (s *Server) Close() error {
	s.stop(func(c *conn) { _ = c.Close() })
	return s.HTTP.Close()
}

// stop ends accepting, and does something to the connections that are not HTTP's.
func (s *Server) stop(each func(*conn)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.isClosing() {
		close(s.closing)
	}
	if s.listener != nil {
		_ = s.listener.Close()
	}
	for c := range s.conns {
		each(c)
	}
}

func (s *Server) logf(format string, args ...any) {
	if s.HTTP.ErrorLog != nil {
		s.HTTP.ErrorLog.Printf(format, args...)
	}
}

// handedOver is the listener that HTTP gets its connections from.
type handedOver struct {
	server *Server
	addr   net.Addr
}

// Accept implements net.Listener.
func (l handedOver) Accept() (net.Conn, error) {
	select {
	case c := <-l.server.others:
		return c, nil
	case <-l.server.closing:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener. The listener that there is belongs to Serve.
func (handedOver) Close() error { return nil }

// Addr implements net.Listener.
func (l handedOver) Addr() net.Addr { return l.addr }

// tcpConn is a connection that has a slot.
type tcpConn struct {
	*net.TCPConn
	server *Server
	closed sync.Once
}

// Close implements net.Conn.
func (c *tcpConn) Close() error {
	c.closed.Do(c.server.release)
	return c.TCPConn.Close()
}

// otherConn is a connection that HTTP has. What was read of it comes first.
type otherConn struct {
	*tcpConn
	read []byte
}

// Read implements net.Conn.
func (c *otherConn) Read(b []byte) (int, error) {
	if len(c.read) == 0 {
		return c.tcpConn.Read(b)
	}
	n := copy(b, c.read)
	if c.read = c.read[n:]; len(c.read) == 0 {
		c.read = nil // and its memory with it
	}
	return n, nil
}
