package httpapi

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/labstack/echo/v4"

	"flagledger/domain"
	"flagledger/domain/evaluation"
	"flagledger/projections"
)

// newOFREPFixture is the fixture of the SDK tests, with the routes of OFREP in
// place of theirs.
func newOFREPFixture(t testing.TB, events ...domain.Event) (*sdkFixture, *ofrep) {
	t.Helper()
	f := newSDKFixture(t, append(sdkShop(), events...)...)
	o := newOFREP(f.sdk)
	f.handler = handlerOf(o.routes())
	return f, o
}

func handlerOf(routes []route) http.Handler {
	e := echo.New()
	for _, r := range routes {
		e.Add(r.method, r.path, r.handle)
	}
	return e
}

// bearer and apiKey are the headers of a key.
const (
	bearer       = "Authorization: Bearer " + clientKey
	serverBearer = "Authorization: Bearer " + serverKey
)

// ofrepShop is what sdkShop lacks: a feature of each type of value, a split of
// a segment, a rule about the identifier, a feature whose value is an object.
func ofrepShop() []domain.Event {
	feature := func(id int32, key string, enabled bool, value evaluation.Value) domain.FeatureCreated {
		return domain.FeatureCreated{ID: id, Key: key, DefaultEnabled: enabled, InitialValue: value, Seeds: map[string]int32{"production": id + 1}}
	}
	object := feature(30, "theme", true, evaluation.String("{\"color\": \"red\",\n \"sizes\": [1, 2.5, null], \"on\": true}"))
	object.ObjectValue = true
	broken := feature(32, "theme_broken", true, evaluation.String(`{"color": red}`))
	broken.ObjectValue = true
	segment := func(id int32, key string, rules ...evaluation.Rule) domain.SegmentCreated {
		return domain.SegmentCreated{ID: id, Key: key, Revision: 1, Name: key, Rules: rules}
	}
	all := func(conditions ...evaluation.Condition) evaluation.Rule {
		return evaluation.Rule{Type: evaluation.All, Conditions: conditions}
	}
	override := func(feature, segment string, seed int32, value evaluation.Value) domain.SegmentOverrideSet {
		return domain.SegmentOverrideSet{Environment: "production", Feature: feature, Segment: segment, Seed: seed, Enabled: true, Value: value}
	}
	return []domain.Event{
		feature(20, "max_items", true, evaluation.Int(20)),
		feature(22, "dark_mode", true, evaluation.Bool(false)),
		feature(24, "kill_switch", true, evaluation.Null()),
		feature(26, "raw_text", true, evaluation.String(`{"color":"red"}`)),
		feature(28, "ten_percent_off", false, evaluation.Int(0)),
		object, broken,
		feature(34, "staff_tools", true, evaluation.Bool(false)),
		segment(40, "half", all(evaluation.Condition{Operator: evaluation.PercentageSplit, Value: "50"})),
		segment(41, "staff", evaluation.Rule{Type: evaluation.Any, Rules: []evaluation.Rule{
			all(evaluation.Condition{Property: "$.identity.identifier", Operator: evaluation.Contains, Value: "@mart.example"}),
		}}),
		segment(42, "adults", all(evaluation.Condition{Property: "age", Operator: evaluation.GreaterThanInclusive, Value: "18"})),
		segment(46, "owls", all(evaluation.Condition{Property: "night", Operator: evaluation.Equal, Value: "true"})),
		override("dark_mode", "owls", 47, evaluation.Bool(true)),
		override("ten_percent_off", "half", 43, evaluation.Int(10)),
		override("staff_tools", "staff", 44, evaluation.Bool(true)),
		override("max_items", "adults", 45, evaluation.Int(100)),
	}
}

// one is a request for one flag.
func one(flag, context string) sdkCase {
	return sdkCase{path: ofrepFlags + "/" + flag, headers: bearer, body: `{"context":` + context + `}`}
}

func (tc sdkCase) answers(name string, status int, contains string) sdkCase {
	tc.name, tc.status, tc.contains = name, status, contains
	return tc
}

