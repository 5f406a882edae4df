package projections_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"flagledger/commands"
	"flagledger/domain"
	"flagledger/projections"
)

// variedLedger is a shop with some of everything in its file, which is closed.
func variedLedger(t *testing.T) *ledger {
	t.Helper()
	l := newLedger(t, t.TempDir())
	l.do(t, opening()...)
	for i := range 60 {
		l.do(t, setting("prod", "checkout", fmt.Sprint(i)))
		switch i % 10 {
		case 3:
			l.do(t, overriding("prod", "search", "us", "x"), overriding("dev", "checkout", "beta", "y"))
		case 5:
			l.do(t, commands.CloneEnvironment{Source: "prod", Key: "qa", ClientKey: fmt.Sprintf("client_qa_%d", i)})
		case 7:
			l.do(t, commands.DeleteEnvironment{Environment: "qa"})
		}
	}
	return l
}

// A file that is not what was written is set aside, whatever it is.
func TestDamagedFileIsSetAside(t *testing.T) {
	l := variedLedger(t)
	l.close(t)
	whole, err := os.ReadFile(l.path)
	if err != nil {
		t.Fatal(err)
	}
	for name, damage := range map[string]func([]byte) []byte{
		"no views at all":  func([]byte) []byte { return bytes.Repeat([]byte("no"), 5000) },
		"cut to a page":    func(b []byte) []byte { return b[:4096] },
		"cut to two pages": func(b []byte) []byte { return b[:8192] },
		"cut in half":      func(b []byte) []byte { return b[:len(b)/2] },
		"cut short":        func(b []byte) []byte { return b[:100] },
		"pages of zeros":   func(b []byte) []byte { return append(b[:8192:8192], make([]byte, len(b)-8192)...) },
		"a value differs":  func(b []byte) []byte { return bytes.Replace(b, []byte("checkout"), []byte("chickout"), -1) },
		"never written":    func([]byte) []byte { return make([]byte, 64<<10) },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "views.db")
			damaged := damage(bytes.Clone(whole))
			if err := os.WriteFile(path, damaged, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := projections.Check(path, 1); err == nil {
				t.Error("a check finds nothing")
			}
			views := openViews(t, path, 1)
			if views.Position() != 0 {
				t.Errorf("position %d", views.Position())
			}
			aside, err := os.ReadFile(path + ".damaged")
			if err != nil || !bytes.Equal(aside, damaged) {
				t.Errorf("what was damaged is not there to be looked at: %v", err)
			}
		})
	}
	if info, err := projections.Check(l.path, 1); info.Schema != 1 || info.Position != uint64(len(l.log)) || info.Root == (tlog.Hash{}) || err != nil {
		t.Errorf("a whole file: %+v, error %v", info, err)
	}
	if info, err := projections.Check(l.path, 2); info.Schema != 1 || err != nil {
		t.Errorf("a file of another schema: %+v, error %v", info, err)
	}
}

// Who reads what nobody wrote, while pages are as they should be, is told that the file is being checked.
func TestReadingOverwrittenValues(t *testing.T) {
	l := variedLedger(t)
	if err := l.Written(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(l.path)
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.OpenFile(l.path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = file.WriteAt(bytes.ReplaceAll(whole, []byte(`":{`), []byte(`"#{`)), 0)
	if err := errors.Join(err, file.Close()); err != nil {
		t.Fatal(err)
	}
	refused := 0
	for position := range l.Position() {
		_, err := l.AuditEntry(position+1, nil)
		if refusal, ok := errors.AsType[*domain.Error](err); ok && refusal.Kind == domain.Unavailable {
			refused++
		} else if err != nil {
			t.Errorf("the entry at position %d: %v", position+1, err)
		}
	}
	if refused == 0 {
		t.Error("all entries could be read")
	}
}

// A bit anywhere in the file that is not what was written is noticed, or makes no difference to any reader.
func TestFlippedBits(t *testing.T) {
	l := variedLedger(t)
	want := dumpOf(t, l.Views)
	l.close(t)
	whole, err := os.ReadFile(l.path)
	if err != nil {
		t.Fatal(err)
	}
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 1))
	t.Logf("seed %d", seed)
	dir, noticed, harmless := t.TempDir(), 0, 0
	rounds := 400
	if testing.Short() {
		rounds = 100
	}
	for i := range rounds {
		damaged := bytes.Clone(whole)
		at, bit := random.IntN(len(damaged)), byte(1)<<random.IntN(8)
		damaged[at] ^= bit
		path := filepath.Join(dir, fmt.Sprint(i))
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		views, err := projections.Open(path, projections.Options{Schema: 1})
		if err != nil {
			t.Fatalf("byte %d, bit %02x: %v", at, bit, err)
		}
		if views.Position() == 0 {
			noticed++
		} else {
			harmless++
			for _, rec := range l.log[views.Durable():] { // with one meta page gone, the last transaction is
				if err := views.Apply(rec, 0); err != nil {
					t.Fatal(err)
				}
			}
			if got := dumpOf(t, views); !maps.Equal(got, want) {
				t.Errorf("byte %d, bit %02x: nothing was noticed, and it reads %v", at, bit, differences(got, want))
			}
		}
		if err := errors.Join(views.Close(), os.Remove(path)); err != nil {
			t.Fatal(err)
		}
		_ = os.Remove(path + ".damaged") // it may not be there
	}
	t.Logf("%d bits noticed, %d harmless, of a file of %d bytes", noticed, harmless, len(whole))
	if noticed == 0 {
		t.Error("no bit was noticed")
	}
}

