package eventstore_test

import (
	"os"
	"path/filepath"
	"testing"

	"flagledger/eventstore"
	"flagledger/eventstore/storetest"
)

// A server that was killed while it tried whether it can write leaves a directory, which the next one does not stumble over.
func TestStartCutShort(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"_test_4116563819", "_test_1"} {
		if err := os.MkdirAll(filepath.Join(dir, "nats", "jetstream", name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	store := storetest.Open(t, eventstore.Options{Dir: dir})
	if err := store.Health(t.Context()); err != nil {
		t.Error(err)
	}
}
