package main

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"

	"flagledger/eventstore/storetest"
)

// A pasted request of the demo, and pieces of its answer in their order.
type pasted struct {
	command string
	answer  []string
}

var (
	printedRequest = regexp.MustCompile(`(?s)\n\d+\. [^\n]+\n\n(curl .*?)\n\n   answers (.*?)\n`)
	readmeRequest  = regexp.MustCompile("(?s)```sh\n(curl [^`]*?)\n```(?:\n```\n(.*?)\n```)?")
)

// requestsIn finds requests, and cuts their answers at the dots that stand for what is left out.
func requestsIn(text string, pattern *regexp.Regexp) (all []pasted) {
	for _, found := range pattern.FindAllStringSubmatch(text, -1) {
		one := pasted{command: found[1]}
		for piece := range strings.SplitSeq(found[2], "...") {
			one.answer = append(one.answer, strings.TrimSpace(piece))
		}
		all = append(all, one)
	}
	return all
}

// paste runs the request in a shell.
func (r pasted) paste(t *testing.T) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh", "-c", r.command)
	cmd.Stderr = t.Output()
	got, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v", r.command, err)
	}
	rest := string(got)
	for _, piece := range r.answer {
		_, after, found := strings.Cut(rest, piece)
		if !found {
			t.Errorf("%s\nanswers %s\nwhich lacks (in this order) %s", r.command, got, piece)
			return
		}
		rest = after
	}
}

func needCurl(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("curl is not installed: the printed requests cannot be run as they are printed")
	}
}

// The demo is there after the first start, a second one adds nothing and prints the same, and what it prints is true.
func TestDemo(t *testing.T) {
	dir := t.TempDir()
	prints := func() (*program, string) {
		p := serving(t, nil, "--demo", "--data-dir", dir)
		p.awaitReady(http.StatusOK)
		return p, strings.ReplaceAll(p.stdout.String(), p.url, "URL")
	}
	p, first := prints()
	_, first, _ = strings.Cut(first, "(it is shown this once; keep it)\n")
	position := p.position()
	p.stop(os.Interrupt)

	p, second := prints()
	if second != first || first == "" {
		t.Errorf("the second start printed\n%s\nthe first one\n%s", second, first)
	}
	if again := p.position(); again != position {
		t.Errorf("the second start left the log at position %d, the first one at %d", again, position)
	}
	needCurl(t)
	requests := requestsIn(p.stdout.String(), printedRequest)
	if len(requests) != 6 {
		t.Fatalf("%d requests are printed, want 6:\n%s", len(requests), second)
	}
	for _, r := range requests {
		r.paste(t)
	}
	p.stop(os.Interrupt)
}

// The README's requests, pasted, give the README's answers.
func TestReadme(t *testing.T) {
	needCurl(t)
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(text), "\n## The demo\n")
	if !found {
		t.Skip("the README has no section about the demo")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	p := serving(t, nil, "--demo", "--data-dir", t.TempDir())
	p.awaitReady(http.StatusOK)
	requests := requestsIn(section, readmeRequest)
	if len(requests) < 4 {
		t.Errorf("the README has %d requests, want at least an app's, a change, its audit and a rollback", len(requests))
	}
	for _, r := range requests {
		if len(r.answer) == 1 && r.answer[0] == "" {
			t.Errorf("the README tells no answer of\n%s", r.command)
		}
		r.command = strings.ReplaceAll(r.command, "http://127.0.0.1:8000", p.url)
		r.paste(t)
	}
	p.stop(syscall.SIGTERM)
}

// The two commands that the README begins with are those that this repository has.
func TestReadmeCommands(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	if want := "```sh\ngo run ./cmd/flagledger serve --demo\ngo test ./...\n```"; !strings.Contains(string(text), want) {
		t.Errorf("the README lacks\n%s", want)
	}
}

