package httpapi

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/labstack/echo/v4"

	"flagledger/domain"
	"flagledger/domain/evaluation"
)

// largeShop has features (half boolean, three tenths strings, one fifth
// multivariate) and half as many segments, in overrides of six tenths of them.
func largeShop(features int) []domain.Event {
	var events []domain.Event
	id := int32(10)
	next := func() int32 { id++; return id }
	conditions := []evaluation.Condition{
		{Property: "plan", Operator: evaluation.Equal, Value: "enterprise"},
		{Property: "country", Operator: evaluation.In, Value: "AT,BE,BG,HR,CY,CZ,DK,EE,FI,FR,DE,GR,HU,IE,IT,LV,LT,LU,MT,NL"},
		{Property: "email", Operator: evaluation.Contains, Value: "@example.com"},
		{Property: "app_version", Operator: evaluation.GreaterThanInclusive, Value: "4.2.0:semver"},
		{Property: "age", Operator: evaluation.GreaterThan, Value: "30"},
		{Property: "", Operator: evaluation.PercentageSplit, Value: "50"},
	}
	for i := range features / 2 {
		rule := evaluation.Rule{Type: evaluation.All}
		for j := range 1 + i%5 {
			rule.Conditions = append(rule.Conditions, conditions[(i+j)%len(conditions)])
		}
		key := fmt.Sprintf("segment_%03d", i)
		events = append(events, domain.SegmentCreated{ID: next(), Key: key, Revision: 1, Name: key, Rules: []evaluation.Rule{rule}})
	}
	for i := range features {
		f := domain.FeatureCreated{
			ID: next(), Key: fmt.Sprintf("feature_%04d", i), DefaultEnabled: i%3 > 0,
			FeatureAttributes: domain.FeatureAttributes{Description: "a feature of the benchmark"}, Seeds: map[string]int32{"production": next()},
		}
		if i%10 >= 5 {
			f.InitialValue = evaluation.String("a value of ordinary length")
		}
		if i%10 >= 8 {
			f.Variants = []domain.Variant{{ID: next(), Key: "a", Value: evaluation.String("value a"), Weight: 30}, {ID: next(), Key: "b", Value: evaluation.String("value b"), Weight: 30}}
		}
		events = append(events, f)
		if i%10 < 6 {
			for j := range 1 + i%3 {
				segment := fmt.Sprintf("segment_%03d", (i+j)%(features/2))
				events = append(events, domain.SegmentOverrideSet{Environment: "production", Feature: f.Key, Segment: segment, Seed: next(), Place: j, Enabled: true, Value: f.InitialValue})
			}
		}
	}
	return events
}

func identityBody(i int) string {
	return fmt.Sprintf(`{"identifier":"user-%d","traits":[{"trait_key":"email","trait_value":"user-%d@example.com"},{"trait_key":"plan","trait_value":"pro"},`+
		`{"trait_key":"country","trait_value":"DE"},{"trait_key":"app_version","trait_value":"4.3.%d"},{"trait_key":"age","trait_value":%d},`+
		`{"trait_key":"orders","trait_value":17},{"trait_key":"total","trait_value":123.45},{"trait_key":"newsletter","trait_value":true}]}`, i, i, i%10, 20+i%50)
}

// discard is an http.ResponseWriter that counts.
type discard struct {
	header http.Header
	size   int
	status int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) WriteHeader(status int)      { d.status = status }
func (d *discard) Write(b []byte) (int, error) { d.size += len(b); return len(b), nil }

// rewound is a request whose body can be read again and again.
type rewound struct {
	*http.Request
	body *strings.Reader
}

func newRewound(path, body string) rewound {
	r := rewound{httptest.NewRequest(http.MethodPost, path, nil), strings.NewReader(body)}
	r.Header.Set("X-Environment-Key", clientKey)
	r.Header.Set("Content-Type", "application/json")
	r.Body, r.ContentLength = io.NopCloser(r.body), int64(len(body))
	return r
}

