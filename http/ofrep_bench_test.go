package httpapi

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/labstack/echo/v4"
)

func contextBody(i int) string {
	return fmt.Sprintf(`{"context":{"targetingKey":"user-%d","email":"user-%d@example.com","plan":"pro","country":"DE","app_version":"4.3.%d","age":%d,`+
		`"orders":17,"total":123.45,"newsletter":true}}`, i, i, i%10, 20+i%50)
}

// One flag and all flags for a context of eight attributes, and beside them what
// Echo takes to read the same body and write a fixed answer of the same size.
func BenchmarkOFREP(b *testing.B) {
	f := newSDKFixture(b, largeShop(100)...)
	f.handler = handlerOf(newOFREP(f.sdk).routes())
	for _, bench := range []struct{ name, path string }{
		{"one", ofrepFlags + "/feature_0001"},
		{"one/split", ofrepFlags + "/feature_0019"},
		{"all", ofrepFlags},
	} {
		requests := make([]rewound, 1000)
		for i := range requests {
			requests[i] = newRewound(bench.path, contextBody(i))
			requests[i].Header.Set("Authorization", "Bearer "+clientKey)
		}
		b.Run(bench.name, func(b *testing.B) { serveRepeatedly(b, f.handler, requests) })
		answer := f.serve(b, sdkCase{method: "POST", path: bench.path, headers: bearer, body: contextBody(1)}).Body.Bytes()
		e := echo.New()
		e.POST(bench.path, func(c echo.Context) error {
			if _, err := io.ReadAll(c.Request().Body); err != nil {
				return err
			}
			return c.JSONBlob(http.StatusOK, answer)
		})
		b.Run(bench.name+"/echo", func(b *testing.B) { serveRepeatedly(b, e, requests) })
	}
}

// All flags that the client has already, and all flags for nobody: then the
// rules are looked through for those that ask who it is.
func BenchmarkOFREPSpecial(b *testing.B) {
	f := newSDKFixture(b, largeShop(100)...)
	f.handler = handlerOf(newOFREP(f.sdk).routes())
	b.Run("unchanged", func(b *testing.B) {
		r := newRewound(ofrepFlags, contextBody(1))
		r.Header.Set("Authorization", "Bearer "+clientKey)
		r.Header.Set("If-None-Match", f.bulk(b, contextBody(1)[len(`{"context":`):len(contextBody(1))-1], bearer).Header().Get("ETag"))
		w := &discard{header: http.Header{}}
		b.ReportAllocs()
		for b.Loop() {
			_, _ = r.body.Seek(0, io.SeekStart)
			clear(w.header)
			if f.handler.ServeHTTP(w, r.Request); w.status != http.StatusNotModified {
				b.Fatalf("status %d", w.status)
			}
		}
	})
	b.Run("anonymous", func(b *testing.B) {
		r := newRewound(ofrepFlags, strings.Replace(contextBody(1), `"targetingKey":"user-1",`, "", 1))
		r.Header.Set("Authorization", "Bearer "+clientKey)
		serveRepeatedly(b, f.handler, []rewound{r})
	})
}
