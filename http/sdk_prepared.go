package httpapi

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/labstack/echo/v4"

	"flagledger/projections"
)

// preparedAnswer is an answer that is the same for everybody as long as its
// snapshot is the newest one: its bytes, and its validators as headers.
type preparedAnswer struct {
	body           jsonBody
	zipped         func() jsonBody // made when it is first asked for
	etag, modified []string
	// ahead is until when the date in modified is not over, so that it cannot be
	// told yet; early, another date, is told instead. Zero where there is no such time.
	ahead time.Time
	early []string
}

// jsonBody is a body with its length as a header.
type jsonBody struct {
	bytes  []byte
	length []string // nil where net/http writes it
}

// lengthKnown is up to which size in bytes net/http finds out by itself how long
// an answer is. It buffers 2,048.
const lengthKnown = 2000

func newJSONBody(b []byte) jsonBody {
	if len(b) <= lengthKnown {
		return jsonBody{b, nil}
	}
	return jsonBody{b, []string{strconv.Itoa(len(b))}}
}

// answer sends the body whole.
func (b jsonBody) answer(c echo.Context, status int) error {
	header := c.Response().Header()
	header["Content-Type"] = contentTypeJSON
	if b.length != nil {
		header["Content-Length"] = b.length
	}
	c.Response().WriteHeader(status)
	_, _ = c.Response().Write(b.bytes) // the client may be gone
	return nil
}

func newPreparedAnswer(body []byte, s *projections.Snapshot) *preparedAnswer {
	sum := sha256.Sum256(body)
	p := &preparedAnswer{
		body:     newJSONBody(body),
		zipped:   sync.OnceValue(func() jsonBody { return newJSONBody(zip(body)) }),
		etag:     []string{fmt.Sprintf(`W/"%x"`, sum[:16])},
		modified: []string{s.Modified.Format(http.TimeFormat)},
	}
	if s.Modified.After(s.Updated) {
		p.ahead, p.early = s.Modified, []string{s.Updated.UTC().Format(http.TimeFormat)}
	}
	return p
}

var (
	varyEncoding = []string{"Accept-Encoding"}
	encodingGzip = []string{"gzip"}
)

// gzipFrom is the size in bytes from which compression is worth its while.
const gzipFrom = 1000

// answerPrepared sends a prepared answer, or that it is the one that the client has.
func (k *sdk) answerPrepared(c echo.Context, at sdkAccess, p *preparedAnswer) error {
	header := c.Response().Header()
	header["Etag"] = p.etag
	header["Vary"] = varyEncoding
	at.setUpdated(c)
	if k.hasCurrent(c.Request().Header, at.snapshot.Modified, p.etag[0]) {
		return c.NoContent(http.StatusNotModified) // the client has the rest
	}
	header["Last-Modified"] = p.modified
	if p.early != nil && k.Now().Before(p.ahead) {
		header["Last-Modified"] = p.early
	}
	body := p.body
	if len(body.bytes) >= gzipFrom && acceptsGzip(c.Request().Header.Get("Accept-Encoding")) {
		body = p.zipped()
		header["Content-Encoding"] = encodingGzip
	}
	return body.answer(c, http.StatusOK)
}

// longAfter is from when on a date that is not a Last-Modified of ours says that
// the client has seen what was there then: RFC 9110, 8.8.2.2, takes a minute for
// clocks that differ and for processes that are behind.
const longAfter = time.Minute

// hasCurrent tells whether the client has the current answer, by its validators.
//
// Last-Modified has a resolution of a second, in which there can be several
// snapshots. The date of each is its own, or not told: whoever names a date that
// an earlier snapshot was sent with never names that of a later one.
func (k *sdk) hasCurrent(request http.Header, modified time.Time, etag string) bool {
	if known := request.Values("If-None-Match"); len(known) > 0 {
		return lists(known, etag)
	}
	asked := request.Get("If-Modified-Since")
	if asked == "" {
		return false
	}
	since, err := http.ParseTime(asked)
	if err != nil {
		return false
	}
	return since.Equal(modified) || !since.Before(modified.Add(longAfter)) && !since.After(k.Now())
}

// lists tells whether If-None-Match lists an ETag. Whether one is weak, as a
// proxy makes it that compresses the answer, is all the same.
func lists(known []string, etag string) bool {
	for _, list := range known {
		for candidate := range strings.SplitSeq(list, ",") {
			if candidate = strings.TrimSpace(candidate); candidate == "*" || strings.TrimPrefix(candidate, "W/") == strings.TrimPrefix(etag, "W/") {
				return true
			}
		}
	}
	return false
}

// acceptsGzip reads Accept-Encoding: gzip is listed, and not with the weight 0.
func acceptsGzip(accepted string) bool {
	for part := range strings.SplitSeq(accepted, ",") {
		coding, weight, _ := strings.Cut(part, ";")
		if strings.EqualFold(strings.TrimSpace(coding), "gzip") {
			_, q, weighted := strings.Cut(weight, "q=")
			return !weighted || strings.Trim(q, " 0.") != ""
		}
	}
	return false
}

func zip(plain []byte) []byte {
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	_, _ = w.Write(plain) // a buffer takes everything
	_ = w.Close()
	return zipped.Bytes()
}