func serveRepeatedly(b *testing.B, handler http.Handler, requests []rewound) {
	b.Helper()
	w := &discard{header: http.Header{}}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		r := requests[i%len(requests)]
		_, _ = r.body.Seek(0, io.SeekStart)
		clear(w.header)
		w.size = 0
		handler.ServeHTTP(w, r.Request)
		if w.status != http.StatusOK {
			b.Fatalf("status %d", w.status)
		}
	}
	b.ReportMetric(float64(w.size), "answer-bytes")
}

// Identities with traits in the request, and beside them what Echo takes to
// read the same body and write a fixed answer of the same size.
func BenchmarkSDKIdentities(b *testing.B) {
	for _, features := range []int{100, 1000} {
		f := newSDKFixture(b, largeShop(features)...)
		requests := make([]rewound, 1000)
		for i := range requests {
			requests[i] = newRewound("/api/v1/identities/", identityBody(i))
		}
		b.Run(fmt.Sprintf("flags=%d", features), func(b *testing.B) { serveRepeatedly(b, f.handler, requests) })
		answer := f.serve(b, sdkCase{method: "POST", path: "/api/v1/identities/", body: identityBody(1)}).Body.Bytes()
		e := echo.New()
		e.POST("/api/v1/identities/", func(c echo.Context) error {
			if _, err := io.ReadAll(c.Request().Body); err != nil {
				return err
			}
			return c.JSONBlob(http.StatusOK, answer)
		})
		b.Run(fmt.Sprintf("flags=%d/echo", features), func(b *testing.B) { serveRepeatedly(b, e, requests) })
	}
}

// The parts of an identity request.
func BenchmarkSDKParts(b *testing.B) {
	f := newSDKFixture(b, largeShop(100)...)
	at, err := f.access(clientKey)
	if err != nil {
		b.Fatal(err)
	}
	body := identityBody(7)
	b.Run("parse", func(b *testing.B) {
		var q identifyRequest
		b.ReportAllocs()
		for b.Loop() {
			r := newJSONReader(body)
			if err := r.finish(f.readIdentify(&r, &q)); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("evaluate and append", func(b *testing.B) {
		buffers := new(sdkBuffers)
		r := newJSONReader(body)
		if invalid := f.readIdentify(&r, &buffers.request); invalid != nil {
			b.Fatal(invalid)
		}
		for i := range buffers.request.traits {
			buffers.request.traits[i].transient = true
		}
		b.ReportAllocs()
		for b.Loop() {
			buffers.mergeTraits(nil, buffers.request.traits)
			buffers.outcomes = at.snapshot.Evaluation.Evaluate(buffers.outcomes[:0], &buffers.identity)
			buffers.out = at.appendIdentity(buffers.out[:0], buffers)
		}
	})
	b.Run("key", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := f.access(clientKey); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkSDKFlags(b *testing.B) {
	f := newSDKFixture(b, largeShop(100)...)
	etag := f.serve(b, sdkCase{path: "/api/v1/flags/"}).Header().Get("ETag")
	for name, headers := range map[string]http.Header{
		"whole": {}, "gzip": {"Accept-Encoding": {"gzip"}}, "unchanged": {"If-None-Match": {etag}},
	} {
		b.Run(name, func(b *testing.B) {
			r := httptest.NewRequest(http.MethodGet, "/api/v1/flags/", nil)
			r.Header = headers
			r.Header.Set("X-Environment-Key", clientKey)
			w := &discard{header: http.Header{}}
			b.ReportAllocs()
			for b.Loop() {
				clear(w.header)
				f.handler.ServeHTTP(w, r)
			}
		})
	}
}

func BenchmarkEncodeFlag(b *testing.B) {
	f := newSDKFixture(b, sdkShop()...)
	snapshot, _ := f.Views.SnapshotByKey(clientKey)
	feature, flag := snapshot.Project.Features.Get("checkout"), snapshot.Evaluation.Flag("checkout")
	outcome := snapshot.Evaluation.EvaluateFlag(flag, nil)
	b.ReportAllocs()
	for b.Loop() {
		EncodeFlag(snapshot.Project, snapshot.Environment, feature, outcome)
	}
}
