package httpapi

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"flagledger/domain"
	"flagledger/domain/evaluation"
)

// What providers of OpenFeature in use do, and the protocol does not say. The
// event stream has tests of its own.

func (f *sdkFixture) bulk(t testing.TB, context, headers string) *httptest.ResponseRecorder {
	t.Helper()
	return f.serve(t, sdkCase{method: "POST", path: ofrepFlags, headers: headers, body: `{"context":` + context + `}`})
}

// The ETag is of all that the answer depends on: web providers go on sending it
// after an attribute has changed.
func TestOFREPETag(t *testing.T) {
	f, _ := newOFREPFixture(t, ofrepShop()...)
	const context = `{"targetingKey":"ada","email":"a@example.com","n":1,"address":{"country":"DE","lines":[1,2]}}`
	first := f.bulk(t, context, bearer)
	etag := first.Header().Get("ETag")
	if first.Code != 200 || etag == "" {
		t.Fatalf("%d %v", first.Code, first.Header())
	}
	for name, tc := range map[string]struct {
		context, headers string
		same             bool
	}{
		"the same":               {context, bearer, true},
		"by another header":      {context, "X-API-Key: " + clientKey, true},
		"in another order":       {`{ "n":1, "address":{"country":"DE","lines":[1,2]}, "email":"a@example.com", "targetingKey":"ada" }`, bearer, true},
		"somebody else":          {strings.Replace(context, "ada", "bob", 1), bearer, false},
		"nobody":                 {strings.Replace(context, `"ada"`, `""`, 1), bearer, false},
		"a changed attribute":    {strings.Replace(context, "a@", "b@", 1), bearer, false},
		"a number of its own":    {strings.Replace(context, `"n":1`, `"n":1.0`, 1), bearer, false},
		"a text, not the number": {strings.Replace(context, `"n":1`, `"n":"1"`, 1), bearer, false},
		"one more":               {strings.Replace(context, `"n":1`, `"n":1,"m":null`, 1), bearer, false},
		"one twice":              {strings.Replace(context, `"n":1`, `"n":1,"n":2`, 1), bearer, false},
		"one twice, swapped":     {strings.Replace(context, `"n":1`, `"n":2,"n":1`, 1), bearer, false},
		"within an object":       {strings.Replace(context, "DE", "FR", 1), bearer, false},
		"another key":            {context, serverBearer, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := f.bulk(t, tc.context, tc.headers+"|If-None-Match: "+etag)
			if same := w.Code == 304; same != tc.same || same != (w.Header().Get("ETag") == etag) {
				t.Errorf("%d %s, %s was asked for", w.Code, w.Header().Get("ETag"), etag)
			}
		})
	}
	twice := func(n string) string {
		return f.bulk(t, strings.Replace(context, `"n":1`, n, 1), bearer).Header().Get("ETag")
	}
	if twice(`"n":1,"n":2`) == twice(`"n":2,"n":1`) {
		t.Error("of two members of one name the last counts, but the ETag is the same")
	}

	for name, tc := range map[string]struct {
		asked string
		same  bool
	}{
		"one of several":      {`"x", ` + etag + `,"y"`, true},
		"as proxies write it": {"W/" + etag, true},
		"any":                 {"*", true},
		"another":             {`"2-1-0"`, false},
		"without quotes":      {strings.Trim(etag, `"`), false},
	} {
		t.Run("If-None-Match: "+name, func(t *testing.T) {
			if w := f.bulk(t, context, bearer+"|If-None-Match: "+tc.asked); (w.Code == 304) != tc.same {
				t.Errorf("%d", w.Code)
			}
		})
	}

	changes := []struct {
		name   string
		change func()
	}{
		{"who asks is known now", func() { f.persons.Identify(sdkProduction, "ada", nil) }},
		{"a stored trait", func() {
			f.persons.Identify(sdkProduction, "ada", []evaluation.Trait{{Key: "age", Value: evaluation.Int(40)}})
		}},
		{"its value", func() {
			f.persons.Identify(sdkProduction, "ada", []evaluation.Trait{{Key: "age", Value: evaluation.Int(4)}})
		}},
		{"a flag", func() {
			f.commit(t, time.Second, domain.FeatureStateSet{Environment: "production", Feature: "checkout", Enabled: true, Value: evaluation.String("new")})
		}},
		{"what is shown of a flag", func() {
			f.commit(t, time.Second, domain.FeatureUpdated{Feature: "raw_text", FeatureAttributes: domain.FeatureAttributes{ObjectValue: true}})
		}},
		{"an identity override", func() {
			f.commit(t, time.Second, domain.IdentityOverrideSet{Environment: "production", Identity: "surrogate of ada", Feature: "checkout", Enabled: true, Value: evaluation.String("own")})
		}},
	}
	for _, tc := range changes {
		t.Run("changed: "+tc.name, func(t *testing.T) {
			if w := f.bulk(t, context, bearer+"|If-None-Match: "+etag); tc.name != changes[0].name && w.Code != 304 {
				t.Errorf("before: %d", w.Code)
			}
			tc.change()
			w := f.bulk(t, context, bearer+"|If-None-Match: "+etag)
			if w.Code != 200 || w.Header().Get("ETag") == etag {
				t.Errorf("after: %d", w.Code)
			}
			etag = w.Header().Get("ETag")
		})
	}

	t.Run("nothing is evaluated for a 304", func(t *testing.T) {
		w := f.bulk(t, context, bearer+"|If-None-Match: "+etag)
		if w.Code != 304 || w.Body.Len() != 0 || w.Header().Get("Content-Type") != "" || w.Header().Get("ETag") != etag {
			t.Errorf("%d %s %v", w.Code, w.Body, w.Header())
		}
	})
}