func TestOFREPOne(t *testing.T) {
	f, _ := newOFREPFixture(t, ofrepShop()...)
	f.commit(t, time.Second,
		domain.IdentityOverrideSet{Environment: "production", Identity: "surrogate of vip", Feature: "checkout", Enabled: true, Value: evaluation.String("concierge")},
		domain.IdentityOverrideSet{Environment: "production", Identity: "surrogate of vip", Feature: "New_Search", Enabled: true, Variant: "list"},
	)
	f.persons.Identify(sdkProduction, "vip", nil)
	f.persons.Identify(sdkProduction, "ada", []evaluation.Trait{{Key: "email", Value: evaluation.String("ada@example.com")}})
	writes := f.persons.writes
	metadata := func(id int) string { return fmt.Sprintf(`"metadata":{"featureId":%d,"version":2,"position":2}}`, id) }
	// Where these are on the line of New_Search was found by asking.
	grid, list := f.splitOf(t, "grid"), f.splitOf(t, "list")
	f.run(t, []sdkCase{
		one("checkout", `{"targetingKey":"bob"}`).answers("the environment's own value", 200, `={"key":"checkout","value":"classic","reason":"STATIC",`+metadata(3)),
		one("checkout", `{"targetingKey":"bob","email":"bob@example.com"}`).answers("a segment's value", 200, `={"key":"checkout","value":"one page","reason":"TARGETING_MATCH",`+metadata(3)),
		one("checkout", `{"targetingKey":"vip"}`).answers("the identity's own value", 200, `={"key":"checkout","value":"concierge","reason":"TARGETING_MATCH",`+metadata(3)),
		one("New_Search", `{"targetingKey":"vip"}`).answers("the identity's own variant", 200, `={"key":"New_Search","value":"list","reason":"TARGETING_MATCH","variant":"list",`+metadata(7)),
		one("New_Search", `{"targetingKey":"`+grid+`"}`).answers("a variant", 200, `={"key":"New_Search","value":"grid","reason":"SPLIT","variant":"grid",`+metadata(7)),
		one("New_Search", `{"targetingKey":"`+list+`"}`).answers("another variant", 200, `={"key":"New_Search","value":"list","reason":"SPLIT","variant":"list",`+metadata(7)),
		one("old_cart", `{"targetingKey":"bob"}`).answers("a disabled flag", 200, `={"key":"old_cart","reason":"DISABLED",`+metadata(11)),
		one("kill_switch", `{"targetingKey":"bob"}`).answers("on, without a value", 200, `={"key":"kill_switch","value":true,"reason":"STATIC",`+metadata(24)),
		one("max_items", `{"targetingKey":"bob"}`).answers("an integer", 200, `={"key":"max_items","value":20,"reason":"STATIC",`+metadata(20)),
		one("dark_mode", `{"targetingKey":"bob"}`).answers("a boolean", 200, `={"key":"dark_mode","value":false,"reason":"STATIC",`+metadata(22)),
		one("theme", `{"targetingKey":"bob"}`).answers("an object", 200, "={\"key\":\"theme\",\"value\":{\"color\": \"red\",\n \"sizes\": [1, 2.5, null], \"on\": true},\"reason\":\"STATIC\","+metadata(30)),
		one("theme_broken", `{"targetingKey":"bob"}`).answers("a text that should be an object", 200, `"value":"{\"color\": red}"`),
		one("raw_text", `{"targetingKey":"bob"}`).answers("a text that could be an object", 200, `"value":"{\"color\":\"red\"}"`),

		one("checkout", `{"targetingKey":"ada"}`).answers("stored traits count", 200, `"one page"`),
		one("checkout", `{"targetingKey":"ada","email":"ada@home.example"}`).answers("those of the context go before them", 200, `"classic"`),
		one("checkout", `{"targetingKey":"ada","email":null}`).answers("null is no trait", 200, `"classic"`),
		one("checkout", `{"email":"x@example.com","email":"x","targetingKey":"bob","email":"y@example.com"}`).answers("the last of several counts", 200, `"one page"`),
		one("max_items", `{"targetingKey":"bob","age":18}`).answers("an integer of the context", 200, `"value":100`),
		one("max_items", `{"targetingKey":"bob","age":17.5}`).answers("a float of the context", 200, `"value":20`),
		one("max_items", `{"targetingKey":"bob","age":"21"}`).answers("a text of the context", 200, `"value":100`),
		one("dark_mode", `{"targetingKey":"bob","night":true}`).answers("a boolean of the context", 200, `"value":true`),
		one("dark_mode", `{"targetingKey":"bob","night":false}`).answers("and the other", 200, `"value":false`),
		one("max_items", `{"targetingKey":"bob","age":{"years":21}}`).answers("an object of the context", 200, `"value":20`),
		one("max_items", `{"targetingKey":"bob","age":[21]}`).answers("a list of the context", 200, `"value":20`),
		one("staff_tools", `{"targetingKey":"eve@mart.example"}`).answers("a rule about the identifier", 200, `"value":true,"reason":"TARGETING_MATCH"`),

		{name: "a server key", path: ofrepFlags + "/fraud_score", headers: serverBearer, body: `{"context":{"targetingKey":"bob"}}`, status: 200, contains: `"value":70`},
		one("fraud_score", `{"targetingKey":"bob"}`).answers("is needed for some", 404, `={"key":"fraud_score","errorCode":"FLAG_NOT_FOUND","errorDetails":"There is no such flag."}`),
		one("nothing", `{"targetingKey":"bob"}`).answers("an unknown flag", 404, `={"key":"nothing","errorCode":"FLAG_NOT_FOUND","errorDetails":"There is no such flag."}`),
		one("new_search", `{"targetingKey":"bob"}`).answers("names are as they are written", 404, `{"key":"new_search"`),
	})
	if f.persons.writes != writes || f.persons.Get(sdkProduction, "bob") != nil {
		t.Error("something was stored")
	}
}

