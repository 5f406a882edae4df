package httpapi

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"flagledger/domain"
	"flagledger/domain/evaluation"
)

func TestSDKIdentities(t *testing.T) {
	f := newSDKFixture(t, sdkShop()...)
	f.commit(t, time.Second,
		domain.IdentityOverrideSet{Environment: "production", Identity: "surrogate of vip", Feature: "checkout", Enabled: false, Value: evaluation.String("concierge")},
		domain.IdentityOverrideSet{Environment: "production", Identity: "surrogate of vip", Feature: "New_Search", Enabled: true, Variant: "list"},
		domain.IdentityOverrideSet{Environment: "production", Identity: "surrogate of seven", Feature: "checkout", Enabled: true, Value: evaluation.Int(7)},
		domain.IdentityOverrideSet{Environment: "production", Identity: "surrogate of none", Feature: "checkout", Enabled: true, Value: evaluation.Null()},
	)
	const identities = "/api/v1/identities/"
	beta := `"feature_state_value":"one page","environment":2,"identity":null,"feature_segment":null,"enabled":true,"variant":null,"reason":"TARGETING_MATCH; segment=Beta users"`
	f.run(t, []sdkCase{
		{name: "no identifier", path: identities, status: 200, contains: `={"detail":"Missing identifier"}`},
		{name: "blank identifier", path: identities + "?identifier=", status: 200, contains: `={"detail":"Missing identifier"}`},
		{name: "an identifier of blanks", path: identities, body: `{"identifier":"  ","traits":[{"trait_key":"email","trait_value":"z@example.com"}]}`, status: 200,
			contains: `{"identifier":"768abe95b043d9f9989e43d1655bd4bfcb99569eba29503dcf9e564815dfb6d2","traits":[{"id":null,"trait_key":"email","trait_value":"z@example.com","transient":true}],`},
		{name: "and in the query", path: identities + "?identifier=%20%09", status: 200, contains: `"traits":[],"flags":[`, lacks: `"identifier":" `},
		{name: "traits", body: `{"identifier":"ada","traits":[{"trait_key":"email","trait_value":"ada@example.com"},{"trait_key":"age","trait_value":36}]}`, path: identities, status: 200,
			contains: `{"identifier":"ada","traits":[{"id":null,"trait_key":"age","trait_value":36,"transient":false},{"id":null,"trait_key":"email","trait_value":"ada@example.com","transient":false}],"flags":[{"id":8,`},
		{name: "are stored", path: identities + "?identifier=ada", status: 200, contains: beta},
		{name: "one feature", path: identities + "?identifier=ada&feature=checkout", status: 200, contains: beta},
		{name: "one unknown feature", path: identities + "?identifier=ada&feature=no", status: 404, contains: `={"detail":"Given feature not found"}`},
		{name: "one feature by POST", path: identities + "?feature=checkout", body: `{"identifier":"ada"}`, status: 200, contains: beta},
		{name: "transient traits overlay", path: identities, body: `{"identifier":"ada","traits":[{"trait_key":"email","trait_value":"x","transient":true},{"trait_key":"age","transient":"true","trait_value":null}]}`, status: 200,
			contains: `"traits":[{"id":null,"trait_key":"email","trait_value":"x","transient":true}],`, lacks: "one page"},
		{name: "and are not stored", path: identities + "?identifier=ada", status: 200, contains: `"trait_key":"age","trait_value":36,"transient":false},{"id":null,"trait_key":"email","trait_value":"ada@example.com"`},
		{name: "a transient identity that exists", path: identities, body: `{"identifier":"ada","transient":true,"traits":[{"trait_key":"x","trait_value":1}]}`, status: 200,
			contains: `"ada@example.com","transient":false},{"id":null,"trait_key":"x","trait_value":1,"transient":true}],`},
		{name: "a transient identity that does not", path: identities + "?identifier=nobody&transient=true", status: 200, contains: `{"identifier":"nobody","traits":[],`},
		{name: "an identity that is not transient", path: identities + "?identifier=someone&transient=false", status: 200, contains: `{"identifier":"someone","traits":[],`},
		{name: "null deletes", path: identities, body: `{"identifier":"ada","traits":[{"trait_key":"email","trait_value":null},{"trait_key":"none","trait_value":null}]}`, status: 200,
			contains: `"traits":[{"id":null,"trait_key":"age","trait_value":36,"transient":false}],`, lacks: "one page"},
		{name: "the last of two counts", path: identities, body: `{"identifier":"ada","traits":[{"trait_key":"age","trait_value":1},{"trait_key":"age","trait_value":36}]}`, status: 200, contains: `"trait_value":36`},
		{name: "number forms", path: identities, body: `{"identifier":"n","traits":[{"trait_key":"a","trait_value":21},{"trait_key":"b","trait_value":21.0},{"trait_key":"c","trait_value":"21"},{"trait_key":"d","trait_value":-1.5e3},{"trait_key":"e","trait_value":true},{"trait_key":"f","trait_value":18446744073709551616}]}`, status: 200,
			contains: `"trait_key":"a","trait_value":21,"transient":false},{"id":null,"trait_key":"b","trait_value":21.0,"transient":false},{"id":null,"trait_key":"c","trait_value":"21","transient":false},{"id":null,"trait_key":"d","trait_value":-1500.0,"transient":false},{"id":null,"trait_key":"e","trait_value":true,"transient":false},{"id":null,"trait_key":"f","trait_value":"18446744073709551616",`},
		{name: "lists and objects become texts", path: identities, body: `{"identifier":"l","traits":[{"trait_key":"a","trait_value":["it's",1,2.50,true,null,{"k":"\u00e9\n\u0001"}]},{"trait_key":"b","trait_value":{"x":[],"y":{}}}]}`, status: 200,
			contains: `"trait_value":"[\"it's\", 1, 2.5, True, None, {'k': 'é\\n\\x01'}]","transient":false},{"id":null,"trait_key":"b","trait_value":"{'x': [], 'y': {}}"`},
		{name: "an identity override", path: identities + "?identifier=vip", status: 200, contains: `"feature_state_value":"concierge","environment":2,"identity":null,"feature_segment":null,"enabled":false,"variant":null,"reason":"TARGETING_MATCH; segment=identity_overrides"`},
		{name: "an identity override that is a number", path: identities + "?identifier=seven&feature=checkout", status: 200, contains: `"feature_state_value":7,`},
		{name: "an identity override that is null", path: identities + "?identifier=none&feature=checkout", status: 200, contains: `"feature_state_value":null,`},
		{name: "an identity override with a variant", path: identities + "?identifier=vip", status: 200, contains: `"feature_state_value":"list","environment":2,"identity":null,"feature_segment":null,"enabled":true,"variant":"list","reason":"TARGETING_MATCH; segment=identity_overrides"`},
		{name: "of a transient identity too", path: identities + "?identifier=vip&transient=1&feature=checkout", status: 200, contains: "concierge"},
		{name: "a split", path: identities + "?identifier=ada&feature=new_search", status: 200, contains: `"reason":"SPLIT; weight=`},
		{name: "unknown fields", path: identities, body: `{"identifier":"u","new":[{"a":{}}],"traits":[{"trait_key":"k","trait_value":"v","more":[1]}]}`, status: 200, contains: `"trait_key":"k"`},
		{name: "null traits, number as identifier", path: identities, body: `{"identifier":17,"traits":null,"transient":null}`, status: 200, contains: `{"identifier":"17","traits":[],`},
		{name: "escapes", path: identities, body: `{"identifier":"\ud83d\ude00 \"\\\/<","traits":[{"trait_key":"\u006b","trait_value":"\t"}]}`, status: 200, contains: `{"identifier":"😀 \"\\/<","traits":[{"id":null,"trait_key":"k","trait_value":"\t"`},
		{name: "a form", path: identities, headers: "Content-Type: application/x-www-form-urlencoded; charset=utf-8", body: `identifier=form&traits[1]trait_key=b&traits[1]trait_value=2&traits[0]trait_key=a&traits[0]trait_value=1&traits[0].transient=true`, status: 200,
			contains: `"traits":[{"id":null,"trait_key":"b","trait_value":"2","transient":false},{"id":null,"trait_key":"a","trait_value":"1","transient":true}],`},
	})
	if f.persons.Get(sdkProduction, "nobody") != nil {
		t.Error("a transient identity was stored")
	}
	if f.persons.Get(sdkProduction, "someone") == nil {
		t.Error("an identity that is not transient was not stored")
	}
}

