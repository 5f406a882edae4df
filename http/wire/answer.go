package wire

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// answer is the http.ResponseWriter of plain requests, one after the other. It
// writes what net/http would, byte for byte, and all of it at once: with the
// call that brings the whole body, where the header tells its length, otherwise
// when the handler is done.
type answer struct {
	conn    *conn
	header  http.Header
	status  int    // 0: none yet
	head    []byte // as far as it was written
	length  int    // of the body as the header tells it, -1 where it does not
	body    []byte // what was collected of it
	written int    // by the handler
	sent    bool
	closes  bool // the connection is to end with this answer
	sniffs  bool // the header does not tell what the body is
	pieces  net.Buffers
	two     [2][]byte // what pieces is made of
}

// Header implements http.ResponseWriter.
func (a *answer) Header() http.Header { return a.header }

// WriteHeader implements http.ResponseWriter. What is said after the first time
// counts for nothing, nor does what is said in advance (1xx).
func (a *answer) WriteHeader(status int) {
	if a.status != 0 || status < 200 {
		return
	}
	a.status, a.length = status, -1
	text := http.StatusText(status)
	if text == "" {
		text = "status code " + strconv.Itoa(status)
	}
	a.head = strconv.AppendInt(append(a.head[:0], "HTTP/1.1 "...), int64(status), 10)
	a.head = append(append(append(a.head, ' '), text...), "\r\n"...)

	a.closes = a.conn.server.isClosing() || !errors.Is(a.conn.request.body.err, io.EOF)
	a.sniffs = a.header["Content-Type"] == nil && a.header["Content-Encoding"] == nil
	var few [12]string
	names := few[:0]
	for name := range a.header {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		values := a.header[name]
		switch name {
		case "Connection":
			a.closes = a.closes || strings.EqualFold(a.header.Get(name), "close")
		case "Content-Length":
			if length, err := strconv.Atoi(a.header.Get(name)); !a.hasBody() || err != nil || length < 0 {
				continue
			} else {
				a.length = length
			}
		case "Content-Type":
			if status == http.StatusNotModified {
				continue
			}
		case "Transfer-Encoding":
			continue
		}
		for _, value := range values {
			a.add(name, value)
		}
	}
}

// add writes a header. A value cannot become a second line.
func (a *answer) add(name, value string) {
	if strings.IndexByte(value, '\n') >= 0 || strings.IndexByte(value, '\r') >= 0 {
		value = oneLine.Replace(value)
	}
	a.head = append(append(a.head, name...), ": "...)
	a.head = append(append(a.head, textproto.TrimString(value)...), "\r\n"...)
}

var oneLine = strings.NewReplacer("\n", " ", "\r", " ")

func (a *answer) hasBody() bool {
	return a.status != http.StatusNoContent && a.status != http.StatusNotModified
}

// Write implements http.ResponseWriter.
func (a *answer) Write(b []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	switch {
	case !a.hasBody():
		return 0, http.ErrBodyNotAllowed
	case a.length >= 0 && a.written+len(b) > a.length:
		return 0, http.ErrContentLength
	}
	a.written += len(b)
	if len(b) == a.length {
		return len(b), a.send(b)
	}
	a.body = append(a.body, b...)
	return len(b), nil
}

// send writes the answer.
func (a *answer) send(body []byte) error {
	a.sent = true
	if a.header["Date"] == nil {
		a.head = append(append(append(a.head, "Date: "...), date(a.conn.now)...), "\r\n"...)
	}
	if a.hasBody() && a.length < 0 {
		a.head = strconv.AppendInt(append(a.head, "Content-Length: "...), int64(len(body)), 10)
		a.head = append(a.head, "\r\n"...)
	}
	if a.sniffs && len(body) > 0 {
		a.add("Content-Type", http.DetectContentType(body))
	}
	if a.closes && a.header["Connection"] == nil {
		a.add("Connection", "close")
	}
	a.head = append(a.head, "\r\n"...)

	c := a.conn
	if c.writes.moves(c.now, c.server.HTTP.WriteTimeout) {
		_ = c.SetWriteDeadline(c.writes.until)
	}
	var err error
	if len(body) <= usualSize {
		a.head = append(a.head, body...)
		_, err = c.Write(a.head)
	} else {
		a.two = [2][]byte{a.head, body}
		a.pieces = a.two[:]
		_, err = a.pieces.WriteTo(c.TCPConn)
	}
	a.closes = a.closes || err != nil
	return err
}

// finish sends what is not sent yet, and tells whether another request may come.
func (a *answer) finish() (open bool) {
	a.WriteHeader(http.StatusOK)
	if !a.sent {
		_ = a.send(a.body) // the client may be gone
	}
	open = !a.closes && (a.length < 0 || a.length == a.written)
	clear(a.header)
	body := a.body[:0]
	if cap(body) > maxSize {
		body = nil
	}
	*a = answer{conn: a.conn, header: a.header, head: a.head[:0], body: body}
	return open
}

// dateOf is a second, and how it is written.
type dateOf struct {
	second int64
	text   string
}

var lastDate atomic.Pointer[dateOf]

// date is a time as headers have it.
func date(now time.Time) string {
	second := now.Unix()
	last := lastDate.Load()
	if last == nil || last.second != second {
		last = &dateOf{second, now.UTC().Format(http.TimeFormat)}
		lastDate.Store(last)
	}
	return last.text
}
