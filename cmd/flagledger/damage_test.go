package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
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
	p.audit("&project=shop") // so that the views' file has it
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

// A log whose last file is cut, or gone with or without its folder, while the views have what was in it: NATS is not started, which would go on with less. Without the
// views' word a cut end is what a power cut leaves.
func TestLogLostItsEnd(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := ready(t, "--data-dir", dir)
	p.openShop("checkout")
	p.do(request{method: "PATCH", path: live + "/features/checkout", body: `{"value":"last"}`}, nil)
	end := p.position()
	p.stop(os.Interrupt)
	whole := t.TempDir()
	if err := os.CopyFS(whole, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	for what, test := range map[string]struct {
		damage func(folder, file string) error
		at     uint64
	}{
		"cut":      {func(_, file string) error { return cut(file, 30) }, end},
		"gone":     {func(_, file string) error { return os.Remove(file) }, 1},
		"all gone": {func(folder, _ string) error { return os.RemoveAll(folder) }, 1},
	} {
		t.Run(what, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.CopyFS(dir, os.DirFS(whole)); err != nil {
				t.Fatal(err)
			}
			folder := filepath.Join(dir, "nats", "jetstream", "$G", "streams", "FLAGLEDGER")
			if err := test.damage(folder, filepath.Join(folder, "msgs", "1.blk")); err != nil {
				t.Fatal(err)
			}
			before := sizes(t, filepath.Join(dir, "nats"))
			named := fmt.Sprintf("stream FLAGLEDGER is damaged: message %d ", test.at)
			if said, err := command(t, "doctor", "--data-dir", dir); err == nil || !strings.Contains(said, named) {
				t.Errorf("the doctor says %s, %v", said, err)
			}
			p := serving(t, []string{"FLAGLEDGER_ADMIN_TOKEN=" + rootToken}, "--data-dir", dir)
			p.await("readiness names the damage", func(ctx context.Context) error {
				a := p.send(ctx, request{path: "/readyz"})
				if a.status != http.StatusServiceUnavailable || !strings.Contains(string(a.body), named) {
					return fmt.Errorf("%d %s, error %w", a.status, a.body, a.err)
				}
				return nil
			})
			if got, err := p.flag(t.Context(), "checkout"); got != "last" || err != nil {
				t.Errorf("the value is %q, error %v", got, err)
			}
			if a := p.send(t.Context(), request{method: "PATCH", path: live + "/features/checkout", body: `{"value":"lost"}`}); a.status != http.StatusServiceUnavailable {
				t.Errorf("a change is answered %d %s, %v", a.status, a.body, a.err)
			}
			p.stop(os.Interrupt)
			if after := sizes(t, filepath.Join(dir, "nats")); !maps.Equal(before, after) {
				t.Errorf("files were changed: %v, before %v", after, before)
			}
		})
	}
	// A record at the end that nobody has seen is no damage.
	file, err := os.OpenFile(filepath.Join(dir, "nats", "jetstream", "$G", "streams", "FLAGLEDGER", "msgs", "1.blk"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = file.Write([]byte{200, 1, 0, 0x80, byte(end + 1), 0, 0})
	if err := errors.Join(err, file.Close(), os.Remove(filepath.Join(filepath.Dir(file.Name()), "index.db"))); err != nil {
		t.Fatal(err)
	}
	p = ready(t, "--data-dir", dir)
	p.do(request{method: "PATCH", path: live + "/features/checkout", body: `{"value":"after"}`}, nil)
	if got := p.position(); got != end+1 {
		t.Errorf("the next change has position %d, want %d", got, end+1)
	}
}

// A stream beside the log that is gone is not replaced by an empty one, as if nobody had ever been known, unless that is asked for.
func TestStreamBesideTheLogIsGone(t *testing.T) {
	t.Parallel()
	whole := t.TempDir()
	p := ready(t, "--data-dir", whole)
	p.openShop("checkout")
	p.await("a checkpoint", func(ctx context.Context) error {
		if a := p.send(ctx, request{path: "/admin/v1/log/checkpoint"}); a.status != http.StatusOK {
			return fmt.Errorf("%d %s %w", a.status, a.body, a.err)
		}
		return nil
	})
	p.stop(os.Interrupt)
	for _, name := range []string{"FLAGLEDGER_PERSONS", "FLAGLEDGER_CHECKPOINTS"} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.CopyFS(dir, os.DirFS(whole)); err != nil {
				t.Fatal(err)
			}
			folder := filepath.Join(dir, "nats", "jetstream", "$G", "streams", name)
			if err := os.Chmod(filepath.Join(dir, "signing.key"), 0o600); err != nil { // not copied with it
				t.Fatal(err)
			}
			if err := os.RemoveAll(folder); err != nil {
				t.Fatal(err)
			}
			named := "stream " + name + " is gone"
			if said, err := command(t, "doctor", "--data-dir", dir); err == nil || !strings.Contains(said, named) {
				t.Errorf("the doctor says %s, %v", said, err)
			}
			p := serving(t, []string{"FLAGLEDGER_ADMIN_TOKEN=" + rootToken}, "--data-dir", dir)
			p.await("readiness names the stream", func(ctx context.Context) error {
				a := p.send(ctx, request{path: "/readyz"})
				if a.status != http.StatusServiceUnavailable || !strings.Contains(string(a.body), named) {
					return fmt.Errorf("%d %s, error %w", a.status, a.body, a.err)
				}
				return nil
			})
			p.stop(os.Interrupt)
			if _, err := os.Stat(folder); err == nil {
				t.Error("an empty stream was made")
			}
			if !strings.Contains(p.stderr.String(), "level=ERROR") {
				t.Error("the log of the process has no error")
			}
			p = ready(t, "--data-dir", dir, "--accept-lost-streams")
			p.stop(os.Interrupt)
			ready(t, "--data-dir", dir)
		})
	}
}

// Without the description of the stream the commits are there all the same: the doctor says so, and a start goes on with them.
func TestDescriptionOfTheLogIsLost(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := ready(t, "--data-dir", dir)
	p.openShop("checkout")
	end := p.position()
	p.stop(os.Interrupt)
	if err := os.Truncate(filepath.Join(dir, "nats", "jetstream", "$G", "streams", "FLAGLEDGER", "meta.inf"), 5); err != nil {
		t.Fatal(err)
	}
	said, err := command(t, "doctor", "--data-dir", dir)
	if err != nil || !strings.Contains(said, "warning  log    the commits are there") || !strings.Contains(said, fmt.Sprintf("%d commits without a gap", end)) {
		t.Errorf("the doctor says %s, %v", said, err)
	}
	p = ready(t, "--data-dir", dir)
	p.do(request{method: "PATCH", path: live + "/features/checkout", body: `{"value":"after"}`}, nil)
	if got := p.position(); got != end+1 {
		t.Errorf("the next change has position %d, want %d", got, end+1)
	}
}

// cut shortens a file by some bytes.
func cut(path string, by int64) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	return os.Truncate(path, info.Size()-by)
}

// sizes are those of all files under a directory, with when they were changed.
func sizes(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err == nil {
			all[path] = fmt.Sprint(info.Size(), info.ModTime())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