// JavaScript takes a failure for one only with a text errorCode, and with a text
// key where one flag was asked for; it compares the type of a value with that of
// the code's default, and finds all flags changed whose JSON is not the same.
// Go wants metadata to be an object.
func TestOFREPBodies(t *testing.T) {
	f, _ := newOFREPFixture(t, ofrepShop()...)
	check := func(t *testing.T, flag map[string]any) {
		t.Helper()
		if _, ok := flag["key"].(string); !ok {
			t.Errorf("%v has no key", flag)
		}
		if code, failed := flag["errorCode"]; failed {
			if _, ok := code.(string); !ok {
				t.Errorf("%v: the code is no text", flag)
			}
			return
		}
		if value, there := flag["value"]; there {
			switch value.(type) {
			case string, float64, bool, map[string]any:
			default:
				t.Errorf("%v: the value is a %T", flag, value)
			}
		}
		reason, _ := flag["reason"].(string)
		if !slices.Contains([]string{"STATIC", "TARGETING_MATCH", "SPLIT", "DISABLED"}, reason) {
			t.Errorf("%v: the reason", flag)
		}
		metadata, ok := flag["metadata"].(map[string]any)
		if !ok || metadata["featureId"] == nil {
			t.Errorf("%v: the metadata", flag)
		}
		for name, value := range metadata {
			if _, ok := value.(float64); !ok {
				t.Errorf("%v: %s in the metadata is a %T", flag, name, value)
			}
		}
	}
	ask := func() (flags []json.RawMessage) {
		w := f.bulk(t, `{"targetingKey":"bob"}`, serverBearer)
		var answer struct{ Flags []json.RawMessage }
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Header().Get("Content-Type") != "application/json" {
			t.Fatalf("%s %v: %v", w.Body, w.Header(), err)
		}
		return answer.Flags
	}
	before := ask()
	for _, raw := range before {
		var flag map[string]any
		if err := json.Unmarshal(raw, &flag); err != nil {
			t.Fatal(err)
		}
		check(t, flag)
		w := f.serve(t, sdkCase{method: "POST", path: ofrepFlags + "/" + flag["key"].(string), headers: serverBearer, body: `{"context":{"targetingKey":"bob"}}`})
		var alone map[string]any
		if err := json.Unmarshal(w.Body.Bytes(), &alone); err != nil || w.Code != 200 || w.Header().Get("Content-Type") != "application/json" {
			t.Fatalf("%d %s %v: %v", w.Code, w.Body, w.Header(), err)
		}
		check(t, alone)
		if fmt.Sprint(alone["value"], alone["reason"], alone["variant"]) != fmt.Sprint(flag["value"], flag["reason"], flag["variant"]) {
			t.Errorf("alone %v, with the others %v", alone, flag)
		}
	}

	f.commit(t, time.Second, domain.FeatureStateSet{Environment: "production", Feature: "checkout", Enabled: true, Value: evaluation.String("new")})
	changed := 0
	for i, raw := range ask() {
		if string(raw) != string(before[i]) {
			changed++
		}
	}
	if changed != 1 {
		t.Errorf("%d flags changed with one", changed)
	}
}

