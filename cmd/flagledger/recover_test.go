package main

import (
	"fmt"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Whoever has lost all tokens makes another by a restart, for a day, and the history tells of it.
func TestRecoverAdmin(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := ready(t, "--data-dir", dir)
	p.stop(syscall.SIGTERM)

	p = serving(t, nil, "--data-dir", dir, "--recover-admin")
	token := p.awaitOutput(&p.stdout, regexp.MustCompile(`admin token for a day: (flt_\S+)`))
	p.awaitReady(200)
	var me struct {
		Name      string
		Grants    []struct{ Role, Project string }
		ExpiresAt time.Time `json:"expires_at"`
	}
	p.do(request{path: "/admin/v1/whoami", token: token}, &me)
	if left := time.Until(me.ExpiresAt); me.Name != "recovered admin" || fmt.Sprint(me.Grants) != "[{admin }]" || left > day || left < day-time.Hour {
		t.Errorf("it is %+v", me)
	}
	history := string(p.do(request{path: "/admin/v1/audit?source=system&limit=1", token: token}, nil).body)
	for _, want := range []string{`"reason":"recovery: the program was started with --recover-admin"`, `Flagledger created token`, `"kind":"system"`} {
		if !strings.Contains(history, want) {
			t.Errorf("the history lacks %s: %s", want, history)
		}
	}
	p.do(request{path: "/admin/v1/tokens", token: token, body: `{"name":"admin","grants":[{"role":"admin"}]}`}, nil)
	p.stop(syscall.SIGTERM)

	p = ready(t, "--data-dir", dir) // and no more without being told to
	if strings.Contains(p.stdout.String(), "admin token") {
		t.Errorf("another token is made: %s", p.stdout.String())
	}
	p.stop(syscall.SIGTERM)
}
