package httpapi

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"
)

// Whatever a body, flag or hint is, the answer is one of the protocol's, is JSON,
// and names what it is an answer to.
func FuzzOFREP(f *testing.F) {
	fixture, o := newOFREPFixture(f, ofrepShop()...)
	o.wait = 0
	for _, body := range []string{
		`{"context":{"targetingKey":"bob","email":"a@example.com","age":21,"n":1.5,"on":true,"none":null,"o":{"a":[1,{}]}}}`,
		`{"context":{"targetingKey":"","age":9223372036854775808}}`, `{"context":{}}`, `{"context":null}`, `{}`, `[]`, ``, `null`, `"x"`,
		`{"context":{"targetingKey":17}}`, `{"context":{"a":1,"a":2},"context":{"targetingKey":"x"}}`, `{"context":{"\ud800":"\u0000"}}`,
		`{"context":{"$.identity.key":"x","company":1e308}}`, "{\"context\":{\"targetingKey\":\"\xff\"}}", `{"context":{"a":` + strings.Repeat("[", 200),
	} {
		f.Add(body, "checkout", "2-1")
		f.Add(body, "New_Search", "1772359200")
	}
	f.Add(`{"context":{"targetingKey":"bob"}}`, "a/b%", `"2-99999999999999999999"`)
	f.Fuzz(func(t *testing.T, body, flag, hint string) {
		query := "?flagConfigEtag=" + url.QueryEscape(hint) + "&flagConfigLastModified=" + url.QueryEscape(hint)
		ask := func(path, match string) *httptest.ResponseRecorder {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, strings.NewReader(body))
			r.Header.Set("X-API-Key", clientKey)
			if match != "" {
				r.Header.Set("If-None-Match", match)
			}
			w := httptest.NewRecorder()
			fixture.handler.ServeHTTP(w, r)
			return w
		}
		var all struct {
			Flags     []json.RawMessage
			ErrorCode string
		}
		w := ask(ofrepFlags+query, "")
		if err := json.Unmarshal(w.Body.Bytes(), &all); err != nil {
			t.Fatalf("%s: %v", w.Body, err)
		}
		switch {
		case w.Code == 200 && len(all.Flags) > 0 && w.Header().Get("ETag") != "":
			if again := ask(ofrepFlags, w.Header().Get("ETag")); again.Code != 304 {
				t.Errorf("the same again: %d", again.Code)
			}
		case w.Code == 400 && (all.ErrorCode == codeParseError || all.ErrorCode == codeInvalidContext):
		default:
			t.Errorf("all: %d %s", w.Code, w.Body)
		}
		if flag == "" || !utf8.ValidString(flag) {
			return
		}
		var one struct {
			Key       *string
			ErrorCode string
		}
		w = ask(ofrepFlags+"/"+url.PathEscape(flag), "")
		if err := json.Unmarshal(w.Body.Bytes(), &one); err != nil || one.Key == nil || *one.Key != flag {
			t.Errorf("%q: %s: %v", flag, w.Body, err)
		}
		if (w.Code == 200) != (one.ErrorCode == "") || w.Code != 200 && w.Code != 400 && w.Code != 404 || all.ErrorCode != "" && one.ErrorCode != all.ErrorCode {
			t.Errorf("one: %d %s", w.Code, w.Body)
		}
	})
}

// A text is sent as an object only if every reader takes it for one.
func FuzzIsObject(f *testing.F) {
	for _, text := range []string{`{}`, ` {"a":[1,2.5e3,null,true,{"b":"\u00e9\n"}]} `, `{"a":1,}`, `{"a":01}`, `{"a":NaN}`, `[]`, `"{}"`, `{"a":1}{}`, "{\"a\":\"\x01\"}", "{\"\xff\":1}", ``} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if !isObject(text) {
			return
		}
		var object map[string]any
		if err := json.Unmarshal([]byte(text), &object); err != nil || object == nil {
			t.Errorf("%q: %v", text, err)
		}
	})
}