// splitOf finds somebody who is in the variant of New_Search.
func (f *sdkFixture) splitOf(t *testing.T, variant string) string {
	t.Helper()
	snapshot, _ := f.Views.SnapshotByKey(clientKey)
	for i := range 100 {
		who := fmt.Sprint("user-", i)
		if snapshot.Evaluation.EvaluateFlag(snapshot.Evaluation.Flag("New_Search"), &evaluation.Identity{Identifier: who}).Variant == variant {
			return who
		}
	}
	t.Fatalf("nobody has the variant %q", variant)
	return ""
}

func TestOFREPAll(t *testing.T) {
	f, o := newOFREPFixture(t, ofrepShop()...)
	stream := streamPath(t, o, f)
	bulk := sdkCase{path: ofrepFlags, headers: bearer, body: `{"context":{"targetingKey":"` + f.splitOf(t, "grid") + `","age":40}}`}
	server := bulk
	server.headers = serverBearer
	flag := func(rest string, id int) string {
		return fmt.Sprintf(`{"key":%s,"metadata":{"featureId":%d}}`, rest, id)
	}
	flags := []string{
		flag(`"New_Search","value":"grid","reason":"SPLIT","variant":"grid"`, 7),
		flag(`"checkout","value":"classic","reason":"STATIC"`, 3),
		flag(`"dark_mode","value":false,"reason":"STATIC"`, 22),
		flag(`"kill_switch","value":true,"reason":"STATIC"`, 24),
		flag(`"max_items","value":100,"reason":"TARGETING_MATCH"`, 20),
		flag(`"old_cart","reason":"DISABLED"`, 11),
		flag(`"raw_text","value":"{\"color\":\"red\"}","reason":"STATIC"`, 26),
		flag(`"staff_tools","value":false,"reason":"STATIC"`, 34),
	}
	status, header, body := f.send(t, serveOn(t, httptest.NewUnstartedServer(f.handler)), bulk)
	for _, want := range flags {
		if !strings.Contains(body, want) {
			t.Errorf("%s\nlacks %s", body, want)
		}
	}
	end := `],"metadata":{"version":1,"position":1},"eventStreams":[{"type":"sse","endpoint":{"requestUri":"` + stream + `"}}]}`
	if status != 200 || !strings.HasPrefix(body, `{"flags":[{"key":"New_Search"`) || !strings.HasSuffix(body, end) || strings.Contains(body, "fraud_score") {
		t.Errorf("%d %s\nshould end with %s", status, body, end)
	}
	if !regexp.MustCompile(`^"2-1-[0-9a-f]{32}"$`).MatchString(header.Get("ETag")) {
		t.Errorf("ETag: %s", header.Get("ETag"))
	}
	f.run(t, []sdkCase{server.answers("with a server key", 200, `{"key":"fraud_score","value":70,"reason":"STATIC"`)})

	t.Run("an environment without flags", func(t *testing.T) {
		empty := newSDKFixture(t)
		empty.handler = handlerOf(newOFREP(empty.sdk).routes())
		empty.run(t, []sdkCase{bulk.answers("", 200, `{"flags":[],"metadata":{"version":1,"position":1},"eventStreams":[`)})
	})
}

