package httpapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"flagledger/domain"
	"flagledger/projections"
)

// Each evaluation that is answered counts as what decided it, and nothing else does.
func TestEvaluationsAreCounted(t *testing.T) {
	f, o := newOFREPFixture(t, domain.IdentityOverrideSet{Environment: "production", Feature: "old_cart", Identity: "surrogate of eve", Enabled: true})
	f.handler = handlerOf(slices.Concat(f.sdk.routes(), o.routes()))
	grid := f.splitOf(t, "grid")
	identity := func(name, email string) string {
		return `{"identifier":"` + name + `","transient":true,"traits":[{"trait_key":"email","trait_value":"` + email + `"}]}`
	}
	const everything, fraud = "New_Search environment  1, checkout environment  1, old_cart environment  1", ", fraud_score environment  1"
	etag := f.serve(t, sdkCase{path: "/api/v1/flags/"}).Header().Get("ETag")
	bulk := sdkCase{method: "POST", path: ofrepFlags, headers: bearer, body: `{"context":{"targetingKey":"` + grid + `"}}`}
	known := f.serve(t, bulk).Header().Get("ETag")
	f.counted(t)

	for _, test := range []struct {
		name string
		sdkCase
		want string
	}{
		{"flags", sdkCase{path: "/api/v1/flags/", status: 200}, everything},
		{"flags, zipped", sdkCase{path: "/api/v1/flags/", headers: "Accept-Encoding: gzip", status: 200}, everything},
		{"flags for servers", sdkCase{path: "/api/v1/flags", key: serverKey, status: 200}, strings.Replace(everything, ", old", fraud+", old", 1)},
		{"flags that the app has", sdkCase{path: "/api/v1/flags/", headers: "If-None-Match: " + etag, status: 304}, ""},
		{"one flag", sdkCase{path: "/api/v1/flags/?feature=checkout", status: 200}, "checkout environment  1"},
		{"a hidden flag", sdkCase{path: "/api/v1/flags/?feature=fraud_score", status: 404}, ""},
		{"no key", sdkCase{path: "/api/v1/flags/", key: "-", status: 403}, ""},
		{"somebody", sdkCase{method: "POST", path: "/api/v1/identities/", body: identity(grid, "a@elsewhere.com"), status: 200},
			"New_Search environment grid 1, checkout environment  1, old_cart environment  1"},
		{"in a segment", sdkCase{method: "POST", path: "/api/v1/identities/", body: identity(grid, "a@example.com"), status: 200},
			"New_Search environment grid 1, checkout segment:beta  1, old_cart environment  1"},
		{"with an override", sdkCase{path: "/api/v1/identities/?identifier=eve&feature=old_cart", status: 200}, "old_cart identity  1"},
		{"the document", sdkCase{path: "/api/v1/environment-document/", key: serverKey, status: 200}, ""},
		{"OFREP, all", bulk.with(200), "New_Search environment grid 1, checkout environment  1, old_cart environment  1"},
		{"OFREP, all known", sdkCase{method: "POST", path: ofrepFlags, headers: bearer + "|If-None-Match: " + known, body: bulk.body, status: 304}, ""},
		{"OFREP, nobody", sdkCase{method: "POST", path: ofrepFlags, headers: bearer, body: `{"context":{}}`, status: 200}, "checkout environment  1, old_cart environment  1"},
		{"OFREP, one", sdkCase{method: "POST", path: ofrepFlags + "/checkout", headers: bearer, body: `{"context":{"targetingKey":"bob","email":"b@example.com"}}`, status: 200}, "checkout segment:beta  1"},
		{"OFREP, one of nobody", sdkCase{method: "POST", path: ofrepFlags + "/New_Search", headers: bearer, body: `{"context":{}}`, status: 400}, ""},
		{"OFREP, none", sdkCase{method: "POST", path: ofrepFlags + "/nothing", headers: bearer, body: `{"context":{}}`, status: 404}, ""},
	} {
		if w := f.serve(t, test.sdkCase); w.Code != test.status {
			t.Errorf("%s: status %d, want %d: %s", test.name, w.Code, test.status, w.Body)
		}
		if got := f.counted(t); got != test.want {
			t.Errorf("%s: counted %q, want %q", test.name, got, test.want)
		}
	}

	f.settings(t, func(s *domain.EnvironmentSettings) { hide := true; s.HideDisabledFlags = &hide })
	f.serve(t, sdkCase{path: "/api/v1/flags/"})
	f.serve(t, bulk)
	if got, want := f.counted(t), "New_Search environment  1, New_Search environment grid 1, checkout environment  2"; got != want {
		t.Errorf("disabled flags hidden: counted %q, want %q", got, want)
	}
}

