package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// The program that the table compares with is the test binary once more.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "floor" {
		main()
		return
	}
	status := m.Run()
	if built.dir != "" {
		_ = os.RemoveAll(built.dir)
	}
	os.Exit(status)
}

// built is the program, for all tests that measure it.
var built struct {
	once sync.Once
	dir  string
	err  error
}

func build(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("measures the whole program, which is built for it")
	}
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "flagledger-bench-test-"); built.err != nil {
			return
		}
		if out, err := exec.Command("go", "build", "-o", filepath.Join(built.dir, "flagledger"), "flagledger/cmd/flagledger").CombinedOutput(); err != nil {
			built.err = fmt.Errorf("build: %w\n%s", err, out)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return filepath.Join(built.dir, "flagledger")
}

// Every row can be measured: the workloads load, and all answers are right. The figures of so short a run mean nothing.
func TestHTTP(t *testing.T) {
	file := filepath.Join(t.TempDir(), "performance.md")
	if err := os.WriteFile(file, []byte("before\n<!-- bench-http -->\nold\n<!-- end of bench-http -->\nafter\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var table bytes.Buffer
	args := []string{"http", "-binary", build(t), "-round", "20ms", "-rounds", "1", "-scale", "0.001", "-update", file}
	if err := run(t.Context(), args, &table, t.Output()); err != nil {
		t.Fatal(err)
	}
	written, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if want := "before\n<!-- bench-http -->\n" + table.String() + "<!-- end of bench-http -->\nafter\n"; string(written) != want {
		t.Errorf("the file is\n%s\nwant\n%s", written, want)
	}
	for _, row := range []string{"W1: all 100 flags", "W2: one flag", "W3: all 1,000 flags", "W4: ready", "GET flags, unchanged", "GET environment-document", "changed trait", "change, durable", "8 project(s)", "streams are told", "1 x the overrides", "idle demo"} {
		if !strings.Contains(table.String(), row) {
			t.Errorf("the table has no row %q:\n%s", row, &table)
		}
	}
}

// The same seed makes the same project, on every machine.
func TestWorkloadIsFixed(t *testing.T) {
	for _, w := range []workload{w1, w3} {
		if a, b := text(w.commands()), text(w.commands()); a != b {
			t.Errorf("%s is made differently each time", w.project)
		} else if len(a) > 1<<20 {
			t.Errorf("the commands of %s take %d bytes, more than a server takes by default", w.project, len(a))
		}
	}
	const want = `{"identifier":"user-0000007","traits":[`
	if got := text(identity(7)); !strings.HasPrefix(got, want) {
		t.Errorf("identity 7 is %s", got)
	}
}

// A load ends with the first wrong answer, and says what it was.
func TestLoadMeetsAWrongAnswer(t *testing.T) {
	floor, err := startFloor(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := floor.stop(); err != nil {
			t.Error(err)
		}
	}()
	l := load{address: floor.address, connections: 4, total: 1000, status: 200, request: func(b []byte, n int) []byte {
		path := "/fixed/10"
		if n == 500 {
			path = "/elsewhere"
		}
		return append(b, message("GET", path, nil, "")...)
	}}
	if r, err := l.run(t.Context()); err == nil || !strings.Contains(err.Error(), "404 Not Found, want 200") || r.requests >= 1000 {
		t.Errorf("%d requests, error %v", r.requests, err)
	}
}

// A short soak passes, and one in which something grows does not.
func TestSoak(t *testing.T) {
	var report bytes.Buffer
	file := filepath.Join(t.TempDir(), "performance.md")
	if err := os.WriteFile(file, []byte("before\n<!-- soak -->\nold\n<!-- end of soak -->\nbehind\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context(), []string{"soak", "-binary", build(t), "-duration", "1s", "-streams", "20", "-scale", "0.01", "-update", file}, &report, t.Output()); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(file); err != nil || string(got) != "before\n<!-- soak -->\n"+report.String()+"<!-- end of soak -->\nbehind\n" {
		t.Errorf("the file has become, %v:\n%s", err, got)
	}
	for _, part := range []string{"W1: ", "changes: ", "no error", "goroutines: "} {
		if !strings.Contains(report.String(), part) {
			t.Errorf("the report lacks %q:\n%s", part, &report)
		}
	}
	if early := (health{100 << 20, 600}); grown(early, health{110 << 20, 620}) != nil {
		t.Error("what chance explains counts as growth")
	} else if grown(early, health{200 << 20, 600}) == nil || grown(early, health{100 << 20, 1200}) == nil {
		t.Error("growth is not noticed")
	}
}

// What another tool prints goes into the documents, and nothing does not.
func TestPut(t *testing.T) {
	file := filepath.Join(t.TempDir(), "performance.md")
	if err := os.WriteFile(file, []byte("<!-- parts -->\nold\n<!-- end of parts -->\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var printed bytes.Buffer
	if err := put(options{update: file}, "parts", strings.NewReader("new\n"), &printed); err != nil || printed.String() != "new\n" {
		t.Errorf("printed %q, %v", &printed, err)
	}
	if put(options{update: file}, "parts", strings.NewReader(""), &printed) == nil || put(options{update: file}, "others", strings.NewReader("new"), &printed) == nil {
		t.Error("nothing, or a text without a place, is put")
	}
	if got, err := os.ReadFile(file); err != nil || string(got) != "<!-- parts -->\nnew\n<!-- end of parts -->\n" {
		t.Errorf("the file has become %q, %v", got, err)
	}
}