// streamPath is where a client key's stream is.
func streamPath(t testing.TB, o *ofrep, f *sdkFixture) string {
	t.Helper()
	at, err := o.access(http.Header{"X-Api-Key": {clientKey}})
	if err != nil {
		t.Fatal(err)
	}
	return streamAddress(at)
}

// What is answered is counted, and nothing else.
func TestOFREPUsage(t *testing.T) {
	f, _ := newOFREPFixture(t, ofrepShop()...)
	etag := f.bulk(t, `{"email":"a@example.com"}`, bearer).Header().Get("ETag")
	f.bulk(t, `{"email":"a@example.com"}`, bearer+"|If-None-Match: "+etag)
	f.serve(t, sdkCase{method: "POST", path: ofrepFlags + "/checkout", headers: bearer, body: `{"context":{"targetingKey":"bob"}}`})
	f.serve(t, sdkCase{method: "POST", path: ofrepFlags + "/New_Search", headers: bearer, body: `{"context":{}}`})
	counts := map[string]uint64{}
	snapshot, _ := f.Views.SnapshotByKey(clientKey)
	snapshot.Tally.Drain(func(l projections.Label, n uint64) { counts[l.Feature+" by "+l.Outcome] += n })
	want := map[string]uint64{
		"checkout by segment:beta": 1, "checkout by environment": 1, "old_cart by environment": 1, "max_items by environment": 1, "dark_mode by environment": 1,
		"kill_switch by environment": 1, "raw_text by environment": 1, "theme by environment": 1, "theme_broken by environment": 1,
	}
	if !maps.Equal(counts, want) {
		t.Errorf("counted %v, want %v", counts, want)
	}
}