// A body is cut off at the limit also where its length is not announced.
func TestSDKEndlessBody(t *testing.T) {
	f := newSDKFixture(t)
	server := httptest.NewServer(f.handler)
	defer server.Close()
	body, feed := io.Pipe()
	go func() {
		var err error
		for err == nil {
			_, err = io.WriteString(feed, strings.Repeat(" ", 10_000))
		}
	}()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+"/api/v1/identities/", body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Environment-Key", clientKey)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusRequestEntityTooLarge || !resp.Close {
		t.Errorf("%s, connection closed: %v", resp.Status, resp.Close)
	}
}

func TestSDKIdentitiesBadInput(t *testing.T) {
	f := newSDKFixture(t, sdkShop()...)
	f.Limits.Traits = 3
	f.BodyLimit = 10_000
	parse := func(what string) string { return `={"detail":"JSON parse error - ` + what + `"}` }
	long := strings.Repeat("é", 2001)
	tests := []sdkCase{
		{body: `{`, status: 400, contains: parse("Expecting property name enclosed in double quotes: line 1 column 2 (char 1)")},
		{body: "{\n \"a\" 1}", status: 400, contains: parse("Expecting ':' delimiter: line 2 column 6 (char 7)")},
		{body: `{"é":1 "b":2}`, status: 400, contains: parse("Expecting ',' delimiter: line 1 column 8 (char 7)")},
		{body: `{"a":1,}`, status: 400, contains: parse("Illegal trailing comma before end of container: line 1 column 8 (char 7)")},
		{body: `{"a":}`, status: 400, contains: parse("Expecting value: line 1 column 6 (char 5)")},
		{body: `{"a":tru}`, status: 400, contains: parse("Expecting value: line 1 column 6 (char 5)")},
		{body: `{"a":NaN}`, status: 400, contains: parse("Expecting value: line 1 column 6 (char 5)")},
		{body: `{"a":01}`, status: 400, contains: parse("Expecting ',' delimiter: line 1 column 7 (char 6)")},
		{body: `{"a":1.}`, status: 400, contains: parse("Expecting ',' delimiter: line 1 column 7 (char 6)")},
		{body: `{"a":"`, status: 400, contains: parse("Unterminated string starting at: line 1 column 6 (char 5)")},
		{body: `{"a":"\x"}`, status: 400, contains: parse(`Invalid \\escape in string starting at: line 1 column 6 (char 5)`)},
		{body: "{\"a\":\"\n\"}", status: 400, contains: parse("Invalid control character at: line 1 column 7 (char 6)")},
		{body: `{} {}`, status: 400, contains: parse("Extra data: line 1 column 4 (char 3)")},
		{body: "{\"identifier\":\"\xff\"}", status: 400, contains: `{"detail":"JSON parse error - 'utf-8' codec can't decode`},
		{body: `{"identifier":"a","traits":[{"trait_key":"k","trait_value":1e999}]}`, status: 400, contains: "Out of range float value: line 1 column 60 (char 59)"},
		{body: strings.Repeat(`[`, 9_000), status: 400, contains: "Nested too deeply"},
		{body: strings.Repeat(`{"a":`, 1_000), status: 400, contains: "Nested too deeply"},
		{body: `{"identifier":"a","traits":[{"trait_key":"k","trait_value":` + strings.Repeat(`[`, 200) + `}]}`, status: 400, contains: "Nested too deeply"},
		{body: `[]`, status: 400, contains: `={"non_field_errors":["Invalid data. Expected a dictionary, but got list."]}`},
		{body: `"x"`, status: 400, contains: `but got str."`},
		{body: `1.5`, status: 400, contains: `but got float."`},
		{body: `{"identifier":true}`, status: 400, contains: `={"identifier":["Not a valid string."]}`},
		{body: `{"identifier":"a\u0000b"}`, status: 400, contains: `={"identifier":["Null characters are not allowed."]}`},
		{body: `{"identifier":"` + long + `"}`, status: 400, contains: `={"identifier":["Ensure this field has no more than 2000 characters."]}`},
		{body: `{"transient":"maybe"}`, status: 400, contains: `={"transient":["Must be a valid boolean."]}`},
		{body: `{"transient":[]}`, status: 400, contains: `={"transient":["Must be a valid boolean."]}`},
		{body: `{"traits":{}}`, status: 400, contains: `={"traits":{"non_field_errors":["Expected a list of items but got type \"dict\"."]}}`},
		{body: `{"traits":[1]}`, status: 400, contains: `={"traits":[{"non_field_errors":["Invalid data. Expected a dictionary, but got int."]}]}`},
		{body: `{"traits":[{"trait_key":"k","trait_value":1},{}]}`, status: 400, contains: `={"traits":[{},{"trait_key":["This field is required."],"trait_value":["This field is required."]}]}`},
		{body: `{"traits":[{"trait_key":"","trait_value":1},{"trait_key":null,"trait_value":1}]}`, status: 400, contains: `={"traits":[{"trait_key":["This field may not be blank."]},{"trait_key":["This field may not be null."]}]}`},
		{body: `{"traits":[{"trait_key":"` + long[:402] + `","trait_value":1}]}`, status: 400, contains: `="` + `{"traits":[{"trait_key":["Ensure this field has no more than 200 characters."]}]}`},
		{body: `{"identifier":"a","traits":[{"trait_key":"k","trait_value":"` + long + `"}]}`, status: 400, contains: `={"traits":[{"trait_value":["Value string is too long. Must be less than 2000 character"]}]}`},
		{body: `{"identifier":"a","traits":[{"trait_key":"k","trait_value":["` + long + `"]}]}`, status: 400, contains: `={"traits":[{"trait_value":["Value string is too long. Must be less than 2000 character"]}]}`},
		{name: "too many in one request", body: `{"identifier":"a","traits":` + manyTraits("a", 4) + `}`, status: 400, contains: `={"traits":["Ensure this field has no more than 3 elements."]}`},
		{name: "as many as there may be", body: `{"identifier":"a","traits":` + manyTraits("a", 3) + `}`, status: 200},
		{name: "too many with those stored", body: `{"identifier":"a","traits":` + manyTraits("b", 1) + `}`, status: 400, contains: `={"traits":["Ensure this field has no more than 3 elements."]}`},
		{name: "another in place of one", body: `{"identifier":"a","traits":[{"trait_key":"a0","trait_value":null},{"trait_key":"b","trait_value":1}]}`, status: 200},
		{name: "too large", body: `{"identifier":"` + strings.Repeat(" ", 10_000), status: 413, contains: `={"detail":"The body is larger than the limit of 10000 bytes."}`},
		{name: "malformed form", headers: "Content-Type: application/x-www-form-urlencoded", body: "identifier=%zz", status: 400, contains: `{"detail":"Form parse error - `},
		{name: "no DELETE", method: "DELETE", status: 405},
		{name: "identifier of GET too long", path: "/api/v1/identities/?identifier=" + strings.Repeat("x", 2001), status: 400, contains: `={"identifier":["Ensure this field has no more than 2000 characters."]}`},
		{name: "identifier of GET not UTF-8", path: "/api/v1/identities/?transient=1&identifier=%ff", status: 200, contains: `{"identifier":"` + "\ufffd"},
	}
	for i := range tests {
		tests[i].contains = strings.Replace(tests[i].contains, `="`, "=", 1)
		if tests[i].path == "" {
			tests[i].path = "/api/v1/identities/"
		}
	}
	f.run(t, tests)
}

