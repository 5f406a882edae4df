package eventstore_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"flagledger/eventstore"
	"flagledger/eventstore/storetest"
)

// A server that was killed while it tried whether it can write leaves a file, which the next one does not stumble over.
func TestStartCutShort(t *testing.T) {
	dir := t.TempDir()
	accounts := filepath.Join(dir, "nats", "jetstream")
	if err := errors.Join(os.MkdirAll(accounts, 0o700), os.WriteFile(filepath.Join(accounts, "_test_4116563819"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	store := storetest.Open(t, eventstore.Options{Dir: dir})
	if err := store.Health(t.Context()); err != nil {
		t.Error(err)
	}
}
