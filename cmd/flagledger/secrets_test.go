package main

import (
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// What nobody may find where it does not belong. Each word is used, in good and in bad requests, and then looked for.
const (
	secretPerson   = "canary.person@example.com"   // who only evaluates
	secretOverride = "canary.override@example.com" // who has an override, and is erased
	secretTrait    = "canary-trait-value"
	secretWrong    = "canary-wrong-token"
	secretKey      = "canary-wrong-sdk-key"
)

// Secrets, traits and identifiers are in no log, at any level, in no refusal and in no metric; and in no file of the data directory, nor in
// the audit, but for the identifiers of persons with overrides, whom the audit names until they are erased.
func TestSecrets(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := ready(t, "--data-dir", dir, "--log-level", "debug")
	p.openShop("checkout")
	var made struct{ Token, Key string }
	p.do(request{path: "/admin/v1/tokens", body: `{"name":"ci","grants":[{"role":"admin"}]}`}, &made)
	p.do(request{path: live + "/keys", body: `{"name":"backend","kind":"server"}`}, &made)
	secrets := map[string]string{
		"the first token": rootToken, "a token": made.Token, "a server key": made.Key, "a token that is none": secretWrong, "a key that is none": secretKey,
		"the key that signs": signingKey(t, dir),
		"an identifier":      secretPerson, "an identifier with an override": secretOverride, "a trait": secretTrait,
	}
	for what, secret := range secrets {
		if secret == "" {
			t.Fatalf("%s was not made", what)
		}
	}
	sdk := map[string]string{"X-Environment-Key": clientKey}
	server := map[string]string{"X-Environment-Key": made.Key}
	wrong := map[string]string{"X-Environment-Key": secretKey}
	ofrep := map[string]string{"Authorization": "Bearer " + made.Key}
	traits := fmt.Sprintf(`"traits":[{"trait_key":"plan","trait_value":%q}]`, secretTrait)
	const evaluate = "/ofrep/v1/evaluate/flags"

	for i, step := range []struct {
		request
		status int
	}{
		{request{path: "/api/v1/identities/", header: sdk, body: `{"identifier":"` + secretPerson + `",` + traits + `}`}, 200},
		{request{path: "/api/v1/identities/?identifier=" + secretPerson, header: server}, 200},
		{request{path: "/api/v1/identities/?identifier=" + secretPerson + "&feature=moon", header: sdk}, 404},
		{request{path: "/api/v1/identities/", header: sdk, body: `{"identifier":["` + secretPerson + `"],` + traits + `}`}, 400},
		{request{path: "/api/v1/identities/", header: sdk, body: `{"identifier":"` + secretPerson + `","traits":[{"trait_key":"plan","trait_value":{"x":"` + secretTrait + `"}}]}`}, 200},
		{request{path: "/api/v1/identities/", header: sdk, body: `{"identifier":"` + secretPerson + `",` + traits}, 400},
		{request{path: "/api/v1/identities/", header: wrong, body: `{"identifier":"` + secretPerson + `"}`}, 403},
		{request{path: "/api/v1/bulk-identities/", header: sdk, body: `{"data":[{"identifier":"` + secretPerson + `",` + traits + `}]}`}, 200},
		{request{path: "/api/v1/traits/", header: sdk, body: `{"identity":{"identifier":"` + secretPerson + `"},"trait_key":"plan","trait_value":"` + secretTrait + `"}`}, 200},
		{request{path: "/api/v1/traits/increment-value/", header: sdk, body: `{"identifier":"` + secretPerson + `","trait_key":"plan","increment_by":1}`}, 400},
		{request{path: "/api/v2/analytics/flags/", header: sdk, body: `{"evaluations":[{"feature_name":"checkout","identity_identifier":"` + secretPerson + `","enabled_when_evaluated":true,"count":1}]}`}, 204},
		{request{path: "/api/v1/environment-document/", header: server}, 200},
		{request{path: "/api/v1/environment-document/", header: sdk}, 403},
		{request{path: "/sse/environments/" + secretKey + "/stream"}, 403},
		{request{path: "/sse/environments/" + made.Key + "/stream"}, 403},
		{request{path: evaluate, header: ofrep, body: `{"context":{"targetingKey":"` + secretPerson + `","plan":"` + secretTrait + `"}}`}, 200},
		{request{path: evaluate + "/moon", header: ofrep, body: `{"context":{"targetingKey":"` + secretPerson + `","plan":"` + secretTrait + `"}}`}, 404},
		{request{path: evaluate, header: ofrep, body: `{"context":["` + secretPerson + `"]}`}, 400},
		{request{path: evaluate, header: map[string]string{"Authorization": "Bearer " + secretKey}, body: `{"context":{}}`}, 401},

		{request{path: "/api/v1/identities/", header: map[string]string{"X-Environment-Key": clientKey, "Content-Encoding": "gzip"}, body: `{"identifier":"` + secretPerson + `"}`}, 415},
		{request{path: "/api/v1/identities/", header: sdk, body: `{"identifier":"` + secretPerson + strings.Repeat("x", 1<<20) + `"}`}, 413},
		{request{path: "/api/v1/flags/" + secretPerson, header: sdk}, 404},
		{request{path: "/api/v1/identities//?identifier=" + secretPerson, header: sdk}, 404},

		{request{path: "/admin/v1/whoami", token: made.Token}, 200},
		{request{path: "/admin/v1/whoami", token: secretWrong}, 401},
		{request{path: "/admin/v1/whoami?token=" + secretWrong}, 400},
		{request{path: "/admin/v1/" + secretPerson}, 404},
		{request{method: "BREW", path: live + "/identities/" + secretPerson}, 405},
		{request{method: "PUT", path: live + "/features/checkout/identity-overrides/" + secretPerson, body: `{"enabled":true,"enabled":false}`}, 400},
		{request{method: "PUT", path: live + "/features/checkout/identity-overrides/" + secretPerson, header: map[string]string{"Flagledger-Min-Position": "999999"}, body: `{}`}, 503},
		{request{path: live + "/evaluate", body: `{"identifier":"` + secretPerson + `","Traits":{"plan":"` + secretTrait + `"}}`}, 400},
		{request{method: "PUT", path: live + "/features/checkout/identity-overrides/" + secretOverride, body: `{"enabled":false}`}, 200},
		{request{method: "PUT", path: live + "/features/checkout/identity-overrides/" + secretOverride, body: `{"variant":"moon"}`}, 422},
		{request{method: "PUT", path: live + "/features/checkout/identity-overrides/" + secretOverride, body: `{"value":` + secretTrait}, 400},
		{request{method: "PUT", path: live + "/features/moon/identity-overrides/" + secretPerson, body: `{"enabled":false}`}, 404},
		{request{method: "DELETE", path: live + "/features/checkout/identity-overrides/" + secretPerson}, 404},
		{request{path: live + "/identities/" + secretPerson}, 200},
		{request{path: live + "/identities/not-" + secretPerson}, 404},
		{request{path: live + "/evaluate", body: `{"identifier":"` + secretPerson + `","traits":{"plan":"` + secretTrait + `"},"explain":true}`}, 200},
		{request{path: live + "/evaluate", body: `{"identifier":"` + secretPerson + `","traits":{"plan":["` + secretTrait + `"]}}`}, 400},
		{request{path: live + "/evaluate", body: `{"identifier":"` + secretPerson + `","feature":"moon"}`}, 404},
		{request{path: live + "/rollback", body: `{"version":1,"dry_run":true,"impact":{"identities":[{"identifier":"` + secretPerson + `","traits":{"plan":"` + secretTrait + `"}}]}}`}, 200},
		{request{path: shop + "/changes", body: `{"commands":[{"command":"set_identity_override","environment":"live","feature":"moon","identifier":"` + secretPerson + `"}]}`}, 404},
	} {
		a := p.send(t.Context(), step.request)
		if a.err != nil || a.status != step.status {
			t.Errorf("request %d, %s %s: %d %s %v, want %d", i, step.method, step.path, a.status, a.body, a.err, step.status)
		}
		if a.status >= http.StatusBadRequest {
			lacks(t, fmt.Sprintf("the refusal of request %d", i), string(a.body), secrets)
		}
	}
	metrics := p.do(request{path: "/metrics"}, nil)
	lacks(t, "the metrics", string(metrics.body), secrets)

	if entries := string(p.do(request{path: "/admin/v1/audit?project=shop&object=feature:checkout"}, nil).body); !strings.Contains(entries, secretOverride) {
		t.Errorf("the audit does not name who has an override: %s", entries)
	}
	p.do(request{method: "DELETE", path: live + "/identities/" + secretOverride}, nil)
	p.do(request{method: "DELETE", path: live + "/identities/" + secretPerson}, nil)
	for _, path := range []string{"/admin/v1/audit?limit=500", "/admin/v1/audit/export", "/admin/v1/audit/export?format=csv", "/admin/v1/audit/export?format=cloudevents", "/admin/v1/tokens", live + "/versions", live + "/keys", "/admin/v1/log/export", "/admin/v1/log/checkpoint", "/admin/v1/log/keys", "/admin/v1/access-log"} {
		lacks(t, path, string(p.do(request{path: path}, nil).body), secrets)
	}
	p.stop(syscall.SIGTERM)

	if logged := p.stderr.String(); !strings.Contains(logged, "level=DEBUG") {
		t.Errorf("nothing is logged at level debug: %s", logged)
	}
	secrets["a client key"] = clientKey
	lacks(t, "the log", p.stderr.String(), secrets)
	lacks(t, "stdout", p.stdout.String(), secrets)
	delete(secrets, "a client key")
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || entry.Name() == "signing.key" {
			return err
		}
		content, err := os.ReadFile(path)
		lacks(t, path, string(content), secrets)
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// signingKey is the secret part of the key that signs checkpoints.
func signingKey(t *testing.T, dir string) string {
	t.Helper()
	path := filepath.Join(dir, "signing.key")
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("%s may be read by others: %v", path, info.Mode())
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "PRIVATE+KEY+") {
			return strings.TrimSuffix(strings.SplitN(line, "+", 5)[4], "\n") // PRIVATE+KEY+name+hash+key, where the key may have a + of its own
		}
	}
	t.Fatalf("%s has no private key: %d bytes", path, len(text))
	return ""
}

// lacks sees that a text has none of the secrets.
func lacks(t *testing.T, where, text string, secrets map[string]string) {
	t.Helper()
	for what, secret := range secrets {
		if i := strings.Index(text, secret); i >= 0 {
			t.Errorf("%s has %s: %s", where, what, text[max(0, i-200):min(len(text), i+200)])
		}
	}
}
