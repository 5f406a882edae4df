package wire

import (
	"errors"
	"io"
	"net/http"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// request is the memory of a plain request, which the next one uses again.
type request struct {
	http.Request
	url    url.URL
	header http.Header
	values []string // those of the header, one for each
	body   body
}

// parse reads the head of a request, with its empty line, and is how long the
// body behind it is. Not plain is what it does not know, and all that
// http.ReadRequest would refuse or read in a way of its own.
func (r *request) parse(head string) (length int, plain bool) {
	line, lines, _ := strings.Cut(head, "\r\n")
	method, line, _ := strings.Cut(line, " ")
	target, protocol, _ := strings.Cut(line, " ")
	switch method {
	case http.MethodGet, http.MethodPost, http.MethodPut, http.MethodOptions:
	default:
		return 0, false
	}
	path, query, hasQuery := strings.Cut(target, "?")
	if protocol != "HTTP/1.1" || !all(path, isPlainPath) || !strings.HasPrefix(path, "/") || hasQuery && query == "" || !all(query, isPlainQuery) {
		return 0, false
	}
	host, length := "", -1
	if r.header == nil {
		r.header = http.Header{}
	}
	clear(r.header)
	r.values = r.values[:0]
	for {
		line, lines, _ = strings.Cut(lines, "\r\n")
		if line == "" {
			break
		}
		name, value, found := strings.Cut(line, ":")
		value = strings.Trim(value, " \t")
		if !found || len(r.values) == maxFields || !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value) {
			return 0, false
		}
		switch name = textproto.CanonicalMIMEHeaderKey(name); name {
		case "Host":
			if host != "" || value == "" || !httpguts.ValidHostHeader(value) {
				return 0, false
			}
			host = value
			continue
		case "Content-Length":
			n, err := strconv.ParseUint(value, 10, 31)
			if length >= 0 || err != nil {
				return 0, false
			}
			length = int(n)
		case "Connection":
			if !strings.EqualFold(value, "keep-alive") {
				return 0, false
			}
		case "Expect", "Pragma", "Trailer", "Transfer-Encoding", "Upgrade":
			return 0, false
		}
		r.values = append(r.values, value)
		if former := r.header[name]; former != nil {
			r.header[name] = append(former, value)
		} else {
			last := len(r.values)
			r.header[name] = r.values[last-1 : last : last]
		}
	}
	if host == "" {
		return 0, false
	}
	length = max(length, 0)
	r.url = url.URL{Path: path, RawQuery: query}
	r.Request = http.Request{
		Method: method, URL: &r.url, Proto: protocol, ProtoMajor: 1, ProtoMinor: 1, Header: r.header,
		Body: http.NoBody, ContentLength: int64(length), Host: host, RequestURI: target,
	}
	if length > 0 {
		r.Body = &r.body
	}
	return length, true
}

// all tells whether a text has only such bytes.
func all(text string, are func(byte) bool) bool {
	for i := range len(text) {
		if !are(text[i]) {
			return false
		}
	}
	return true
}

// isPlainPath: there is nothing to decode.
func isPlainPath(b byte) bool {
	return 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || '0' <= b && b <= '9' || b == '/' || b == '-' || b == '_' || b == '.'
}

func isPlainQuery(b byte) bool { return ' ' < b && b < 0x7f }

// body is what is left of the body of a request, and what reading ends with.
type body struct {
	rest []byte
	err  error // io.EOF where all of it came
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	n := copy(p, b.rest)
	if b.rest = b.rest[n:]; len(b.rest) == 0 {
		err := b.err
		if errors.Is(err, io.ErrUnexpectedEOF) {
			b.err = io.EOF // it is told once, as by net/http
		}
		return n, err
	}
	return n, nil
}

// Close implements io.Closer.
func (*body) Close() error { return nil }