func (tc sdkCase) with(status int) sdkCase {
	tc.status = status
	return tc
}

// counted tells and forgets what was counted, in a short form.
func (f *sdkFixture) counted(t *testing.T) string {
	t.Helper()
	sums := map[projections.Label]uint64{}
	for _, s := range f.Views.Snapshots() {
		s.Tally.Drain(func(l projections.Label, n uint64) { sums[l] += n })
	}
	var all []string
	for l, n := range sums {
		all = append(all, fmt.Sprintf("%s %s %s %d", l.Feature, l.Outcome, l.Variant, n))
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

// usageOf knows the counts of one feature, and notes what it is asked for.
type usageOf struct {
	feature string
	counts  []UsageCount
	err     error
	asked   string
}

func (u *usageOf) Report(projections.EnvironmentID, string, int64) {}

func (u *usageOf) Counts(environment projections.EnvironmentID, feature string, from, to time.Time) ([]UsageCount, error) {
	const form = "01-02 15:04"
	u.asked = from.Format(form) + " to " + to.Format(form)
	if environment != sdkProduction || feature != u.feature {
		return nil, nil
	}
	return u.counts, u.err
}

func TestFeatureUsage(t *testing.T) {
	hour := func(day, hour int) time.Time { return time.Date(2026, 5, day, hour, 0, 0, 0, time.UTC) }
	usage := &usageOf{feature: "checkout", counts: []UsageCount{
		{hour(2, 23), "sdk", "", "", 4},
		{hour(2, 23), "server", "environment", "", 10},
		{hour(2, 23), "server", "segment:beta", "", 1},
		{hour(3, 0), "server", "environment", "", 20},
		{hour(3, 1), "server", "environment", "a", 2},
		{hour(3, 1), "server", "identity", "a", 3},
		{hour(3, 1), "server", "segment:beta", "", 30},
	}}
	f := newSDKFixture(t, sdkShop()...)
	token := domain.Commit{ID: uuid.NewString(), Project: domain.OrganisationID, Events: []domain.Event{
		domain.TokenCreated{ID: "t1", Name: "viewer", Hash: hashOf("viewer"), Grants: []domain.Grant{{Role: domain.Viewer}}},
		domain.TokenCreated{ID: "t2", Name: "stranger", Hash: hashOf("stranger"), Grants: []domain.Grant{{Role: domain.Admin, Project: "elsewhere"}}},
	}}
	raw, err := json.Marshal(token)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Views.Apply(domain.Recorded{Commit: token, Position: f.last + 1, RecordedAt: f.now, Raw: raw}, 0); err != nil {
		t.Fatal(err)
	}
	now := hour(3, 2).Add(25 * time.Minute)
	server := New(Config{
		Views: f.Views, Identities: f.persons, Usage: usage, Metrics: prometheus.NewRegistry(), Logger: slog.New(slog.DiscardHandler),
		Now: func() time.Time { return now },
	})
	get := func(token, feature, query string) *httptest.ResponseRecorder {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/admin/v1/projects/shop/environments/production/features/"+feature+"/analytics?"+query, nil)
		r.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		server.ServeHTTP(w, r)
		return w
	}
	for _, test := range []struct {
		query string
		asked string
		want  string // time, source, outcome, variant, count; the most frequent first
	}{
		{"", "04-03 02:00 to 05-03 03:00", "sdk///4 server/segment:beta//31 server/environment//30 server/identity/a/3 server/environment/a/2"},
		{"by=outcome&from=2026-05-02T22:30:00Z&to=2026-05-03T02:00:00%2B01:00", "05-02 22:00 to 05-03 01:00", "sdk///4 server/segment:beta//31 server/environment//30 server/identity/a/3 server/environment/a/2"},
		{"by=source", "04-03 02:00 to 05-03 03:00", "sdk///4 server///66"},
		{"by=hour", "04-03 02:00 to 05-03 03:00", "02T23:sdk///4 02T23:server///11 03T00:server///20 03T01:server///35"},
		{"by=day", "04-03 00:00 to 05-04 00:00", "02T00:sdk///4 02T00:server///11 03T00:server///55"},
		{"by=day,outcome", "04-03 00:00 to 05-04 00:00", "02T00:sdk///4 02T00:server/environment//10 02T00:server/segment:beta//1 " +
			"03T00:server/segment:beta//30 03T00:server/environment//20 03T00:server/identity/a/3 03T00:server/environment/a/2"},
		{"by=day&from=2026-05-02T01:00:00Z&to=2026-05-02T02:00:00Z", "05-02 00:00 to 05-03 00:00", "02T00:sdk///4 02T00:server///11 03T00:server///55"},
	} {
		usage.asked = ""
		w := get("viewer", "checkout", test.query)
		var answer shownUsage
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != http.StatusOK {
			t.Errorf("%s: status %d, error %v: %s", test.query, w.Code, err, w.Body)
			continue
		}
		var got []string
		for _, i := range answer.Items {
			one := fmt.Sprintf("%s/%s/%s/%d", i.Source, i.Outcome, i.Variant, i.Count)
			if i.Time != nil {
				one = i.Time.Format("02T15:") + one
			}
			got = append(got, one)
		}
		if strings.Join(got, " ") != test.want {
			t.Errorf("%s: got %q, want %q", test.query, got, test.want)
		}
		if usage.asked != test.asked {
			t.Errorf("%s: asked for %s, want %s", test.query, usage.asked, test.asked)
		}
		if answer.Totals["sdk"] != 4 || answer.Totals["server"] != 66 || len(answer.Totals) != 2 || answer.Feature != "checkout" {
			t.Errorf("%s: totals %v of %s", test.query, answer.Totals, answer.Feature)
		}
	}

	if got, want := get("viewer", "checkout", "by=outcome").Body.String(), `"items":[{"source":"sdk","count":4},{"source":"server","outcome":"segment:beta","count":31},`; !strings.Contains(got, want) {
		t.Errorf("order: %s lacks %s", got, want)
	}
	if got, want := get("viewer", "old_cart", "").Body.String(), `"totals":{"sdk":0,"server":0},"items":[]`; !strings.Contains(got, want) {
		t.Errorf("never used: %s lacks %s", got, want)
	}

	usage.asked = ""
	for _, test := range []struct {
		token, feature, query string
		status                int
		contains              string
	}{
		{"viewer", "nothing", "", 404, `"field":"feature"`},
		{"stranger", "checkout", "", 404, `"field":"project"`},
		{"nobody", "checkout", "", 401, "token"},
		{"viewer", "checkout", "since=2026-01-01T00:00:00Z", 400, `"field":"since"`},
		{"viewer", "checkout", "from=yesterday", 400, `"field":"from"`},
		{"viewer", "checkout", "to=2026-05-02", 400, `"field":"to"`},
		{"viewer", "checkout", "by=colour", 400, `"field":"by"`},
		{"viewer", "checkout", "by=", 400, `"field":"by"`},
		{"viewer", "checkout", "by=hour,day", 400, "not both"},
		{"viewer", "checkout", "from=2026-05-03T03:00:00Z", 400, "from must be before to"},
		{"viewer", "checkout", "from=2026-05-02T00:00:00Z&to=2026-05-01T00:00:00Z", 400, "from must be before to"},
		{"viewer", "checkout", "by=hour&from=2026-04-01T00:00:00Z", 400, "31 days"},
		{"viewer", "checkout", "from=2025-01-01T00:00:00Z", 400, "400 days"},
		{"viewer", "checkout", "from=0001-01-02T00:00:00Z&to=9999-01-01T00:00:00Z", 400, "400 days"},
	} {
		if w := get(test.token, test.feature, test.query); w.Code != test.status || !strings.Contains(w.Body.String(), test.contains) {
			t.Errorf("%s %s: %d, want %d and %s: %s", test.feature, test.query, w.Code, test.status, test.contains, w.Body)
		}
	}
	if usage.asked != "" {
		t.Errorf("asked for %s, though the request was refused", usage.asked)
	}
	usage.err = errors.New("the disk is gone")
	if w := get("viewer", "checkout", ""); w.Code != http.StatusInternalServerError || strings.Contains(w.Body.String(), "disk") {
		t.Errorf("failure: %d %s", w.Code, w.Body)
	}
}
