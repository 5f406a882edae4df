package httpapi

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

// Whatever is sent, the answer is JSON, and nobody's fault but the sender's.
func FuzzSDKIdentities(f *testing.F) {
	for _, body := range []string{
		``, `{}`, `{"identifier":"ada","traits":[{"trait_key":"email","trait_value":"ada@example.com","transient":false}],"transient":true}`,
		`{"identifier":17,"traits":[{"trait_key":"a","trait_value":[1,{"b":[null,"it's",-2.5e-3]}]},{"trait_key":"a","trait_value":null}]}`,
		`{"identifier":"\ud83d\ude00\u0000","traits":{}}`, `{"traits":[{"trait_key":"k","trait_value":1e999}]}`, `[[[[`, `{"a":"\`, "\xff", `{"a":-}`,
	} {
		f.Add(body, false)
	}
	f.Add(`identifier=ada&traits[0]trait_key=a&traits[0]trait_value=1&identity.x=1&[=2&.=3`, true)
	fixture := newSDKFixture(f, sdkShop()...)
	f.Fuzz(func(t *testing.T, body string, form bool) {
		contentType := "Content-Type: application/json"
		if form {
			contentType = "Content-Type: application/x-www-form-urlencoded"
		}
		w := fixture.serve(t, sdkCase{method: "POST", path: "/api/v1/identities/", body: body, headers: contentType})
		if w.Code != http.StatusOK && w.Code != http.StatusBadRequest {
			t.Errorf("%q: %d %s", body, w.Code, w.Body)
		}
		if !json.Valid(w.Body.Bytes()) {
			t.Errorf("%q: the answer is not JSON: %s", body, w.Body)
		}
		if !form && body != "" && w.Code == http.StatusOK && !json.Valid([]byte(body)) {
			t.Errorf("%q is not JSON and was taken: %s", body, w.Body)
		}
	})
}

// The reader takes what encoding/json takes, and gives the same strings.
func FuzzJSONReader(f *testing.F) {
	for _, source := range []string{`{"a":[1,2.5e3,"x\n\u00e9",true,false,null,{}]}`, `"\ud800"`, ` [ ] `, `[1,]`, `{,}`, `1 2`, "\"\t\"", `-0`, `1e5`} {
		f.Add(source)
	}
	f.Fuzz(func(t *testing.T, source string) {
		r := newJSONReader(source)
		r.skip()
		r.end()
		valid := json.Valid([]byte(source)) && strings.ToValidUTF8(source, "") == source
		if (r.err == nil) != valid && !strings.Contains(errorText(r.err), "Nested too deeply") && !strings.Contains(errorText(r.err), "Out of range") {
			t.Fatalf("%q: error %v, encoding/json says %v", source, r.err, valid)
		}
		var want string
		if valid && json.Unmarshal([]byte(source), &want) == nil && strings.HasPrefix(strings.TrimSpace(source), `"`) {
			r := newJSONReader(source)
			if got := r.text(); got != want {
				t.Errorf("%q: read %q, want %q", source, got, want)
			}
		}
		r = newJSONReader(source)
		_ = r.appendPython(nil)
	})
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
