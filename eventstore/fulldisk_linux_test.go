package eventstore_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"flagledger/eventstore"
	"flagledger/eventstore/storetest"
)

// smallDisk mounts a file system of so many bytes for the test, or skips it.
func smallDisk(t *testing.T, options string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		t.Skipf("needs the right to mount a small file system: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return dir
}

// appendUntilRefused returns the position of the last commit that was
// acknowledged, and why the next one was not.
func appendUntilRefused(t *testing.T, store *eventstore.Store, last uint64) (uint64, error) {
	t.Helper()
	reason := strings.Repeat("x", 100<<10)
	for range 1000 {
		c := storetest.Commit("p", "x")
		c.Reason = reason
		position, err := store.Append(t.Context(), c, last)
		if err != nil {
			return last, err
		}
		last = position
	}
	t.Fatal("the disk does not fill up")
	return 0, nil
}

func wantStorageFull(t *testing.T, err error) {
	t.Helper()
	if full, ok := errors.AsType[*eventstore.UnavailableError](err); !ok || !full.StorageFull {
		t.Errorf("error %v, want one that says that the storage is full", err)
	}
}

// TestStorageReserve: the server stops before the disk is full, for certain and
// without harm.
func TestStorageReserve(t *testing.T) {
	store := storetest.Open(t, eventstore.Options{Dir: smallDisk(t, "size=16m")})
	last, err := appendUntilRefused(t, store, 0)
	wantStorageFull(t, err)
	if _, unknown := errors.AsType[*eventstore.UnknownOutcomeError](err); unknown {
		t.Errorf("error %v, want a certain one", err)
	}
	if end, err := store.LastPosition(t.Context()); err != nil || end != last {
		t.Errorf("last position %d, %v, want %d", end, err, last)
	}
}

// TestFullDisk: something else filled the disk. Nothing acknowledged is lost, and
// once there is room a restart goes on.
func TestFullDisk(t *testing.T) {
	disk := smallDisk(t, "size=16m")
	dir, ballast := filepath.Join(disk, "data"), filepath.Join(disk, "ballast")
	store, err := eventstore.Open(t.Context(), eventstore.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	first, err := store.Append(t.Context(), storetest.Commit("p", "x"), 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(ballast, make([]byte, 14<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	last, err := appendUntilRefused(t, store, first)
	wantStorageFull(t, err)
	wantStorageFull(t, store.Health(t.Context()))
	_, err = store.Append(t.Context(), storetest.Commit("p", "x"), last)
	wantStorageFull(t, err)
	if _, unknown := errors.AsType[*eventstore.UnknownOutcomeError](err); unknown {
		t.Errorf("the next append: error %v, want a certain one", err)
	}
	if err := errors.Join(store.Close(), os.Remove(ballast)); err != nil {
		t.Fatal(err)
	}

	store = storetest.Open(t, eventstore.Options{Dir: dir})
	end, err := store.LastPosition(t.Context())
	if err != nil || end != last && end != last+1 { // the refused one may be there
		t.Fatalf("last position %d, %v after the restart, want %d", end, err, last)
	}
	if _, err := store.Append(t.Context(), storetest.Commit("p", "x"), end); err != nil {
		t.Fatal(err)
	}
}