// manyTraits is a JSON list of n traits.
func manyTraits(prefix string, n int) string {
	list := make([]map[string]any, n)
	for i := range list {
		list[i] = map[string]any{"trait_key": fmt.Sprint(prefix, i), "trait_value": i}
	}
	body, _ := json.Marshal(list)
	return string(body)
}

func TestSDKAnonymous(t *testing.T) {
	f := newSDKFixture(t, sdkShop()...)
	identifier := func(body string) string {
		t.Helper()
		w := f.serve(t, sdkCase{method: "POST", path: "/api/v1/identities/", body: body})
		var answer struct{ Identifier string }
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != 200 {
			t.Fatalf("%d %s: %v", w.Code, w.Body, err)
		}
		return answer.Identifier
	}
	// sha256 of "aTrueb2.5cx", as Flagsmith has it.
	const want = "f1f52dd4119dd4004bd4501fa59484235bbc756e8e86535e02a8aea871c7f570"
	got := identifier(`{"identifier":"","traits":[{"trait_key":"c","trait_value":"x"},{"trait_key":"b","trait_value":2.5},{"trait_key":"a","trait_value":true}]}`)
	if got != want {
		t.Errorf("identifier %s, want %s", got, want)
	}
	first, second := identifier(`{}`), identifier(``)
	if !regexp.MustCompile(`^[0-9a-f]{32}$`).MatchString(first) || first == second {
		t.Errorf("identifiers without traits: %s and %s", first, second)
	}
	if f.persons.writes != 0 {
		t.Errorf("%d writes for identities without identifier", f.persons.writes)
	}
}

