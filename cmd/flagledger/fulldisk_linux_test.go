package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// On a full disk changes are refused, with the reason, and apps are answered on. With room again, and after the restart that readiness asks for,
// everything is as it was.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	disk := smallDisk(t, "size=32m")
	dir, ballast := filepath.Join(disk, "data"), filepath.Join(disk, "ballast")
	p := ready(t, "--data-dir", dir)
	p.openShop("checkout", "search")
	p.do(request{method: "PATCH", path: live + "/features/checkout", body: `{"value":"before"}`}, nil)
	fill(t, ballast, 1<<20)
	var refused answer
	acked := 0
	for n := range 5000 {
		refused = p.send(t.Context(), request{method: "PATCH", path: live + "/features/search", body: fmt.Sprintf(`{"value":"%d %s"}`, n, strings.Repeat("x", 19_000))})
		if !refused.recorded() {
			break
		}
		acked++
	}
	if refused.status != http.StatusServiceUnavailable || refused.header.Get("Retry-After") == "" {
		t.Fatalf("after %d changes one is answered %d %s, %v", acked, refused.status, refused.body, refused.err)
	}
	t.Logf("%d changes fitted; then: %s", acked, refused.body)
	p.await("a change says that there is no space", func(ctx context.Context) error {
		a := p.send(ctx, request{method: "PATCH", path: live + "/features/checkout", body: `{"value":"lost"}`})
		if a.status != http.StatusServiceUnavailable || !bytes.Contains(a.body, []byte("space")) {
			return errors.Join(a.err, fmt.Errorf("%d %s", a.status, a.body))
		}
		return nil
	})
	p.evaluates(t, "before")
	if detail := p.awaitReady(http.StatusServiceUnavailable); !strings.Contains(detail, "restart") {
		t.Errorf("readiness says %q", detail)
	}

	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	p.evaluates(t, "before")
	p.kill()
	p = ready(t, "--data-dir", dir)
	p.evaluates(t, "before")
	p.do(request{method: "PATCH", path: live + "/features/checkout", body: `{"value":"after"}`}, nil)
	p.evaluates(t, "after")
	p.stop(syscall.SIGTERM)
	checkRebuild(t, dir)
}

// A checkpoint for which there is no room leaves nothing behind in the file of its copies, which is read on when there is.
func TestCopyOnFullDisk(t *testing.T) {
	disk := smallDisk(t, "size=64k")
	file, ballast := filepath.Join(disk, "checkpoints"), filepath.Join(disk, "ballast")
	note := strings.Repeat("x", 3000) + "\n"
	want := func(content string) {
		t.Helper()
		if found, err := os.ReadFile(file); err != nil || string(found) != content {
			t.Errorf("the file has %d bytes, want %d; %v", len(found), len(content), err)
		}
	}
	if err := appendNote(file, note); err != nil {
		t.Fatal(err)
	}
	fill(t, ballast, 0)
	if err := appendNote(file, note); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("on a full disk: %v", err)
	}
	want(note)
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if err := appendNote(file, note); err != nil {
		t.Fatal(err)
	}
	want(note + note)
}

// smallDisk mounts a file system for the test, or skips it.
func smallDisk(t *testing.T, options string) string {
	t.Helper()
	disk := t.TempDir()
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, options); err != nil {
		t.Skipf("needs the right to mount a small file system: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(disk, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return disk
}

// fill takes all of a file system but so many bytes.
func fill(t *testing.T, path string, but int) {
	t.Helper()
	free, _, err := diskSpace(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, make([]byte, int(free)-but), 0o600); err != nil {
		t.Fatal(err)
	}
}