func TestOFREPBadInput(t *testing.T) {
	f, _ := newOFREPFixture(t, ofrepShop()...)
	f.BodyLimit = 10_000
	for _, tc := range []struct {
		name, body    string
		code, details string
		status        int // 0: 400
	}{
		{"nothing", ``, codeParseError, "The body is not JSON: Expecting value: line 1 column 1 (char 0)", 0},
		{"no JSON", `context`, codeParseError, "The body is not JSON: Expecting value: line 1 column 1 (char 0)", 0},
		{"half of it", `{"context":{"targetingKey":"bob"`, codeParseError, "The body is not JSON: Expecting ',' delimiter: line 1 column 33 (char 32)", 0},
		{"two", `{"context":{"targetingKey":"bob"}} {}`, codeParseError, "The body is not JSON: Extra data: line 1 column 36 (char 35)", 0},
		{"not UTF-8", "{\"context\":{\"targetingKey\":\"\xff\"}}", codeParseError, "The body is not JSON: 'utf-8' codec can't decode the body", 0},
		{"nested too deeply", `{"context":` + strings.Repeat(`{"a":`, 200) + `1` + strings.Repeat(`}`, 200) + `}`, codeParseError, "", 0},
		{"a number beyond all", `{"context":{"targetingKey":"bob","n":1e999}}`, codeParseError, "", 0},
		{"a list", `[]`, codeInvalidContext, "The body is not an object.", 0},
		{"null", `null`, codeInvalidContext, "The body is not an object.", 0},
		{"no context", `{}`, codeInvalidContext, "The body has no context.", 0},
		{"the context null", `{"context":null}`, codeInvalidContext, "The context is not an object.", 0},
		{"the context a text", `{"context":"bob"}`, codeInvalidContext, "The context is not an object.", 0},
		{"the key a number", `{"context":{"targetingKey":17}}`, codeInvalidContext, "The targeting key is not a string.", 0},
		{"the key an object", `{"context":{"targetingKey":{"id":17},"a":1}}`, codeInvalidContext, "The targeting key is not a string.", 0},
		{"a null character", `{"context":{"targetingKey":"a\u0000b"}}`, codeInvalidContext, "The targeting key has a null character.", 0},
		{"the key too long", `{"context":{"targetingKey":"` + strings.Repeat("é", 2001) + `"}}`, codeInvalidContext, "The targeting key is longer than the limit of 2000 characters.", 0},
		{"too large", `{"context":{"targetingKey":"` + strings.Repeat("x", 10_000) + `"}}`, codeGeneral, "The body is larger than the limit of 10000 bytes.", 413},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for path, key := range map[string]string{ofrepFlags: "", ofrepFlags + "/checkout": "checkout"} {
				w := f.serve(t, sdkCase{method: "POST", path: path, headers: bearer, body: tc.body})
				var got struct{ Key, ErrorCode, ErrorDetails string }
				if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
					t.Fatalf("%s: %s: %v", path, w.Body, err)
				}
				if got.Key != key || got.ErrorCode != tc.code || (tc.details != "" && got.ErrorDetails != tc.details) || got.ErrorDetails == "" {
					t.Errorf("%s: %+v", path, got)
				}
				if w.Code != max(tc.status, 400) || w.Header().Get("Content-Type") != "application/json" || w.Header().Get("Access-Control-Allow-Origin") != "*" {
					t.Errorf("%s: %d %v", path, w.Code, w.Header())
				}
			}
		})
	}
	f.run(t, []sdkCase{
		{name: "as curl sends it", path: ofrepFlags + "/checkout", headers: bearer + "|Content-Type: application/x-www-form-urlencoded", body: `{"context":{"targetingKey":"bob"}}`, status: 200},
		{name: "members that are not known", path: ofrepFlags + "/checkout", headers: bearer, body: `{"now":[],"context":{"targetingKey":"bob"},"type":{}}`, status: 200},
		{name: "the last of two contexts", path: ofrepFlags + "/checkout", headers: bearer, body: `{"context":{"targetingKey":1,"email":"a@example.com"},"context":{"targetingKey":"bob"}}`, status: 200, contains: "classic"},
		{name: "a context of many members", path: ofrepFlags, headers: bearer, body: `{"context":{"targetingKey":"bob"` + strings.Repeat(`,"a":1`, 1500) + `}}`, status: 200},
		{name: "an escaped flag", path: ofrepFlags + "/check%6Fut", headers: bearer, body: `{"context":{"targetingKey":"bob"}}`, status: 200, contains: `{"key":"checkout"`},
		{name: "a flag with a slash", path: ofrepFlags + "/a%2Fb", headers: bearer, body: `{"context":{"targetingKey":"bob"}}`, status: 404, contains: `{"key":"a/b","errorCode":"FLAG_NOT_FOUND"`},
		{name: "a flag that is no text", path: ofrepFlags + "/%ff", headers: bearer, body: `{"context":{"targetingKey":"bob"}}`, status: 404, contains: `{"key":"\ufffd"`},
		{name: "all, with a slash", path: ofrepFlags + "/", headers: bearer, body: `{"context":{"targetingKey":"bob"}}`, status: 200, contains: `{"flags":[{"key":`},
		{name: "one, with a slash", path: ofrepFlags + "/checkout/", headers: bearer, body: `{"context":{"targetingKey":"bob"}}`, status: 200, contains: `{"key":"checkout",`},
		{name: "GET", method: "GET", path: ofrepFlags, headers: bearer, status: 405},
	})
}