func TestSDKTraitRules(t *testing.T) {
	const identities, both = "/api/v1/identities/", `{"identifier":"ada","traits":[{"trait_key":"email","trait_value":"a@example.com"},{"trait_key":"plan","trait_value":"pro"}]}`
	project := func(s domain.ProjectSettings) domain.Event {
		return domain.ProjectUpdated{Name: "The MART", ProjectSettings: s}
	}
	t.Run("client keys may not set traits", func(t *testing.T) {
		f := newSDKFixture(t, sdkShop()...)
		f.settings(t, func(s *domain.EnvironmentSettings) { s.AllowClientTraits = false })
		f.run(t, []sdkCase{
			{name: "client", path: identities, body: both, status: 200, contains: `{"identifier":"ada","traits":[],`, lacks: "one page"},
			{name: "server", path: identities, body: both, key: serverKey, status: 200, contains: "one page"},
			{name: "one trait", path: "/api/v1/traits/", body: `{"identity":{"identifier":"ada"},"trait_key":"k","trait_value":1}`, status: 400, contains: `={"non_field_errors":["Setting traits not allowed with client key."]}`},
			{name: "one trait with a server key", path: "/api/v1/traits/", body: `{"identity":{"identifier":"ada"},"trait_key":"k","trait_value":1}`, key: serverKey, status: 200},
		})
	})
	t.Run("traits are not stored", func(t *testing.T) {
		f := newSDKFixture(t, sdkShop()...)
		f.commit(t, time.Second, project(domain.ProjectSettings{}))
		f.run(t, []sdkCase{
			{name: "but evaluated", path: identities, body: both, status: 200, contains: "one page"},
			{name: "once", path: identities + "?identifier=ada", status: 200, contains: `{"identifier":"ada","traits":[],`, lacks: "one page"},
			{name: "one trait", path: "/api/v1/traits/", body: `{"identity":{"identifier":"ada"},"trait_key":"k","trait_value":1}`, status: 403, contains: `={"detail":"Organisation is not authorised to store traits."}`},
		})
	})
	t.Run("declared traits", func(t *testing.T) {
		f := newSDKFixture(t, sdkShop()...)
		f.commit(t, time.Second, project(domain.ProjectSettings{PersistTraits: true, StrictContexts: true}),
			domain.ContextSet{Key: "email", Type: domain.StringContext, Privacy: domain.Sensitive})
		f.run(t, []sdkCase{
			{name: "sensitive ones are evaluated, undeclared ones dropped", path: identities, body: both, status: 200, contains: "one page", lacks: "pro\""},
			{name: "neither is stored", path: identities + "?identifier=ada", status: 200, contains: `{"identifier":"ada","traits":[],`},
			{name: "one alone", path: "/api/v1/traits/", body: `{"identity":{"identifier":"ada"},"trait_key":"email","trait_value":"a"}`, status: 200, contains: `"trait_value":"a","transient":true}`},
			{name: "several", method: "PUT", path: "/api/v1/traits/bulk/", body: `[{"identity":{"identifier":"ada"},"trait_key":"plan","trait_value":"pro"}]`, status: 200, contains: `"trait_value":"pro","transient":true}]`},
			{name: "a sum, undeclared", path: "/api/v1/traits/increment-value/", body: `{"trait_key":"visits","increment_by":1,"identifier":"ada"}`, status: 400, contains: `["The trait \"visits\" is never stored, so that it cannot count: it is not declared`},
			{name: "a sum, sensitive", path: "/api/v1/traits/increment-value/", body: `{"trait_key":"email","increment_by":1,"identifier":"ada"}`, status: 400, contains: `it is declared sensitive."]`},
			{name: "nothing is stored", path: identities + "?identifier=ada", status: 200, contains: `{"identifier":"ada","traits":[],`},
		})
	})
	t.Run("sensitive data is hidden", func(t *testing.T) {
		f := newSDKFixture(t, sdkShop()...)
		f.settings(t, func(s *domain.EnvironmentSettings) { s.HideSensitiveData = true })
		f.run(t, []sdkCase{
			{path: identities, body: both, status: 200, contains: `{"identifier":"ada","traits":[],"flags":[{"id":null,`},
		})
	})
	t.Run("what is the same is not stored again", func(t *testing.T) {
		f := newSDKFixture(t, sdkShop()...)
		for range 3 {
			f.serve(t, sdkCase{method: "POST", path: identities, body: both})
		}
		if f.persons.writes != 1 {
			t.Errorf("%d writes, want 1", f.persons.writes)
		}
	})
}