func TestCommandLine(t *testing.T) {
	tests := map[string]struct {
		environ []string
		args    []string
		stdout  string
		stderr  string // where it is not empty, the status is 1
	}{
		"version":              {args: []string{"version"}, stdout: version + "\n"},
		"help":                 {args: []string{"serve", "--help"}, stdout: "--data-dir string"},
		"unknown command":      {args: []string{"swim"}, stderr: `unknown command "swim"`},
		"unknown flag":         {args: []string{"serve", "--colour"}, stderr: "unknown flag: --colour"},
		"an argument too many": {args: []string{"serve", "now"}, stderr: `"now"`},
		"log level":            {args: []string{"serve", "--log-level", "loud"}, stderr: `log level "loud": want debug, info, warn or error`},
		"log level of the environment": {
			environ: []string{"FLAGLEDGER_LOG_LEVEL=loud"}, args: []string{"serve"}, stderr: `log level "loud"`,
		},
		"an address that cannot be":  {args: []string{"serve", "--listen", "256.0.0.1:0"}, stderr: "listen on 256.0.0.1:0"},
		"an access log that is none": {args: []string{"serve", "--access-log", "some"}, stderr: `access log "some": want off, sensitive or all`},
		"no days of it":              {args: []string{"serve", "--access-log-days", "0"}, stderr: "days of the access log 0: want 1 to 36500"},
		"fewer replicas than none":   {args: []string{"serve", "--replicas", "-3"}, stderr: "replicas -3: want 0 or more"},
		"no body at all":             {args: []string{"serve", "--body-limit", "0"}, stderr: "body limit 0: want at least 1 byte"},
		"a limit that is none":       {args: []string{"serve", "--limits", "feature=7"}, stderr: `there is no limit "feature"; there are condition-bytes, conditions, environments, features`},
		"a limit below one":          {environ: []string{"FLAGLEDGER_LIMITS=features=7,traits=0"}, args: []string{"serve"}, stderr: "the limit of traits cannot be 0"},
		"a negative rate":            {args: []string{"serve", "--sdk-rate", "-1"}, stderr: "SDK rate -1: want 0 to"},
		"a rate that is none":        {args: []string{"serve", "--admin-rate", "NaN"}, stderr: "admin rate NaN: want 0 to"},
		"a number that is none": {
			environ: []string{"FLAGLEDGER_BODY_LIMIT=1MB"}, args: []string{"serve"}, stderr: `FLAGLEDGER_BODY_LIMIT`,
		},
		"a data directory that is a file": {args: []string{"serve", "--data-dir", "main_test.go"}, stderr: "main_test.go"},
		"a certificate without a key":     {args: []string{"serve", "--tls-cert", "cert.pem"}, stderr: "tls-key"},
		"a key without a certificate":     {args: []string{"serve", "--tls-key", "key.pem"}, stderr: "tls-cert"},
		"a certificate that is not there": {args: []string{"serve", "--tls-cert", "cert.pem", "--tls-key", "key.pem"}, stderr: "cert.pem"},
		"a NATS URL that is none":         {args: []string{"serve", "--nats-url", "nats://user:hunter2@%zz"}, stderr: "is not a URL"},
		"health of nobody":                {args: []string{"health", "--url", "http://127.0.0.1:1/readyz"}, stderr: "health: "},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			args := test.args
			if args[0] == "serve" {
				args = append([]string{"serve", "--listen", "127.0.0.1:0", "--data-dir", t.TempDir()}, args[1:]...)
			}
			p := launch(t, test.environ, args...)
			p.wait()
			if !strings.Contains(p.stdout.String(), test.stdout) || !strings.Contains(p.stderr.String(), test.stderr) {
				t.Errorf("stdout %q, want %q; stderr %q, want %q", &p.stdout, test.stdout, &p.stderr, test.stderr)
			}
			if strings.Contains(p.stderr.String(), "hunter2") {
				t.Error("the password is printed")
			}
			if failed := p.err != nil; failed != (test.stderr != "") {
				t.Errorf("it ended with %v", p.err)
			}
		})
	}
}

// A start whose address is taken leaves nothing behind.
func TestAddressIsTaken(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	dir := filepath.Join(t.TempDir(), "data")
	p := launch(t, nil, "serve", "--listen", listener.Addr().String(), "--data-dir", dir)
	p.wait()
	if _, err := os.Stat(dir); p.err == nil || err == nil || !strings.Contains(p.stderr.String(), "listen on "+listener.Addr().String()) {
		t.Errorf("it ended with %v; the data directory: %v; it says %s", p.err, err, &p.stderr)
	}
}

// A server tells of itself, also to the command that images ask it by.
func TestHealth(t *testing.T) {
	t.Parallel()
	p := ready(t, "--data-dir", t.TempDir())
	health := launch(t, nil, "health", "--url", p.url+"/readyz")
	if health.wait(); health.err != nil || !strings.Contains(health.stdout.String(), `"status":"ok"`) {
		t.Errorf("health: %v, it printed %s%s", health.err, &health.stdout, &health.stderr)
	}
	for path, want := range map[string]string{"/healthz": `"status":"ok"`, "/version": `"version":"` + version + `"`, "/metrics": "go_goroutines"} {
		if a := p.do(request{path: path}, nil); !strings.Contains(string(a.body), want) {
			t.Errorf("%s answers %s, want %s", path, a.body, want)
		}
	}
	p.stop(syscall.SIGTERM)
}

