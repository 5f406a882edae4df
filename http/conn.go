package httpapi

import (
	"context"
	"net"
	"net/http"

	"golang.org/x/net/netutil"
)

// A large answer is two writes in net/http: its buffer, with the header and the
// beginning of the body, and the rest. Each is a way through the network, with a
// wake-up of whoever waits at its end, which costs more than copying the
// bytes does. So connections of Listener can hold back the first write until the
// second comes, where a handler knows that it will (whole).

// Listener makes the connections of l such that answers go out in one piece, at
// most so many at once (0: any number). The server's ConnContext has to be
// ConnContext. Accept is for one goroutine.
func Listener(l net.Listener, most int) net.Listener {
	inner := &lastAccepted{Listener: l}
	outer := net.Listener(inner)
	if most > 0 {
		outer = netutil.LimitListener(inner, most)
	}
	return wholeListener{outer, inner}
}

// lastAccepted remembers the connection that a listener around it wraps.
type lastAccepted struct {
	net.Listener
	conn net.Conn
}

func (l *lastAccepted) Accept() (c net.Conn, err error) {
	l.conn, err = l.Listener.Accept()
	return l.conn, err
}

type wholeListener struct {
	net.Listener
	inner *lastAccepted
}

func (l wholeListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if tcp, ok := l.inner.conn.(*net.TCPConn); ok && err == nil {
		return &conn{Conn: c, tcp: tcp}, nil
	}
	return c, err
}

// conn is a connection that can hold back what is written. It does so only
// while a handler runs that asked for it, in whose goroutine net/http writes.
type conn struct {
	net.Conn
	tcp   *net.TCPConn // the same, without what is around it
	holds bool
	held  []byte
	both  net.Buffers
}

// Write implements net.Conn.
func (c *conn) Write(b []byte) (int, error) {
	if !c.holds {
		return c.tcp.Write(b)
	}
	if len(c.held) == 0 {
		c.held = append(c.held, b...)
		return len(b), nil
	}
	c.holds = false
	first := len(c.held)
	c.both = append(c.both[:0], c.held, b)
	n, err := c.both.WriteTo(c.tcp)
	c.held = c.held[:0]
	return max(0, int(n)-first), err
}

// CloseWrite lets net/http tell the client that nothing more comes.
func (c *conn) CloseWrite() error { return c.tcp.CloseWrite() }

// release sends what is still held back.
func (c *conn) release() {
	c.holds = false
	if len(c.held) > 0 {
		_, _ = c.tcp.Write(c.held) // the client may be gone
		c.held = c.held[:0]
	}
}

type connKey struct{}

// ConnContext is for http.Server.ConnContext. It makes a connection of Listener
// known to handlers.
func ConnContext(ctx context.Context, c net.Conn) context.Context {
	if c, ok := c.(*conn); ok {
		return context.WithValue(ctx, connKey{}, c)
	}
	return ctx
}

// writeWhole writes a body of which the header tells the length, together with
// the header where that is possible.
func writeWhole(w http.ResponseWriter, r *http.Request, body []byte) {
	if c, ok := r.Context().Value(connKey{}).(*conn); ok && len(body) > lengthKnown {
		c.holds = true
		defer c.release()
	}
	_, _ = w.Write(body) // the client may be gone
}