// Without the environment's key in it, an identity is on the same side of a
// split everywhere.
func TestSDKIdentityKey(t *testing.T) {
	f := newSDKFixture(t, sdkShop()...)
	differs := 0
	for i := range 100 {
		path := fmt.Sprintf("/api/v1/identities/?transient=1&feature=New_Search&identifier=user-%d", i)
		composite := f.serve(t, sdkCase{path: path}).Body.String()
		snapshot, _ := f.Views.SnapshotByKey(clientKey)
		flag := snapshot.Evaluation.Flag("New_Search")
		for key, same := range map[string]bool{clientKey + "_" + fmt.Sprint("user-", i): true, fmt.Sprint("user-", i): false} {
			o := snapshot.Evaluation.EvaluateFlag(flag, &evaluation.Identity{Identifier: "other", Key: key})
			if same && string(o.Body) != composite {
				t.Errorf("user-%d: %s, want %s", i, composite, o.Body)
			} else if !same && string(o.Body) != composite {
				differs++
			}
		}
	}
	if differs == 0 {
		t.Error("the environment's key makes no difference")
	}
	f.settings(t, func(s *domain.EnvironmentSettings) { s.CompositeIdentityHashing = false })
	snapshot, _ := f.Views.SnapshotByKey(clientKey)
	for i := range 100 {
		got := f.serve(t, sdkCase{path: fmt.Sprintf("/api/v1/identities/?transient=1&feature=New_Search&identifier=user-%d", i)}).Body.String()
		o := snapshot.Evaluation.EvaluateFlag(snapshot.Evaluation.Flag("New_Search"), &evaluation.Identity{Key: fmt.Sprint("user-", i)})
		if got != string(o.Body) {
			t.Errorf("user-%d: %s, want %s", i, got, o.Body)
		}
	}
}

