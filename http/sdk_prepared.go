package httpapi

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"flagledger/projections"
)

// preparedAnswer names what a snapshot keeps of an answer that is the same for
// everybody: its bytes, the same compressed, and its ETag.
type preparedAnswer struct{ plain, zipped, etag string }

func newPreparedAnswer(name string) preparedAnswer {
	return preparedAnswer{name, name + ", gzip", name + ", etag"}
}

var (
	varyEncoding = []string{"Accept-Encoding"}
	encodingGzip = []string{"gzip"}
)

// gzipFrom is the size in bytes from which compression is worth its while.
const gzipFrom = 1000

// answerPrepared sends an answer that is made once per snapshot, or that it is
// the one that the client has.
func (k *sdk) answerPrepared(c echo.Context, at sdkAccess, name preparedAnswer, body []byte) error {
	etag := string(at.snapshot.Prepared(name.etag, func() []byte {
		sum := sha256.Sum256(body)
		return fmt.Appendf(nil, `W/"%x"`, sum[:16])
	}))
	header := c.Response().Header()
	header["Etag"] = []string{etag}
	header["Last-Modified"] = []string{at.snapshot.Updated.UTC().Format(http.TimeFormat)}
	header["Vary"] = varyEncoding
	at.setUpdated(c)
	if k.hasCurrent(c.Request().Header, at.snapshot, etag) {
		return c.NoContent(http.StatusNotModified)
	}
	if len(body) >= gzipFrom && acceptsGzip(c.Request().Header.Get("Accept-Encoding")) {
		body = at.snapshot.Prepared(name.zipped, func() []byte { return zip(body) })
		header["Content-Encoding"] = encodingGzip
	}
	return answerJSON(c, http.StatusOK, body)
}

// hasCurrent tells whether the client has the current answer, by its validators.
//
// Last-Modified has a resolution of a second, in which there can be several
// snapshots. So it counts only without an ETag, only when it names the second
// of this snapshot, and only when no earlier snapshot can be of that second.
func (k *sdk) hasCurrent(request http.Header, snapshot *projections.Snapshot, etag string) bool {
	if known := request.Values("If-None-Match"); len(known) > 0 {
		return lists(known, etag)
	}
	asked := request.Get("If-Modified-Since")
	if asked == "" {
		return false
	}
	since, err := http.ParseTime(asked)
	second := snapshot.Updated.Truncate(time.Second)
	if err != nil || !since.Equal(second) {
		return false
	}
	before, err := k.Views.PositionAt(second.Add(-time.Nanosecond))
	return err == nil && snapshot.Position == before+1
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
