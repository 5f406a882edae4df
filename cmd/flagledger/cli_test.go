package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// The command line is tested as people use it: scripts and the examples of docs/cli.md run the program against a server with the demo.

var updateDocs = flag.Bool("update-docs", false, "write what the examples of docs/cli.md print")

// onPath makes the program be called flagledger, in a directory for PATH.
func onPath(t *testing.T) string {
	t.Helper()
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Symlink(binary, filepath.Join(dir, "flagledger")); err != nil {
		t.Fatal(err)
	}
	return dir + string(os.PathListSeparator) + os.Getenv("PATH")
}

// demo starts a server with the demo's shop.
func demo(t *testing.T) *program {
	t.Helper()
	p := serving(t, nil, "--demo", "--data-dir", t.TempDir())
	p.awaitReady(http.StatusOK)
	return p
}

// settings are the variables that commands need to speak to the demo's production.
func settings(server string) []string {
	return []string{
		beProgram + "=1", "FLAGLEDGER_SERVER=" + server, "FLAGLEDGER_TOKEN=" + demoAdminToken,
		"FLAGLEDGER_PROJECT=" + demoProject, "FLAGLEDGER_ENVIRONMENT=production",
	}
}

// Each script has a server of its own. Beside the usual commands a script has
//
//	status N flagledger ...
//
// which expects the program to end with the status, and
//
//	api METHOD PATH BODY
//	looked OBJECT
//
// which change something of the demo's project over HTTP, and wait until the access log has a look at the object.
func TestScripts(t *testing.T) {
	if testing.Short() {
		t.Skip("starts the program two hundred times")
	}
	scripts, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("there are no scripts: %v", err)
	}
	path := onPath(t)
	for _, script := range scripts {
		t.Run(strings.TrimSuffix(filepath.Base(script), ".txtar"), func(t *testing.T) {
			server := demo(t)
			testscript.Run(t, testscript.Params{
				Files: []string{script},
				Setup: func(e *testscript.Env) error {
					e.Vars = append(e.Vars, settings(server.url)...)
					e.Setenv("PATH", path)
					e.Setenv("XDG_CONFIG_HOME", filepath.Join(e.WorkDir, "config"))
					return nil
				},
				Cmds: map[string]func(*testscript.TestScript, bool, []string){
					"status": status,
					"api": func(_ *testscript.TestScript, _ bool, args []string) {
						server.do(request{method: args[0], path: "/admin/v1/projects/" + demoProject + "/" + args[1], token: demoAdminToken, body: args[2]}, nil)
					},
					"looked": func(_ *testscript.TestScript, _ bool, args []string) {
						server.await("a look at "+args[0], func(ctx context.Context) error {
							if a := server.send(ctx, request{path: "/admin/v1/access-log?project=" + demoProject + "&object=" + args[0], token: demoAdminToken}); !strings.Contains(string(a.body), args[0]) {
								return fmt.Errorf("it has %s", a.body)
							}
							return nil
						})
					},
				},
			})
		})
	}
}

func status(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N command [argument ...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	err = ts.Exec(args[1], args[2:]...)
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("%s ended with status %d, want %d", args[1], got, want)
	}
}

// What differs from run to run in what the examples print, and what stands for it, of the same width.
var varying = []struct {
	pattern *regexp.Regexp
	stands  string
}{
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)Z`), "2026-05-03T14:02:11.262740309Z"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`), "2026-05-03T14:02:11Z"},
	{regexp.MustCompile(`\b[0-9a-f]{12}\b( +\S)`), "452acf761592$1"}, // the digest of a version
}

