package main

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"flagledger/eventstore"
	"flagledger/eventstore/storetest"
)

// command runs a command of the program in this process.
func command(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out, stderr bytes.Buffer
	err := run(t.Context(), args, &out, &stderr)
	return out.String() + stderr.String(), err
}

func mustCommand(t *testing.T, args ...string) string {
	t.Helper()
	out, err := command(t, args...)
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// person reads a person's traits; "" when there is nobody of that name.
func (p *program) trait(name string) string {
	p.t.Helper()
	var person struct{ Traits map[string]string }
	a := p.send(p.t.Context(), request{path: live + "/identities/" + name})
	if a.status == http.StatusNotFound {
		return ""
	}
	if err := json.Unmarshal(a.body, &person); err != nil || a.status != http.StatusOK {
		p.t.Fatalf("person %s: %d %s %v", name, a.status, a.body, err)
	}
	return person.Traits["plan"]
}

// What is backed up while changes go on comes back with the positions, times and digests it had, on one server and on a cluster. Persons come back
// with their keys alone, and those whose erasure is in the log do not. A file that is not what was written is refused.
func TestBackup(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := ready(t, "--data-dir", dir)
	p.openShop("checkout", "search")
	identify := func(name, plan string) {
		p.do(request{path: "/api/v1/identities/", body: fmt.Sprintf(`{"identifier":%q,"traits":[{"trait_key":"plan","trait_value":%q}]}`, name, plan),
			header: map[string]string{"X-Environment-Key": clientKey}}, nil)
		p.do(request{method: "PUT", path: live + "/features/search/identity-overrides/" + name, body: `{"enabled":false}`}, nil)
		p.do(request{path: "/api/v1/identities/", body: fmt.Sprintf(`{"identifier":%q,"traits":[{"trait_key":"plan","trait_value":%q}]}`, name, plan+"+"),
			header: map[string]string{"X-Environment-Key": clientKey}}, nil)
		p.do(request{method: "PUT", path: live + "/features/checkout/identity-overrides/" + name, body: `{"enabled":false}`}, nil)
	}
	identify("ada", "pro")
	identify("bob", "free")
	p.await("all traits are stored", func(ctx context.Context) error {
		a := p.send(ctx, request{path: "/metrics"})
		if !bytes.Contains(a.body, []byte("\nflagledger_identities_unsaved 0\n")) {
			return errors.Join(a.err, errors.New("some are not"))
		}
		return nil
	})

	stop, written := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(written)
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			if a := p.send(t.Context(), request{method: "PATCH", path: live + "/features/checkout", body: fmt.Sprintf(`{"value":"%d"}`, n)}); !a.recorded() {
				t.Errorf("a change during the backup: %d %s %v", a.status, a.body, a.err)
				return
			}
		}
	}()
	out := t.TempDir()
	file, keys := filepath.Join(out, "log.zip"), filepath.Join(out, "keys.zip")
	t.Log(mustCommand(t, "backup", "--server", p.url, "--token", rootToken, "--to", file, "--keys", keys))
	close(stop)
	<-written
	p.do(request{method: "DELETE", path: live + "/identities/bob?reason=asked"}, nil)
	newer := filepath.Join(out, "newer.zip")
	mustCommand(t, "backup", "--server", p.url, "--token", rootToken, "--to", newer)
	history := p.do(request{path: "/admin/v1/audit/export"}, nil).body
	digests := func(p *program) string { // names are not told without keys
		body := p.do(request{path: live + "/versions?limit=500"}, nil).body
		return fmt.Sprintf("%s", regexp.MustCompile(`"(version|position|digest|recorded_at)":("[^"]*"|\d+)`).FindAll(body, -1))
	}
	versions := digests(p)
	p.stop(syscall.SIGTERM)

	t.Run("the newest, with older keys", func(t *testing.T) {
		dir := t.TempDir()
		said := mustCommand(t, "restore", "--data-dir", dir, "--from", newer, "--keys", keys)
		if !strings.Contains(said, "1 persons") || !strings.Contains(said, "restored and verified") {
			t.Errorf("it says %s", said)
		}
		p := ready(t, "--data-dir", dir)
		if plan := p.trait("ada"); plan != "pro+" {
			t.Errorf("ada has the plan %q", plan)
		}
		if plan := p.trait("bob"); plan != "" {
			t.Errorf("bob was erased, and has the plan %q", plan)
		}
		// Who was behind a surrogate when the history was exported is told by the store, so that ada alone is the same.
		if got := p.do(request{path: "/admin/v1/audit/export"}, nil).body; !bytes.Equal(got, history) {
			t.Errorf("the history is not what it was:\n%s\nit was\n%s", tail(string(got)), tail(string(history)))
		}
		if got := digests(p); got != versions {
			t.Errorf("the versions are %s, not %s", got, versions)
		}
		p.do(request{method: "PATCH", path: live + "/features/checkout", body: `{"value":"goes on"}`}, nil)
		p.stop(syscall.SIGTERM)
		checkRebuild(t, dir)
	})
	t.Run("older, with its keys", func(t *testing.T) {
		dir := t.TempDir()
		mustCommand(t, "restore", "--data-dir", dir, "--from", file, "--keys", keys)
		p := ready(t, "--data-dir", dir)
		if p.trait("ada") != "pro+" || p.trait("bob") != "free+" {
			t.Errorf("ada has the plan %q, bob %q", p.trait("ada"), p.trait("bob"))
		}
	})
	t.Run("without keys, on a cluster", func(t *testing.T) {
		nats := storetest.StartCluster(t, 3)
		dir := t.TempDir()
		args := []string{"--data-dir", dir, "--nats-url", nats.URL()}
		mustCommand(t, append([]string{"restore", "--from", newer}, args...)...)
		p := ready(t, args...)
		if plan := p.trait("ada"); plan != "" {
			t.Errorf("ada is known without her key, with the plan %q", plan)
		}
		if got := digests(p); got != versions {
			t.Errorf("the versions are %s, not %s", got, versions)
		}
		p.do(request{method: "PATCH", path: live + "/features/checkout", body: `{"value":"goes on"}`}, nil)
		if said, err := command(t, "restore", "--from", newer, "--data-dir", t.TempDir(), "--nats-url", nats.URL()); err == nil || !strings.Contains(err.Error(), "not empty") {
			t.Errorf("a second restore says %s, error %v", said, err)
		}
	})
	t.Run("what is no backup", func(t *testing.T) {
		whole, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		flipped := bytes.Clone(whole)
		flipped[len(flipped)/3] ^= 1
		for name, content := range map[string][]byte{"cut": whole[:len(whole)-100], "cut in half": whole[:len(whole)/2], "altered": flipped, "empty": nil} {
			path := filepath.Join(t.TempDir(), "log.zip")
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			if said, err := command(t, "restore", "--data-dir", dir, "--from", path); err == nil || !strings.Contains(err.Error(), "cut or altered") {
				t.Errorf("%s: %v\n%s", name, err, said)
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
				t.Errorf("%s: it left %v, %v", name, left, err)
			}
		}
		// A small file that would be a large one.
		bomb := filepath.Join(t.TempDir(), "bomb.zip")
		altered(t, file, bomb, func(name string, content []byte) (string, []byte) {
			if name == "manifest.json" {
				content = append(bytes.Repeat([]byte(" "), 17<<20), content...)
			}
			return name, content
		})
		if said, err := command(t, "restore", "--data-dir", t.TempDir(), "--from", bomb); err == nil || !strings.Contains(err.Error(), "larger than 16777216 bytes") {
			t.Errorf("a manifest of 17 MiB: %v\n%s", err, said)
		}
		altered(t, file, bomb, func(name string, content []byte) (string, []byte) {
			if name == "FLAGLEDGER" {
				content = append(content, 0)
			}
			return name, content
		})
		if said, err := command(t, "restore", "--data-dir", t.TempDir(), "--from", bomb); err == nil || !strings.Contains(err.Error(), "stream FLAGLEDGER is altered") {
			t.Errorf("a stream that is longer than the manifest says: %v\n%s", err, said)
		}
		if said, err := command(t, "restore", "--data-dir", t.TempDir(), "--from", keys); err == nil || !strings.Contains(err.Error(), `kind "keys"`) {
			t.Errorf("keys for a log: %v\n%s", err, said)
		}
		if said, err := command(t, "restore", "--data-dir", dir, "--from", file); err == nil || !strings.Contains(err.Error(), "not empty") {
			t.Errorf("into a directory in use: %v\n%s", err, said)
		}
	})
}

