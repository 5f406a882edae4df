package streams_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"go.etcd.io/bbolt"

	"flagledger/eventstore/streams"
)

var bucket = []byte("things")

func openFile(t *testing.T, path string) *streams.File {
	t.Helper()
	f, err := streams.OpenFile(path, "things", 1, slog.New(slog.NewTextHandler(t.Output(), nil)), bucket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

// keep puts two thousand entries into a file, as of position 7, so that it has pages of all kinds.
func keep(t *testing.T, f *streams.File) {
	t.Helper()
	for _, value := range []string{"first", "second"} { // which leaves free pages
		err := f.Keep(7, func(tx *bbolt.Tx) error {
			for i := range 2000 {
				if err := tx.Bucket(bucket).Put(fmt.Appendf(nil, "%05d", i), []byte(value)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// entries counts what is in the file.
func entries(f *streams.File) (n int, err error) {
	err = f.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucket).ForEach(func(_, _ []byte) error {
			n++
			return nil
		})
	})
	return n, err
}

// However a file is damaged, before it is opened or while it is in use, the process lives on, and there is a new one in the end.
func TestFileDamaged(t *testing.T) {
	for name, damage := range map[string]func([]byte) []byte{
		"cut to a page":   func(b []byte) []byte { return b[:4096] },
		"cut to the meta": func(b []byte) []byte { return b[:8192] },
		"cut in half":     func(b []byte) []byte { return b[:len(b)/2] },
		"pages of zeros":  func(b []byte) []byte { return append(b[:8192:8192], make([]byte, len(b)-8192)...) },
		"bits flipped": func(b []byte) []byte {
			for i := 8192; i < len(b); i += 97 {
				b[i] ^= 0xff
			}
			return b
		},
		"half of zeros": func(b []byte) []byte { return append(b[:len(b)/2:len(b)/2], make([]byte, len(b)-len(b)/2)...) },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "things.db")
			made := openFile(t, path)
			keep(t, made)
			whole, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			damaged := damage(bytes.Clone(whole))
			if err := os.WriteFile(path+".before", damaged, 0o600); err != nil {
				t.Fatal(err)
			}
			before := openFile(t, path+".before")
			if n, err := entries(before); n != 0 && n != 2000 && !errors.Is(err, streams.ErrDamaged) {
				t.Errorf("damaged before: %d entries, %v", n, err)
			}
			if err := os.WriteFile(path, damaged, 0o600); err != nil {
				t.Fatal(err)
			}
			if n, err := entries(made); err == nil || !errors.Is(err, streams.ErrDamaged) {
				t.Errorf("damaged while in use: %d entries, %v", n, err)
			}
			if err := made.Keep(8, func(*bbolt.Tx) error { return nil }); !errors.Is(err, streams.ErrDamaged) {
				t.Errorf("a damaged file is written to: %v", err)
			}
		})
	}
}
