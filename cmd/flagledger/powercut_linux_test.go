package main

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// The block device under the data directory is copied while changes go on: the copy has what was synced and nothing else, as a disk after a power cut.
// A program that is started on it has every change that was acknowledged before the copy was begun. To see that the test can fail, take SyncAlways
// out of eventstore/server.go.
func TestPowerCut(t *testing.T) {
	cuts := 2
	if testing.Short() {
		cuts = 1
	}
	dir := t.TempDir()
	image, disk := filepath.Join(dir, "image"), filepath.Join(dir, "disk")
	mount := func(image, at string) error {
		if err := os.Mkdir(at, 0o700); err != nil {
			return err
		}
		if out, err := exec.Command("mount", "-o", "loop", image, at).CombinedOutput(); err != nil {
			return fmt.Errorf("mount: %w: %s", err, out)
		}
		t.Cleanup(func() {
			if out, err := exec.Command("umount", "-l", at).CombinedOutput(); err != nil {
				t.Errorf("umount: %v: %s", err, out)
			}
		})
		return nil
	}
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, 96<<20); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mkfs.ext4", "-q", "-F", image).CombinedOutput(); err != nil {
		t.Skipf("needs mkfs.ext4: %v: %s", err, out)
	}
	if err := mount(image, disk); err != nil {
		t.Skipf("needs the right to mount a file as a disk: %v", err)
	}
	p := ready(t, "--data-dir", filepath.Join(disk, "data"))
	p.openShop("checkout")
	acked := 0
	for cut := range cuts {
		for range 40 {
			acked++
			p.do(request{method: "PATCH", path: live + "/features/checkout", body: fmt.Sprintf(`{"value":"%d"}`, acked)}, nil)
		}
		if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		after := filepath.Join(dir, fmt.Sprint("after-", cut))
		if out, err := exec.Command("cp", "--sparse=always", image, after).CombinedOutput(); err != nil {
			t.Fatalf("copy the disk: %v: %s", err, out)
		}
		if err := p.cmd.Process.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		if err := mount(after, after+"-disk"); err != nil {
			t.Fatal(err)
		}
		data := filepath.Join(after+"-disk", "data")
		q := ready(t, "--data-dir", data)
		if value, err := q.flag(t.Context(), "checkout"); err != nil || value != fmt.Sprint(acked) {
			t.Errorf("cut %d: the last change acknowledged was %d; there is %q, %v", cut, acked, value, err)
		}
		q.awaitReady(http.StatusOK)
		q.stop(syscall.SIGTERM)
		checkRebuild(t, data)
	}
}