func TestOFREPKeys(t *testing.T) {
	f, _ := newOFREPFixture(t)
	f.commit(t, time.Second,
		domain.SDKKeyCreated{Environment: "production", ID: "k2", Kind: domain.ClientKey, Name: "web", Key: "web"},
		domain.SDKKeyCreated{Environment: "production", ID: "k3", Kind: domain.ClientKey, Name: "gone", Key: "switched-off"},
		domain.SDKKeyUpdated{Environment: "production", ID: "k3", Name: "gone", Active: false},
		domain.SDKKeyCreated{Environment: "production", ID: "k4", Kind: domain.ServerKey, Name: "old", Hash: hashOf("ser.expired"), ExpiresAt: f.now.Add(time.Second)},
	)
	for name, tc := range map[string]struct {
		headers string
		ok      bool
	}{
		"bearer":                        {bearer, true},
		"bearer in another spelling":    {"Authorization: bearer  " + clientKey, true},
		"API key":                       {"X-API-Key: " + clientKey, true},
		"another client key":            {"X-API-Key: web", true},
		"a server key":                  {serverBearer, true},
		"a server key as API key":       {"X-API-Key: " + serverKey, true},
		"bearer before API key":         {bearer + "|X-API-Key: no", true},
		"API key beside another scheme": {"Authorization: Basic cHJveHk6cGFzcw==|X-API-Key: " + clientKey, true},
		"an unknown bearer beside it":   {"Authorization: Bearer no|X-API-Key: " + clientKey, false},
		"none":                          {"", false},
		"unknown":                       {"Authorization: Bearer no", false},
		"an empty bearer":               {"Authorization: Bearer ", false},
		"switched off":                  {"X-API-Key: switched-off", false},
		"expired":                       {"X-API-Key: ser.expired", false},
		"the hash of a server key":      {"X-API-Key: " + hashOf(serverKey), false},
		"the header of the SDKs":        {"X-Environment-Key: " + clientKey, false},
		"no scheme":                     {"Authorization: " + clientKey, false},
	} {
		t.Run(name, func(t *testing.T) {
			for _, path := range []string{ofrepFlags, ofrepFlags + "/checkout"} {
				w := f.serve(t, sdkCase{method: "POST", path: path, headers: tc.headers, body: `{"context":{"targetingKey":"bob"}}`})
				if tc.ok != (w.Code == 200) || !tc.ok && w.Code != 401 {
					t.Errorf("%s: %d %s", path, w.Code, w.Body)
				}
				if !tc.ok && (w.Header().Get("WWW-Authenticate") != "Bearer" || !strings.HasPrefix(w.Body.String(), `{"errorDetails":"`)) {
					t.Errorf("%s: %s %v", path, w.Body, w.Header())
				}
			}
		})
	}
}

func TestOFREPSettings(t *testing.T) {
	f, _ := newOFREPFixture(t)
	bulk := sdkCase{path: ofrepFlags, headers: bearer, body: `{"context":{"targetingKey":"bob","email":"bob@example.com"}}`}
	server := bulk
	server.headers = serverBearer
	ada := sdkCase{path: ofrepFlags, headers: bearer, body: `{"context":{"targetingKey":"ada","email":null}}`}
	f.persons.Identify(sdkProduction, "ada", []evaluation.Trait{{Key: "email", Value: evaluation.String("ada@example.com")}})

	f.settings(t, func(s *domain.EnvironmentSettings) { s.AllowClientTraits = false })
	f.run(t, []sdkCase{
		bulk.answers("client keys may not say traits", 200, `"value":"classic"`),
		server.answers("server keys may", 200, `"value":"one page"`),
		ada.answers("what is stored counts", 200, `"value":"one page"`),
	})
	f.settings(t, func(s *domain.EnvironmentSettings) { s.HideDisabledFlags = new(true) })
	hidden := bulk
	hidden.lacks = "old_cart"
	f.run(t, []sdkCase{
		hidden.answers("an environment can hide disabled flags", 200, "checkout"),
		one("old_cart", `{"targetingKey":"bob"}`).answers("one by one too", 404, codeFlagNotFound),
	})
	f.settings(t, func(*domain.EnvironmentSettings) {})
	strict := domain.ProjectUpdated{Name: "The MART", ProjectSettings: domain.ProjectSettings{PersistTraits: true, StrictContexts: true}}
	f.commit(t, time.Second, strict)
	f.run(t, []sdkCase{bulk.answers("a strict project drops undeclared traits", 200, `"value":"classic"`)})
	f.commit(t, time.Second, strict, domain.ContextSet{Key: "email", Type: domain.StringContext, Privacy: domain.Sensitive})
	f.run(t, []sdkCase{bulk.answers("and takes declared ones", 200, `"value":"one page"`)})
}