// What can be a flag's key stands in a path as it is: Go's provider escapes
// nothing.
func TestOFREPKeysInPaths(t *testing.T) {
	for _, key := range []string{"a/b", "a?b", "a#b", "a%b", "a b", ".", "..", "", "é"} {
		if domain.CheckKey("key", key) == nil {
			t.Errorf("%q can be a key", key)
		}
	}
	const strange = "A.b-c_9..z"
	f, _ := newOFREPFixture(t, domain.FeatureCreated{ID: 60, Key: strange, InitialValue: evaluation.Int(1), DefaultEnabled: true, Seeds: map[string]int32{"production": 61}})
	f.run(t, []sdkCase{one(strange, `{"targetingKey":"bob"}`).answers("", 200, `{"key":"`+strange+`","value":1,`)})
}

// Without a targeting key there is an answer where none is needed, and never a
// made up one.
func TestOFREPAnonymous(t *testing.T) {
	var events []domain.Event
	// Conditions about who asks, in every form, and others that only look like it.
	conditions := map[string]evaluation.Condition{
		"key":            {Property: "$.identity.key", Operator: evaluation.Contains, Value: "a"},
		"identifier":     {Property: "$.identity.identifier", Operator: evaluation.Equal, Value: "a"},
		"brackets":       {Property: "$.identity['identifier']", Operator: evaluation.Equal, Value: "a"},
		"split_key":      {Property: "$.identity.key", Operator: evaluation.PercentageSplit, Value: "50"},
		"split_trait":    {Property: "company", Operator: evaluation.PercentageSplit, Value: "50"},
		"trait":          {Property: "$.identity.traits.email", Operator: evaluation.IsSet},
		"environment":    {Property: "$.environment.name", Operator: evaluation.Equal, Value: "Production"},
		"trait_identity": {Property: "identity", Operator: evaluation.Equal, Value: "a"},
	}
	id := int32(100)
	for name, c := range conditions {
		rule := evaluation.Rule{Type: evaluation.All, Rules: []evaluation.Rule{{Type: evaluation.Any, Conditions: []evaluation.Condition{c}}}}
		events = append(events,
			domain.SegmentCreated{ID: id, Key: "s_" + name, Revision: 1, Name: name, Rules: []evaluation.Rule{rule}},
			domain.FeatureCreated{ID: id + 1, Key: "f_" + name, DefaultEnabled: true, InitialValue: evaluation.Int(1), Seeds: map[string]int32{"production": id + 2}},
			domain.SegmentOverrideSet{Environment: "production", Feature: "f_" + name, Segment: "s_" + name, Seed: id + 3, Enabled: true, Value: evaluation.Int(2)},
		)
		id += 4
	}
	f, _ := newOFREPFixture(t, append(ofrepShop(), events...)...)
	f.commit(t, time.Second,
		domain.SegmentOverrideSet{Environment: "production", Feature: "New_Search", Segment: "adults", Seed: 200, Enabled: true, Value: evaluation.String("simple")},
	)
	// To those in the segment New_Search is split too, by weights of its own.
	const needs, anonymous = codeTargetingKeyMissing, `{"email":"a@example.com"}`
	for flag, want := range map[string]string{
		"checkout": "one page", "max_items": "20", "old_cart": "DISABLED", "f_split_trait": "1", "f_trait": "2", "f_environment": "2", "f_trait_identity": "1",
		"New_Search": needs, "ten_percent_off": needs, "staff_tools": needs, "f_key": needs, "f_identifier": needs, "f_brackets": needs, "f_split_key": needs,
	} {
		for _, context := range []string{anonymous, `{"targetingKey":"","email":"a@example.com"}`, `{"targetingKey":null,"email":"a@example.com"}`} {
			t.Run(flag+" "+context, func(t *testing.T) {
				w := f.serve(t, sdkCase{method: "POST", path: ofrepFlags + "/" + flag, headers: bearer, body: `{"context":` + context + `}`})
				if status := w.Code; (status == 400) != (want == needs) || !strings.Contains(w.Body.String(), want) {
					t.Errorf("%d %s, want %s", status, w.Body, want)
				}
			})
		}
	}
	w := f.bulk(t, anonymous, bearer)
	if w.Code != 200 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	var answer struct {
		Flags []struct{ Key, ErrorCode, Reason string }
	}
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
		t.Fatal(err)
	}
	failed := map[string]bool{}
	for _, flag := range answer.Flags {
		if flag.ErrorCode != "" {
			failed[flag.Key] = flag.ErrorCode == needs && flag.Reason == ""
		}
	}
	for _, flag := range []string{"New_Search", "ten_percent_off", "staff_tools", "f_key", "f_identifier", "f_brackets", "f_split_key"} {
		if !failed[flag] {
			t.Errorf("%s did not fail in %s", flag, w.Body)
		}
		delete(failed, flag)
	}
	if len(failed) > 0 {
		t.Errorf("%v failed", failed)
	}
	for range 20 {
		if again := f.bulk(t, anonymous, bearer); again.Body.String() != w.Body.String() {
			t.Fatalf("%s\nthen %s", w.Body, again.Body)
		}
	}
	f.run(t, []sdkCase{
		{name: "what is hidden stays so", path: ofrepFlags + "/fraud_score", headers: bearer, body: `{"context":{}}`, status: 404, contains: codeFlagNotFound},
	})
}