func TestSDKBulkIdentities(t *testing.T) {
	f := newSDKFixture(t, sdkShop()...)
	const path = "/api/v1/bulk-identities/"
	f.run(t, []sdkCase{
		{path: path, body: `{"data":[{"identifier":"a","traits":[{"trait_key":"k","trait_value":1}]},{"identifier":"b","traits":[{"trait_key":"k","trait_value":2,"transient":true}]},{"identifier":"c","transient":true},{}]}`, status: 200},
		{path: path, body: `{"data":[{"identifier":"d"},{"identifier":[]}]}`, status: 400, contains: `={"data":[{},{"identifier":["Not a valid string."]}]}`},
		{path: path, body: `{}`, status: 400, contains: `={"data":["This field is required."]}`},
		{path: path, body: `{"data":1}`, status: 400, contains: `={"data":["Expected a list of items but got type \"int\"."]}`},
		{path: path, body: `[]`, status: 400, contains: `={"non_field_errors":["Invalid data. Expected a dictionary, but got list."]}`},
		{name: "100", path: path, body: `{"data":[{"identifier":"e"}` + strings.Repeat(`,{"identifier":"e"}`, 99) + `]}`, status: 200},
		{name: "101", path: path, body: `{"data":[{"identifier":"f"}` + strings.Repeat(`,{"identifier":"f"}`, 100) + `]}`, status: 400, contains: `={"data":["Ensure this field has no more than 100 elements."]}`},
	})
	if a, b := f.persons.Get(sdkProduction, "a"), f.persons.Get(sdkProduction, "b"); len(a.Traits) != 1 || len(b.Traits) != 0 {
		t.Errorf("stored %v and %v", a, b)
	}
	for _, identifier := range []string{"c", "d", "f", ""} {
		if f.persons.Get(sdkProduction, identifier) != nil {
			t.Errorf("%q was stored", identifier)
		}
	}
}