// A file that is damaged while it is open is noticed by who reads it, and made again from the log. What is in memory is served meanwhile.
func TestDamagedWhileOpen(t *testing.T) {
	for name, damage := range map[string]func(*os.File) error{
		"zeros": func(f *os.File) error {
			info, err := f.Stat()
			if err != nil {
				return err
			}
			_, err = f.WriteAt(make([]byte, info.Size()-8192), 8192)
			return err
		},
		"cut": func(f *os.File) error { return f.Truncate(8192) },
	} {
		t.Run(name, func(t *testing.T) {
			l := variedLedger(t).closing(t)
			want, end := dumpOf(t, l.Views), l.Position()
			env := projections.EnvironmentID{Project: domain.ProjectID("shop"), ID: l.shop().Environments.Get("prod").ID}
			file, err := os.OpenFile(l.path, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(damage(file), file.Close()); err != nil {
				t.Fatal(err)
			}
			_, _, err = l.Audit(t.Context(), projections.AuditQuery{Limit: 10})
			if refusal, ok := errors.AsType[*domain.Error](err); !ok || refusal.Kind != domain.Unavailable {
				t.Errorf("a read of damaged views: %v", err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			found := l.Watch(ctx)
			if found == nil || !strings.Contains(found.Error(), "damaged") {
				t.Fatalf("what is wrong with the file: %v", found)
			}
			if err := l.Rebuild(found); err != nil {
				t.Fatal(err)
			}
			for i, rec := range l.log {
				if l.Snapshot(env) == nil || l.Position() != end {
					t.Fatalf("before commit %d the views show position %d, a snapshot %v", rec.Position, l.Position(), l.Snapshot(env))
				}
				if _, err := l.Version(env, 1); err == nil {
					t.Fatal("the past can be read while it is being made")
				}
				if !l.Building() {
					t.Error("the views do not say that they are being made")
				}
				if err := l.Apply(rec, uint64(len(l.log)-1-i)); err != nil {
					t.Fatal(err)
				}
			}
			if err := l.Written(); err != nil || l.Building() || l.Position() != end || l.Durable() != end {
				t.Errorf("made again: building %t at %d, durable %d, %v", l.Building(), l.Position(), l.Durable(), err)
			}
			if got := dumpOf(t, l.Views); !maps.Equal(got, want) {
				t.Errorf("made again: %v", differences(got, want))
			}
		})
	}
}

// Views that are made for the first time are seen when they are complete.
func TestFirstBuildIsSeenWhenComplete(t *testing.T) {
	v := emptyViews(t)
	log := shopLog(t, 9000)
	applying(t, v, log[:8999])
	if err := v.Apply(log[8998], 1); err != nil || v.Position() != 0 || !v.Building() {
		t.Fatalf("in the middle: %v at %d, building %t", err, v.Position(), v.Building())
	}
	if p := v.Progress(); p.End != 9000 {
		t.Errorf("progress %+v", p)
	}
	if err := v.Apply(log[8999], 0); err != nil || v.Position() != 9000 || v.Building() {
		t.Errorf("in the end: %v at %d, building %t", err, v.Position(), v.Building())
	}
}