// The examples of docs/cli.md, run in their order on a new demo, print what stands there.
func TestDocs(t *testing.T) {
	const name = "../../docs/cli.md"
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	server := demo(t)
	environ := append(os.Environ(), beProgram+"=1", "PATH="+onPath(t), "XDG_CONFIG_HOME="+t.TempDir())
	for _, export := range regexp.MustCompile(`(?m)^export (\S+)$`).FindAllSubmatch(text, -1) {
		environ = append(environ, strings.ReplaceAll(string(export[1]), "http://127.0.0.1:8000", server.url))
	}
	examples := 0
	got := regexp.MustCompile("(?s)```console\n\\$ (.*?)\n(.*?)```\n").ReplaceAllFunc(text, func(example []byte) []byte {
		examples++
		_, rest, _ := bytes.Cut(example, []byte("$ "))
		command, _, _ := bytes.Cut(rest, []byte("\n"))
		cmd := exec.CommandContext(t.Context(), "sh", "-c", string(command))
		cmd.Env = environ
		printed, err := cmd.CombinedOutput()
		if _, failed := errors.AsType[*exec.ExitError](err); err != nil && !failed {
			t.Fatalf("%s: %v", command, err)
		}
		for _, v := range varying {
			printed = v.pattern.ReplaceAll(printed, []byte(v.stands))
		}
		return fmt.Appendf(nil, "```console\n$ %s\n%s```\n", command, printed)
	})
	if examples < 10 {
		t.Errorf("there are %d examples, want one of each command at least", examples)
	}
	if *updateDocs {
		if err := os.WriteFile(name, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if !bytes.Equal(got, text) {
		t.Errorf("%s is not what the commands print; with -update-docs it would be\n%s", name, got)
	}
}

// What is carried out is what was shown: where something is changed between the two, nothing is, and it is said why.
func TestStalePlan(t *testing.T) {
	server := demo(t)
	target, err := url.Parse(server.url)
	if err != nil {
		t.Fatal(err)
	}
	var meanwhile atomic.Bool
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.ModifyResponse = func(res *http.Response) error {
		if res.Request.Method == http.MethodPost && meanwhile.CompareAndSwap(false, true) { // the preview was made
			server.do(request{
				method: http.MethodPatch, path: "/admin/v1/projects/the-mart/environments/production/features/banner_text", token: demoAdminToken,
				body: `{"value": "Winter is coming", "reason": "somebody else"}`,
			}, nil)
		}
		return nil
	}
	between := httptest.NewServer(proxy)
	t.Cleanup(between.Close)

	cli := launch(t, settings(between.URL), "rollback", "6", "--reason", "too early", "--yes")
	cli.wait()
	if exit, ok := errors.AsType[*exec.ExitError](cli.err); !ok || exit.ExitCode() != 1 {
		t.Errorf("it ended with %v, want status 1", cli.err)
	}
	if said := cli.stderr.String(); !strings.Contains(said, "something was changed since the preview") {
		t.Errorf("it says %q", said)
	}
	var versions struct{ Items []struct{ Reason string } }
	server.do(request{path: "/admin/v1/projects/the-mart/environments/production/versions?limit=1", token: demoAdminToken}, &versions)
	if versions.Items[0].Reason != "somebody else" {
		t.Errorf("the newest version was made because %q", versions.Items[0].Reason)
	}
}

// Answers that are no problems of Flagledger are told as they are, and steer no terminal.
func TestForeignAnswers(t *testing.T) {
	for name, test := range map[string]struct {
		answer http.HandlerFunc
		stderr string
	}{
		"a proxy's error": {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "<b>no\x1b[2J</b>", http.StatusBadGateway) }, `answers 502 Bad Gateway: <b>no\u001b[2J</b>`},
		"another service": {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }, `decode the answer of /admin/v1/audit`},
		"cut off": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "9")
			_, _ = io.WriteString(w, `{`)
		}, `read the answer of /admin/v1/audit: unexpected EOF`},
		"an inner problem": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(500)
			_, _ = io.WriteString(w, `{"status":500,"detail":"an internal error","request_id":"r1"}`)
		}, `an internal error (request r1)`},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(test.answer)
			t.Cleanup(server.Close)
			var stdout, stderr bytes.Buffer
			t.Setenv("XDG_CONFIG_HOME", t.TempDir())
			err := run(t.Context(), []string{"audit", "--server", server.URL, "--token", "x"}, &stdout, &stderr)
			if err == nil || !strings.Contains(err.Error(), test.stderr) {
				t.Errorf("it ends with %v, want %s", err, test.stderr)
			}
		})
	}
}

func TestParseTrait(t *testing.T) {
	for text, want := range map[string]string{
		"country=CA":          `country "CA"`,
		"age=42":              `age 42`,
		"score=-1.5e3":        `score -1.5e3`,
		"beta=true":           `beta true`,
		"beta==true":          `beta "true"`,
		"zip=01234":           `zip "01234"`,
		"version=4.2.0":       `version "4.2.0"`,
		"age==42":             `age "42"`,
		"age:=42":             `age 42`,
		`name:="Ana"`:         `name "Ana"`,
		"gone:=null":          `gone null`,
		"word=null":           `word "null"`,
		"list=[1]":            `list "[1]"`,
		"spaced= 1":           `spaced " 1"`,
		"empty=":              `empty ""`,
		"empty==":             `empty ""`,
		"formula===a=b":       `formula "=a=b"`,
		"url=https://x?a=b:c": `url "https://x?a=b:c"`,
		"a:b=c":               `a:b "c"`,
		`quoted="x"`:          `quoted "\"x\""`,

		"country":   `trait "country": want key=value, key==text or key:=JSON`,
		"=CA":       `trait "=CA" has no key`,
		":=1":       `trait ":=1" has no key`,
		"a:=b":      `trait "a:=b": b is not JSON; text is written with quotes, or as key==text`,
		"a:=":       `trait "a:=":  is not JSON; text is written with quotes, or as key==text`,
		"a:=1 true": `trait "a:=1 true": 1 true is not JSON; text is written with quotes, or as key==text`,
	} {
		key, value, err := parseTrait(text)
		got := key + " " + string(value)
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s is read as %s, want %s", text, got, want)
		}
	}
}

func TestClean(t *testing.T) {
	for text, want := range map[string]string{
		"plain, Ünïcode, 日本語": "plain, Ünïcode, 日本語",
		"\x1b[31mred\x1b[0m":  `\u001b[31mred\u001b[0m`,
		"two\nlines\tand\r":   `two\u000alines\u0009and\u000d`,
		"c1 \u009b31m":        `c1 \u009b31m`,
		"turned \u202eround":  `turned \u202eround`,
		"family 👨‍👩‍👧":        "family 👨‍👩‍👧",
	} {
		if got := clean(text); got != want {
			t.Errorf("%q is written %s, want %s", text, got, want)
		}
	}
}