// What a restore leaves that did not come to its end, on the way or in the comparison with the backup, is not taken for a log by anybody.
func TestRestoreCutShort(t *testing.T) {
	t.Parallel()
	p := ready(t, "--data-dir", t.TempDir())
	p.openShop("checkout")
	out := t.TempDir()
	file, forged := filepath.Join(out, "log.zip"), filepath.Join(out, "forged.zip")
	mustCommand(t, "backup", "--server", p.url, "--token", rootToken, "--to", file)
	p.stop(syscall.SIGTERM)
	altered(t, file, forged, func(name string, content []byte) (string, []byte) {
		if name == "manifest.json" {
			content = bytes.Replace(content, []byte(`"versions":`), []byte(`"versions":1`), 1) // such as 11 instead of 1
		}
		return name, content
	})
	const want = "a restore has not ended here"
	refused := func(t *testing.T, args ...string) {
		t.Helper()
		if said, err := command(t, args...); err == nil || !strings.Contains(said+err.Error(), want) || !strings.Contains(said+err.Error(), "restore again") {
			t.Errorf("%s: error %v\n%s", strings.Join(args, " "), err, said)
		}
	}
	whole := func(t *testing.T, args ...string) {
		t.Helper()
		mustCommand(t, append([]string{"restore", "--from", file}, args...)...)
		p := ready(t, args...)
		p.do(request{method: "PATCH", path: live + "/features/checkout", body: `{"value":"goes on"}`}, nil)
		p.stop(syscall.SIGTERM)
	}
	t.Run("in a data directory", func(t *testing.T) {
		dir := t.TempDir()
		if said, err := command(t, "restore", "--data-dir", dir, "--from", forged); err == nil || !strings.Contains(err.Error(), "is not what was backed up") {
			t.Fatalf("what is not what was backed up: %v\n%s", err, said)
		}
		for _, args := range [][]string{{"serve", "--listen", "127.0.0.1:0"}, {"rebuild"}, {"doctor"}, {"restore", "--from", file}} {
			refused(t, append(args, "--data-dir", dir)...)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		whole(t, "--data-dir", dir)
	})
	t.Run("in a cluster", func(t *testing.T) {
		nats := storetest.StartCluster(t, 3)
		if said, err := command(t, "restore", "--data-dir", t.TempDir(), "--nats-url", nats.URL(), "--from", forged); err == nil || !strings.Contains(err.Error(), "is not what was backed up") {
			t.Fatalf("what is not what was backed up: %v\n%s", err, said)
		}
		for _, args := range [][]string{{"serve", "--listen", "127.0.0.1:0"}, {"rebuild"}, {"doctor"}, {"restore", "--from", file}} {
			refused(t, append(args, "--data-dir", t.TempDir(), "--nats-url", nats.URL())...)
		}
		nc, err := natsgo.Connect(nats.URL())
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		js, err := jetstream.New(nc)
		if err != nil {
			t.Fatal(err)
		}
		names := js.StreamNames(t.Context())
		for name := range names.Name() {
			if err := js.DeleteStream(t.Context(), name); err != nil {
				t.Fatal(err)
			}
		}
		whole(t, "--data-dir", t.TempDir(), "--nats-url", nats.URL())
	})
	t.Run("killed", func(t *testing.T) {
		binary, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		for try := 0; ; try++ {
			dir := t.TempDir()
			cmd := exec.CommandContext(t.Context(), binary, "restore", "--data-dir", dir, "--from", file)
			cmd.Env = append(os.Environ(), beProgram+"=1")
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			for deadline := time.Now().Add(time.Minute); ; { // until it has begun
				if streams, _ := filepath.Glob(filepath.Join(dir, "nats", "jetstream", "*", "streams", "*")); len(streams) > 0 {
					break
				}
				if time.Now().After(deadline) {
					t.Fatal("the restore does not begin")
				}
				runtime.Gosched()
			}
			if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
				t.Fatal(err)
			}
			if err := cmd.Wait(); err == nil && try < 20 {
				continue // it was quicker
			}
			refused(t, "serve", "--listen", "127.0.0.1:0", "--data-dir", dir)
			return
		}
	})
}

