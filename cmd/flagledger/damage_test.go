package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A flipped bit in the log's own file, found at a start after a kill: NATS would cut the log off there. Instead it is not started; apps are answered
// on from the views, changes are refused, readiness and the doctor name the position, and the file is as it was.
func TestDamagedLog(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := ready(t, "--data-dir", dir)
	p.openShop("checkout", "search")
	p.do(request{method: "PATCH", path: live + "/features/checkout", body: `{"value":"before"}`}, nil)
	damagedAt := p.position()
	p.do(request{method: "PATCH", path: live + "/features/search", body: `{"value":"later"}`}, nil)
	p.kill()

	path := filepath.Join(dir, "nats", "jetstream", "$G", "streams", "FLAGLEDGER", "msgs", "1.blk")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	damaged := bytes.Clone(whole)
	damaged[bytes.LastIndex(damaged, []byte(`"before"`))+2] ^= 1
	if err := os.WriteFile(path, damaged, 0o600); err != nil {
		t.Fatal(err)
	}
	named := fmt.Sprintf("stream FLAGLEDGER is damaged: message %d ", damagedAt)
	p = serving(t, []string{"FLAGLEDGER_ADMIN_TOKEN=" + rootToken}, "--data-dir", dir)
	p.await("readiness names the damage", func(ctx context.Context) error {
		a := p.send(ctx, request{path: "/readyz"})
		if a.status != http.StatusServiceUnavailable || !strings.Contains(string(a.body), named) {
			return fmt.Errorf("%d %s, error %w", a.status, a.body, a.err)
		}
		return nil
	})
	for feature, want := range map[string]string{"checkout": "before", "search": "later"} {
		if got, err := p.flag(t.Context(), feature); got != want || err != nil {
			t.Errorf("%s has the value %q, error %v", feature, got, err)
		}
	}
	if history := p.audit("&project=shop"); len(history) == 0 || history[len(history)-1].Position != damagedAt+1 {
		t.Errorf("the audit has %d entries, want it to the last", len(history))
	}
	a := p.send(t.Context(), request{method: "PATCH", path: live + "/features/checkout", body: `{"value":"lost"}`})
	if a.status != http.StatusServiceUnavailable || !strings.Contains(string(a.body), "damaged") {
		t.Errorf("a change is answered %d %s, %v", a.status, a.body, a.err)
	}
	if said, err := command(t, "doctor", "--data-dir", dir); err == nil || !strings.Contains(said, named) {
		t.Errorf("the doctor says %s, %v", said, err)
	}
	p.stop(os.Interrupt)
	if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, damaged) {
		t.Errorf("the damaged file was changed; %v", err)
	}

	if err := os.WriteFile(path, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	p = ready(t, "--data-dir", dir)
	p.do(request{method: "PATCH", path: live + "/features/checkout", body: `{"value":"after"}`}, nil)
}
