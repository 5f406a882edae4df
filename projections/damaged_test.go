package projections_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"flagledger/projections"
)

// A file that is not what was written is set aside, whatever it is.
func TestDamagedFileIsSetAside(t *testing.T) {
	for name, damage := range map[string]func([]byte) []byte{
		"no views at all":  func([]byte) []byte { return bytes.Repeat([]byte("no"), 5000) },
		"cut to a page":    func(b []byte) []byte { return b[:4096] },
		"cut to two pages": func(b []byte) []byte { return b[:8192] },
		"cut in half":      func(b []byte) []byte { return b[:len(b)/2] },
		"cut short":        func(b []byte) []byte { return b[:100] },
		"pages of zeros":   func(b []byte) []byte { return append(b[:8192:8192], make([]byte, len(b)-8192)...) },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "views.db")
			views, err := projections.Open(path, projections.Options{Schema: 1})
			if err != nil {
				t.Fatal(err)
			}
			if err := views.Close(); err != nil {
				t.Fatal(err)
			}
			whole, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			damaged := damage(whole)
			if err := os.WriteFile(path, damaged, 0o600); err != nil {
				t.Fatal(err)
			}
			if views, err = projections.Open(path, projections.Options{Schema: 1}); err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := views.Close(); err != nil {
					t.Error(err)
				}
			}()
			if views.Position() != 0 {
				t.Errorf("position %d", views.Position())
			}
			aside, err := os.ReadFile(path + ".damaged")
			if err != nil || !bytes.Equal(aside, damaged) {
				t.Errorf("what was damaged is not there to be looked at: %v", err)
			}
		})
	}
}