// A backup that would replace its other half, or cannot be written, is refused before anything is.
func TestBackupPlaces(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file, linked, folder := filepath.Join(dir, "x.zip"), filepath.Join(dir, "linked"), filepath.Join(dir, "folder")
	if err := errors.Join(os.WriteFile(file, []byte("older"), 0o600), os.Symlink(dir, linked), os.Symlink(file, filepath.Join(dir, "y.zip")), os.Mkdir(folder, 0o700)); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ to, keys, want string }{
		{file, file, "both"},
		{file, filepath.Join(dir, "y.zip"), "both"},
		{filepath.Join(dir, "new.zip"), filepath.Join(linked, "new.zip"), "both"},
		{filepath.Join(dir, "new.zip"), filepath.Join(dir, "folder", "..", "new.zip"), "both"},
		{folder, "", "is a directory"},
		{filepath.Join(dir, "new.zip"), folder, "is a directory"},
		{filepath.Join(dir, "new.zip"), filepath.Join(dir, "none", "keys.zip"), "there is no directory"},
	} {
		args := []string{"backup", "--server", "http://127.0.0.1:1", "--token", rootToken, "--to", test.to}
		if test.keys != "" {
			args = append(args, "--keys", test.keys)
		}
		if said, err := command(t, args...); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("to %s, keys %s: %v\n%s", test.to, test.keys, err, said)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 4 {
		t.Errorf("there is now %v, %v", left, err)
	}
	if content, err := os.ReadFile(file); err != nil || string(content) != "older" {
		t.Errorf("the older backup is now %q, %v", content, err)
	}
}