// A stream's address is the same in all answers, or providers would connect anew.
func TestOFREPStreamAddress(t *testing.T) {
	f, o := newOFREPFixture(t, ofrepShop()...)
	address := func(routes []route, context, headers string) string {
		t.Helper()
		f.handler = handlerOf(routes)
		w := f.bulk(t, context, headers)
		var answer struct {
			EventStreams []struct {
				Type     string
				Endpoint map[string]string
			}
		}
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || len(answer.EventStreams) != 1 {
			t.Fatalf("%s: %v", w.Body, err)
		}
		stream := answer.EventStreams[0]
		if len(stream.Endpoint) != 1 || stream.Type != "sse" { // an empty origin breaks clients
			t.Errorf("%+v", stream)
		}
		return stream.Endpoint["requestUri"]
	}
	const ada = `{"targetingKey":"ada"}`
	first := address(o.routes(), ada, bearer)
	f.commit(t, time.Second, domain.FeatureStateSet{Environment: "production", Feature: "checkout", Enabled: true})
	replica := f.ofrepRoutes()
	for name, same := range map[string]string{
		"after a change": address(o.routes(), ada, bearer),
		"for another":    address(o.routes(), `{"targetingKey":"bob"}`, bearer),
		"by a header":    address(o.routes(), ada, "X-API-Key: "+clientKey),
		"by a replica":   address(replica, ada, bearer),
	} {
		if same != first {
			t.Errorf("%s the address is %s, not %s", name, same, first)
		}
	}
	server := address(o.routes(), ada, serverBearer)
	if server == first || strings.Contains(server, serverKey) {
		t.Errorf("addresses %s, %s", first, server)
	}

	f.handler = handlerOf(o.routes())
	token := strings.TrimPrefix(first, ofrepStreams)
	raw, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		t.Fatal(err)
	}
	forged := func(subject string, signature []byte) string {
		return base64.RawURLEncoding.EncodeToString(append(slices.Clone(signature), subject...))
	}
	for name, token := range map[string]string{
		"nothing":                   "x",
		"no base64":                 "!" + token,
		"cut":                       token[:len(token)-4],
		"cut to the signature":      token[:8],
		"with another secret":       forged(string(raw[signatureSize:]), sign(string(raw[signatureSize:]), "another")),
		"for another key":           forged(string(raw[signatureSize:])+"k1", raw[:signatureSize]),
		"not signed":                forged(string(raw[signatureSize:]), make([]byte, signatureSize)),
		"signed, of no project":     forged("x/2/", sign("x/2/", clientKey)),
		"signed, of no environment": forged("x", sign("x", clientKey)),
		"signed, of no key":         forged(sdkProduction.Project+"/2/k9", sign(sdkProduction.Project+"/2/k9", clientKey)),
	} {
		w := f.serve(t, sdkCase{path: ofrepStreams + token})
		if w.Code != 401 || !strings.Contains(w.Body.String(), "errorDetails") {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
}

// Browsers may send what providers send, and read what they read.
func TestOFREPCORS(t *testing.T) {
	f, o := newOFREPFixture(t)
	f.settings(t, func(*domain.EnvironmentSettings) {})
	etag := f.bulk(t, `{"targetingKey":"bob"}`, bearer).Header().Get("ETag")
	for _, tc := range []sdkCase{
		{path: ofrepFlags, body: `{"context":{"targetingKey":"bob"}}`, headers: bearer, status: 200},
		{path: ofrepFlags, body: `{"context":{"targetingKey":"bob"}}`, headers: bearer + "|If-None-Match: " + etag, status: 304},
		{path: ofrepFlags, body: `{`, headers: bearer, status: 400},
		{path: ofrepFlags, body: `{}`, status: 401},
		{path: ofrepFlags + "/checkout", body: `{"context":{"targetingKey":"bob"}}`, headers: bearer, status: 200},
		{path: ofrepFlags + "/no", body: `{"context":{"targetingKey":"bob"}}`, headers: bearer, status: 404},
		{method: "GET", path: ofrepStreams + "no", status: 401},
	} {
		if tc.method == "" {
			tc.method = "POST"
		}
		tc.headers += "|Origin: https://shop.example"
		w := f.serve(t, tc)
		h := w.Header()
		if w.Code != tc.status || h.Get("Access-Control-Allow-Origin") != "*" || h.Get("Access-Control-Expose-Headers") != "ETag, Retry-After" {
			t.Errorf("%s %s: %d %v", tc.path, tc.body, w.Code, h)
		}
	}
	for _, path := range []string{ofrepFlags, ofrepFlags + "/checkout", streamPath(t, o, f)} {
		w := f.serve(t, sdkCase{method: http.MethodOptions, path: path, headers: "Origin: https://shop.example|Access-Control-Request-Method: POST|Access-Control-Request-Headers: authorization"})
		h := w.Header()
		if w.Code != 204 || w.Body.Len() != 0 || h.Get("Access-Control-Allow-Origin") != "*" || !strings.Contains(h.Get("Access-Control-Allow-Methods"), "POST") || h.Get("Access-Control-Max-Age") == "" {
			t.Errorf("%s: %d %v", path, w.Code, h)
		}
		for _, name := range []string{"authorization", "x-api-key", "content-type", "if-none-match", "last-event-id"} {
			if !slices.Contains(strings.Split(h.Get("Access-Control-Allow-Headers"), ", "), name) {
				t.Errorf("%s does not allow %s", path, name)
			}
		}
	}
}
