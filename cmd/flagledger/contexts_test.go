package main

import (
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// A strict project takes what it declares: by whatever route traits come in, a sensitive one decides flags and is not stored, and an undeclared one is
// dropped. Neither is in what is told of the identity later, also after a restart, nor in the clear in any file.
func TestSensitiveTraits(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := ready(t, "--data-dir", dir, "--log-level", "debug")
	p.openShop("checkout")
	for key, declaration := range map[string]string{
		"plan": `{"type":"string"}`, "visits": `{"type":"integer"}`,
		"diagnosis": `{"type":"string","privacy":"sensitive"}`, "weight": `{"type":"integer","privacy":"sensitive"}`,
	} {
		p.do(request{method: http.MethodPut, path: shop + "/contexts/" + key, body: declaration}, nil)
	}
	p.do(request{method: http.MethodPatch, path: shop, body: `{"strict_contexts":true}`}, nil)
	p.do(request{path: shop + "/segments", body: `{"key":"ill","rules":[{"field":"diagnosis","operator":"regex","values":["^ill-"]}]}`}, nil)
	p.do(request{method: http.MethodPut, path: live + "/features/checkout/segment-overrides/ill", body: `{"enabled":true,"value":"careful"}`}, nil)

	const traits = `"traits":[{"trait_key":"plan","trait_value":"plan-9d2e-public"},{"trait_key":"diagnosis","trait_value":"ill-9d2e-sensitive"},{"trait_key":"shoe","trait_value":"shoe-9d2e-undeclared"}]`
	for _, tt := range []struct{ method, path, body, contains string }{
		{"POST", "/api/v1/identities/", `{"identifier":"ada",` + traits + `}`, `"careful"`},
		{"POST", "/api/v1/identities/", `{"identifier":"bob","transient":true,` + traits + `}`, `"careful"`},
		{"POST", "/api/v1/bulk-identities/", `{"data":[{"identifier":"ada",` + traits + `}]}`, ""},
		{"POST", "/api/v1/traits/", `{"identity":{"identifier":"ada"},"trait_key":"diagnosis","trait_value":"ill-9d2e-sensitive"}`, ""},
		{"POST", "/api/v1/traits/", `{"identity":{"identifier":"ada"},"trait_key":"shoe","trait_value":"shoe-9d2e-undeclared"}`, ""},
		{"PUT", "/api/v1/traits/bulk/", `[{"identity":{"identifier":"ada"},"trait_key":"diagnosis","trait_value":"ill-9d2e-sensitive"},{"identity":{"identifier":"eve"},"trait_key":"shoe","trait_value":"shoe-9d2e-undeclared"}]`, ""},
		{"POST", "/api/v1/traits/increment-value/", `{"identifier":"ada","trait_key":"weight","increment_by":840629173}`, "never stored, so that it cannot count"},
		{"POST", "/api/v1/traits/increment-value/", `{"identifier":"ada","trait_key":"size","increment_by":840629173}`, "never stored, so that it cannot count"},
		{"POST", "/api/v1/traits/increment-value/", `{"identifier":"ada","trait_key":"visits","increment_by":730517284}`, ""},
		{"POST", "/ofrep/v1/evaluate/flags/checkout", `{"context":{"targetingKey":"ada","diagnosis":"ill-9d2e-sensitive","shoe":"shoe-9d2e-undeclared"}}`, `"careful"`},
		{"POST", "/ofrep/v1/evaluate/flags", `{"context":{"targetingKey":"ada","diagnosis":"ill-9d2e-sensitive","shoe":"shoe-9d2e-undeclared"}}`, `"careful"`},
		{"POST", live + "/evaluate", `{"identifier":"ada","traits":{"diagnosis":"ill-9d2e-sensitive"}}`, `"careful"`},
		{"POST", live + "/rollback", `{"version":1,"dry_run":true,"impact":{"identities":[{"identifier":"ada","traits":{"diagnosis":"ill-9d2e-sensitive"}}]}}`, ""},
	} {
		r := request{method: tt.method, path: tt.path, body: tt.body, header: map[string]string{"X-Environment-Key": clientKey, "X-API-Key": clientKey}}
		if a := p.send(t.Context(), r); a.err != nil || a.status >= 500 || a.status >= 400 != strings.HasPrefix(tt.contains, "never") || !strings.Contains(string(a.body), tt.contains) {
			t.Errorf("%s %s: %s, want %s in it", tt.path, tt.body, a.body, tt.contains)
		}
	}

	unwanted := map[string]string{"a sensitive trait": "9d2e-sensitive", "an undeclared trait": "9d2e-undeclared", "a sensitive or undeclared number": "840629173"}
	isStored := func(p *program) {
		t.Helper()
		told := string(p.do(request{path: live + "/identities/ada"}, nil).body)
		if !strings.Contains(told, "plan-9d2e-public") || !strings.Contains(told, "730517284") {
			t.Errorf("the identity has lost what may be stored: %s", told)
		}
		lacks(t, "the identity", told, unwanted)
		again := string(p.do(request{path: "/api/v1/identities/?identifier=ada", header: map[string]string{"X-Environment-Key": clientKey}}, nil).body)
		if strings.Contains(again, `"careful"`) {
			t.Errorf("what was not stored still decides: %s", again)
		}
		lacks(t, "the flags", again, unwanted)
	}
	isStored(p)
	p.stop(syscall.SIGTERM)
	restarted := ready(t, "--data-dir", dir) // what is stored is sealed, and only read again here
	isStored(restarted)
	restarted.stop(syscall.SIGTERM)

	lacks(t, "the log", p.stderr.String(), unwanted)
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		lacks(t, path, string(content), unwanted)
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// What was stored before a trait was declared sensitive, or the project strict, decides nothing and is told nowhere from then on, and is deleted: of
// everybody, also of those who do not come back.
func TestTraitsThatAreKeptNoMore(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := ready(t, "--data-dir", dir)
	p.openShop("checkout")
	p.do(request{path: shop + "/segments", body: `{"key":"ill","rules":[{"field":"diagnosis","operator":"regex","values":["^ill-"]}]}`}, nil)
	p.do(request{path: shop + "/segments", body: `{"key":"tall","rules":[{"field":"size","operator":"gt","values":[1]}]}`}, nil)
	p.do(request{method: http.MethodPut, path: live + "/features/checkout/segment-overrides/ill", body: `{"enabled":true,"value":"careful"}`}, nil)
	sdk := map[string]string{"X-Environment-Key": clientKey, "X-API-Key": clientKey}
	said := func(method, path, body string) string {
		t.Helper()
		return string(p.do(request{method: method, path: path, body: body, header: sdk}, nil).body)
	}
	const traits = `"traits":[{"trait_key":"plan","trait_value":"pro"},{"trait_key":"diagnosis","trait_value":"ill-7c1a"},{"trait_key":"size","trait_value":7261834}]`
	for _, who := range []string{"ada", "bob", "eve"} {
		said("POST", "/api/v1/identities/", `{"identifier":"`+who+`",`+traits+`}`)
	}
	ways := []struct{ method, path, body string }{
		{"GET", "/api/v1/identities/?identifier=ada&transient=true", ""},
		{"GET", "/api/v1/identities/?identifier=bob", ""},
		{"POST", "/api/v1/identities/", `{"identifier":"bob","traits":[{"trait_key":"plan","trait_value":"max"}]}`},
		{"POST", "/ofrep/v1/evaluate/flags/checkout", `{"context":{"targetingKey":"ada"}}`},
		{"POST", live + "/evaluate", `{"identifier":"ada"}`},
		{"GET", live + "/identities", ""},
		{"GET", live + "/identities/ada", ""},
		{"POST", shop + "/changes", `{"commands":[{"command":"set_feature_state","environment":"live","feature":"checkout","value":"impact"}],"dry_run":true,"impact":{"stored":10}}`},
	}
	tell := func(what string) (n int) {
		t.Helper()
		for _, w := range ways[:7] {
			if strings.Contains(said(w.method, w.path, w.body), what) {
				n++
			}
		}
		return n
	}
	if diagnosis, size, careful := tell("ill-7c1a"), tell("7261834"), tell(`"careful"`); diagnosis < 4 || size < 4 || careful < 4 {
		t.Fatalf("what is to be forgotten is hardly known: %d, %d, %d", diagnosis, size, careful)
	}

	p.do(request{method: http.MethodPut, path: shop + "/contexts/diagnosis", body: `{"type":"string","privacy":"sensitive"}`}, nil)
	p.do(request{method: http.MethodPut, path: shop + "/contexts/plan", body: `{"type":"string"}`}, nil)
	if diagnosis, careful := tell("ill-7c1a"), tell(`"careful"`); diagnosis+careful > 0 || tell("7261834") < 4 {
		t.Errorf("a sensitive trait is told %d times, and decides %d times", diagnosis, careful)
	}
	if a := said(ways[7].method, ways[7].path, ways[7].body); strings.Contains(a, `"careful"`) || !strings.Contains(a, `"count":3`) {
		t.Errorf("impact looks at a sensitive trait: %s", a)
	}
	const deleted = `(traits were deleted) that are not kept any more" project=shop environment=live identities=`
	p.awaitStderr(regexp.MustCompile(deleted))
	p.do(request{method: http.MethodPut, path: shop + "/contexts/size", body: `{"type":"integer"}`}, nil)
	p.do(request{method: http.MethodPatch, path: shop, body: `{"strict_contexts":true}`}, nil)
	if tell("7261834") < 4 {
		t.Error("a declared trait is lost in a strict project")
	}
	p.do(request{method: http.MethodPatch, path: shop, body: `{"strict_contexts":false}`}, nil)
	p.do(request{method: http.MethodDelete, path: shop + "/segments/tall?reason=r&ticket=T-1"}, nil)
	p.do(request{method: http.MethodDelete, path: shop + "/contexts/size?reason=r&ticket=T-1"}, nil)
	p.do(request{method: http.MethodPatch, path: shop, body: `{"strict_contexts":true}`}, nil)
	if n := tell("7261834"); n > 0 {
		t.Errorf("an undeclared trait is told %d times in a strict project", n)
	}

	// It is deleted, not hidden: when it is declared otherwise, it does not come back.
	p.awaitStderr(regexp.MustCompile(deleted + `(?s:.*?)` + deleted))
	p.do(request{method: http.MethodPatch, path: shop, body: `{"strict_contexts":false}`}, nil)
	p.do(request{method: http.MethodPut, path: shop + "/contexts/diagnosis", body: `{"type":"string"}`}, nil)
	if tell("ill-7c1a")+tell("7261834") > 0 || tell(`"pro"`) < 3 {
		t.Errorf("what was to be deleted is there again: %s", said("GET", live+"/identities", ""))
	}
}