// altered writes a copy of an archive of which each entry goes through change.
func altered(t *testing.T, from, to string, change func(name string, content []byte) (string, []byte)) {
	t.Helper()
	archive, err := zip.OpenReader(from)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = archive.Close() }()
	out, err := os.Create(to)
	if err != nil {
		t.Fatal(err)
	}
	w := zip.NewWriter(out)
	for _, entry := range archive.File {
		r, err := entry.Open()
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		name, content := change(entry.Name, content)
		part, err := w.CreateHeader(&zip.FileHeader{Name: name, Method: entry.Method})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := part.Write(content); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), out.Close()); err != nil {
		t.Fatal(err)
	}
}

// The doctor finds nothing wrong with what is well, and what is wrong; and it changes nothing.
func TestDoctor(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	p := ready(t, "--data-dir", dir)
	p.openShop("checkout")
	if said := mustCommand(t, "doctor", "--data-dir", dir); !strings.Contains(said, "skipped  log") || !strings.Contains(said, "ok       sums") {
		t.Errorf("of a running server it says %s", said)
	}
	p.stop(syscall.SIGTERM)
	files := func() map[string]string {
		all := map[string]string{}
		err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			info, err := entry.Info()
			if err != nil {
				return err
			}
			content, err := os.ReadFile(path)
			all[path] = info.ModTime().String() + string(content)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	before := files()
	said := mustCommand(t, "doctor", "--data-dir", dir)
	for _, want := range []string{"ok       files", "ok       disk", "ok       sums", "ok       log", "ok       clock", "ok       views"} {
		if !strings.Contains(said, want) && want != "ok       disk" { // which is this machine's
			t.Errorf("%q is missing in\n%s", want, said)
		}
	}
	for path, content := range files() {
		if before[path] != content {
			t.Errorf("the doctor changed %s", path)
		}
	}
	hasty := doctor{at: logPlace{dataDir: dir}, patience: 1} // as on a machine that has other things to do
	hasty.examine(t.Context())
	if i := slices.IndexFunc(hasty.findings, func(f finding) bool { return f.Check == "log" }); i < 0 || hasty.findings[i].Status != wellStatus {
		t.Errorf("where commits come late it says %+v", hasty.findings)
	}
	blocks, err := filepath.Glob(filepath.Join(dir, "nats", "jetstream", "*", "streams", "FLAGLEDGER", "msgs", "*.blk"))
	if err != nil || len(blocks) == 0 {
		t.Fatalf("the log has the files %v, %v", blocks, err)
	}
	for _, c := range []struct {
		name, want string
		path       string
		damage     func([]byte) []byte
	}{
		{"views damaged", "failed   views", filepath.Join(dir, "views.db"), func(b []byte) []byte { return bytes.ReplaceAll(b, []byte("checkout"), []byte("chickout")) }},
		{"views cut", "failed   views  the views file is damaged", filepath.Join(dir, "views.db"), func(b []byte) []byte { return b[:12288] }},
		{"views empty", "views.db is empty", filepath.Join(dir, "views.db"), func([]byte) []byte { return nil }},
		{"log damaged", "failed   log    stream FLAGLEDGER is damaged: message", blocks[0], func(b []byte) []byte { return bytes.Replace(b, []byte("checkout"), []byte("chickout"), 1) }},
		{"log cut", "failed", blocks[0], func(b []byte) []byte { return b[:len(b)/2] }},
	} {
		whole, err := os.ReadFile(c.path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(c.path, c.damage(bytes.Clone(whole)), 0o600); err != nil {
			t.Fatal(err)
		}
		said, err := command(t, "doctor", "--data-dir", dir)
		if err == nil || !strings.Contains(said, c.want) || !strings.Contains(said, "->") || strings.Contains(said, "runtime error") {
			t.Errorf("%s: error %v\n%s", c.name, err, said)
		}
		if err := os.WriteFile(c.path, whole, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(dir, "views.db"), 0o644); err != nil {
		t.Fatal(err)
	}
	var report struct {
		OK       bool
		Findings []finding
	}
	if err := json.Unmarshal([]byte(mustCommand(t, "doctor", "--json", "--data-dir", dir)), &report); err != nil || !report.OK || report.Findings[0].Status != "warning" {
		t.Errorf("others can read the views: %+v, %v", report, err)
	}
	if said, err := command(t, "doctor", "--data-dir", filepath.Join(dir, "none")); err == nil {
		t.Errorf("without a directory it says %s", said)
	}

	// Made again, the views are those of the log.
	if err := os.Remove(filepath.Join(dir, "views.db")); err != nil {
		t.Fatal(err)
	}
	if said := mustCommand(t, "rebuild", "--data-dir", dir); !strings.Contains(said, "commits/s") {
		t.Errorf("rebuild says %s", said)
	}
	p = ready(t, "--data-dir", dir)
	if said, err := command(t, "rebuild", "--data-dir", dir); err == nil || !strings.Contains(err.Error(), "stop the server") {
		t.Errorf("rebuild under a server: %v\n%s", err, said)
	}
	p.stop(syscall.SIGTERM)
	checkRebuild(t, dir)
}

// Where there is no room for a copy of the log, as in an image without a directory for temporary files, that says nothing of the log.
func TestDoctorWithoutRoom(t *testing.T) {
	dir := t.TempDir()
	store, err := eventstore.Open(t.Context(), eventstore.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", filepath.Join(dir, "none"))
	said, _ := command(t, "doctor", "--data-dir", dir)
	if !strings.Contains(said, "skipped  log    there is no room for a copy") || !strings.Contains(said, "set TMPDIR") {
		t.Errorf("it says %s", said)
	}
}