// A stop takes less than five seconds and is no failure, whatever clients are doing.
func TestStop(t *testing.T) {
	for _, signal := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		t.Run(signal.String(), func(t *testing.T) {
			t.Parallel()
			p := ready(t, "--data-dir", t.TempDir())
			p.openShop("checkout")
			var streams sync.WaitGroup
			for range 3 {
				res, err := http.Get(p.url + "/sse/environments/" + clientKey + "/stream")
				if err != nil {
					t.Fatal(err)
				}
				lines := bufio.NewReader(res.Body)
				if line, err := lines.ReadString('\n'); err != nil || line != "event: environment_updated\n" {
					t.Fatalf("the stream begins with %q, error %v", line, err)
				}
				streams.Go(func() {
					defer func() { _ = res.Body.Close() }()
					for {
						if _, err := lines.ReadString('\n'); err != nil {
							if err.Error() != "EOF" {
								t.Errorf("the stream ended with %v, want its end", err)
							}
							return
						}
					}
				})
			}
			idle, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://")) // as browsers do in advance
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = idle.Close() }()
			p.stop(signal)
			streams.Wait()
		})
	}
	t.Run("while a client does not send what it announced", func(t *testing.T) {
		t.Parallel()
		p := ready(t, "--data-dir", t.TempDir())
		slow, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = slow.Close() }()
		_, err = fmt.Fprintf(slow, "POST /admin/v1/projects HTTP/1.1\r\nHost: shop\r\nAuthorization: Bearer %s\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n", rootToken)
		if err != nil {
			t.Fatal(err)
		}
		if line, err := bufio.NewReader(slow).ReadString('\n'); err != nil || !strings.Contains(line, "100 Continue") {
			t.Fatalf("got %q, error %v; want that the body is being read", line, err)
		}
		p.stop(syscall.SIGTERM)
	})
	t.Run("while changes are under way", func(t *testing.T) {
		t.Parallel()
		p := ready(t, "--data-dir", t.TempDir())
		features := []string{"a", "b", "c", "d"}
		p.openShop(features...)
		var writers, begun sync.WaitGroup
		for _, feature := range features {
			begun.Add(1)
			writers.Go(func() {
				for n := 1; ; n++ {
					a := p.send(t.Context(), request{method: "PATCH", path: live + "/features/" + feature, body: fmt.Sprintf(`{"value":"%d"}`, n)})
					if n == 3 {
						begun.Done()
					}
					if a.err != nil {
						return // the connection was ended before, or the listener was
					}
					if !a.recorded() {
						t.Errorf("a change under way is answered %d %s, want 200", a.status, a.body)
						return
					}
				}
			})
		}
		begun.Wait()
		p.stop(syscall.SIGTERM)
		writers.Wait()
	})
	t.Run("while NATS is away", func(t *testing.T) {
		t.Parallel()
		p := serving(t, nil, "--data-dir", t.TempDir(), "--nats-url", "nats://127.0.0.1:1")
		p.awaitReady(http.StatusServiceUnavailable)
		p.stop(os.Interrupt)
	})
}

// A data directory has one process. A second one says which directory, and leaves the first one in peace.
func TestDataDirectoryInUse(t *testing.T) {
	t.Parallel()
	nats := storetest.StartCluster(t, 1)
	for name, args := range map[string][]string{"embedded": nil, "with NATS elsewhere": {"--nats-url", nats.URL(), "--replicas", "1"}} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "ledger")
			p := ready(t, append(args, "--data-dir", dir)...)
			second := launch(t, nil, append([]string{"serve", "--listen", "127.0.0.1:0", "--data-dir", dir}, args...)...)
			second.wait()
			if text := second.stderr.String(); second.err == nil || !strings.Contains(text, dir) || !strings.Contains(text, "in use by") {
				t.Errorf("the second one ended with %v and printed %q, want that %s is in use", second.err, text, dir)
			}
			p.awaitReady(http.StatusOK)
			p.openShop()
			p.stop(os.Interrupt)
		})
	}
}

var printedToken = regexp.MustCompile(`admin token: (\S+)\n`)

// The first start makes a token that may do everything, and prints it once.
func TestFirstToken(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		environ []string
		given   string
	}{
		"random":                      {},
		"an empty variable is no one": {environ: []string{"FLAGLEDGER_ADMIN_TOKEN="}},
		"given":                       {environ: []string{"FLAGLEDGER_ADMIN_TOKEN=" + rootToken}, given: rootToken},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			p := serving(t, test.environ, "--data-dir", dir)
			p.awaitReady(http.StatusOK)
			token := test.given
			if printed := printedToken.FindStringSubmatch(p.stdout.String()); printed != nil {
				token = printed[1]
			}
			p.do(request{path: "/admin/v1/projects", token: token, body: `{"key":"shop"}`}, nil)
			if printed := strings.Contains(p.stdout.String(), "admin token"); printed != (test.given == "") {
				t.Errorf("printed was %q", &p.stdout)
			}
			p.stop(os.Interrupt)

			p = serving(t, test.environ, "--data-dir", dir)
			p.awaitReady(http.StatusOK)
			if p.stop(os.Interrupt); p.stdout.String() != "" {
				t.Errorf("the second start printed %q", &p.stdout)
			}
		})
	}
}

// Of two processes that start together on one new log, one makes the first token.
func TestFirstTokenOnce(t *testing.T) {
	t.Parallel()
	nats := storetest.StartCluster(t, 1)
	var both []*program
	for range 2 {
		both = append(both, serving(t, []string{"FLAGLEDGER_ADMIN_TOKEN="}, "--data-dir", t.TempDir(), "--nats-url", nats.URL(), "--replicas", "1"))
	}
	for _, p := range both {
		p.awaitReady(http.StatusOK)
	}
	var printed strings.Builder
	for _, p := range both {
		p.stop(os.Interrupt)
		printed.WriteString(p.stdout.String())
	}
	if n := len(printedToken.FindAllString(printed.String(), -1)); n != 1 {
		t.Errorf("%d tokens were printed, want 1:\n%s", n, printed.String())
	}
}
