package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// The views' file is damaged under a running server, cut while it is down, and removed: each time it is noticed and made again, and the history
// is what it was. Apps are answered all along from what was in memory; without that, they are told to wait.
func TestViewsAreDisposable(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "views.db")
	p := ready(t, "--data-dir", dir)
	p.openShop("checkout")
	for i := range 40 {
		p.do(request{method: "PATCH", path: live + "/features/checkout", body: fmt.Sprintf(`{"value":"%d"}`, i)}, nil)
	}
	history := p.do(request{path: "/admin/v1/audit?limit=500"}, nil).body
	checkHistory := func() {
		t.Helper()
		p.await("the history is back", func(ctx context.Context) error {
			a := p.send(ctx, request{path: "/admin/v1/audit?limit=500"})
			if a.err != nil || a.status == http.StatusOK && bytes.Equal(a.body, history) {
				return a.err
			}
			if a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" {
				t.Errorf("meanwhile the history is answered %d %s", a.status, a.body)
			}
			p.evaluates(t, "39")
			return fmt.Errorf("%d", a.status)
		})
	}

	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	info, err := file.Stat()
	if err != nil {
		t.Fatal(err)
	}
	_, err = file.WriteAt(make([]byte, info.Size()-8192), 8192)
	if err := errors.Join(err, file.Close()); err != nil {
		t.Fatal(err)
	}
	checkHistory()
	p.awaitReady(http.StatusOK)
	if _, err := os.Stat(path + ".damaged"); err != nil {
		t.Errorf("the damaged file is not set aside: %v", err)
	}
	if metrics := p.do(request{path: "/metrics"}, nil).body; !bytes.Contains(metrics, []byte("\nflagledger_views_damaged_total 1\n")) {
		t.Error("the metrics do not tell of the damage")
	}
	p.do(request{method: "PATCH", path: live + "/features/checkout", body: `{"value":"39","enabled":true}`}, nil) // as it is already

	for _, damage := range []func() error{
		func() error { return os.Truncate(path, 12288) },
		func() error { return os.Remove(path) },
		func() error { return os.Truncate(path, 0) },
		func() error {
			return errors.Join(os.Remove(path), os.RemoveAll(path+".damaged"), os.Mkdir(path, 0o700))
		},
	} {
		p.stop(syscall.SIGTERM)
		if err := damage(); err != nil {
			t.Fatal(err)
		}
		p = ready(t, "--data-dir", dir)
		checkHistory()
		p.evaluates(t, "39")
	}
	p.stop(syscall.SIGTERM)
	checkRebuild(t, dir)
}

// Without views, and while the log is away, nobody is told that his key is unknown.
func TestNothingIsKnownYet(t *testing.T) {
	t.Parallel()
	p := serving(t, nil, "--data-dir", t.TempDir(), "--nats-url", "nats://127.0.0.1:1", "--replicas", "1")
	for _, r := range []request{
		{path: "/api/v1/flags/", header: map[string]string{"X-Environment-Key": clientKey}},
		{path: "/ofrep/v1/evaluate/flags", body: `{}`, header: map[string]string{"X-API-Key": clientKey}},
		{path: "/admin/v1/whoami"},
	} {
		if a := p.send(t.Context(), r); a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" {
			t.Errorf("%s: %d %v %s %v", r.path, a.status, a.header, a.body, a.err)
		}
	}
}
