package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The tests of the whole program run it as a process of its own, so that they can send it signals and kill it. The process is the test binary
// once more: there is nothing to build before, and under the race detector the program is under it too.

// beProgram in the environment of a test binary makes it be the program.
const beProgram = "FLAGLEDGER_TEST_BE_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(beProgram) != "" {
		main()
		return
	}
	if config := os.Getenv(beNode); config != "" {
		runNode(config)
		return
	}
	os.Exit(m.Run())
}

// patience is how long a test waits for what should take a moment, on a machine that has other things to do.
const patience = time.Minute

// rootToken is the administrator's in the tests that do not want a random one.
const rootToken = "flt_root_4fXq9pYt7cVb2nLs8dKe6hGj3mWz5rAu"

// A program is a running Flagledger.
type program struct {
	t              testing.TB
	cmd            *exec.Cmd
	stdout, stderr output
	url            string
	exited         chan struct{} // closed when the process has ended
	err            error         // how it ended, once exited is closed
}

// launch starts the program with arguments and additions to its environment. What it printed is shown when the test has failed.
func launch(t testing.TB, environ []string, args ...string) *program {
	t.Helper()
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &program{t: t, cmd: exec.Command(binary, args...), exited: make(chan struct{})}
	p.cmd.Env = append(append(os.Environ(), beProgram+"=1"), environ...)
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("start %v: %v", args, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.exited)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.exited
		if t.Failed() {
			t.Logf("%s\n--- stdout\n%s--- stderr\n%s", strings.Join(args, " "), tail(p.stdout.String()), tail(p.stderr.String()))
		}
	})
	return p
}

// serving starts a server on a port of its own and returns when it listens.
func serving(t testing.TB, environ []string, args ...string) *program {
	t.Helper()
	p := launch(t, environ, append([]string{"serve", "--listen", "127.0.0.1:0"}, args...)...)
	p.url = "http://" + p.awaitStderr(regexp.MustCompile(`msg=listening address=(\S+)`))
	return p
}

// ready starts a server whose administrator has rootToken, and returns when it can do all its work.
func ready(t testing.TB, args ...string) *program {
	t.Helper()
	p := serving(t, []string{"FLAGLEDGER_ADMIN_TOKEN=" + rootToken}, args...)
	p.awaitReady(http.StatusOK)
	return p
}

// awaitReady waits until /readyz answers with the status, and returns its detail.
func (p *program) awaitReady(status int) (detail string) {
	p.t.Helper()
	var answer struct{ Detail string }
	p.await(fmt.Sprintf("/readyz answers %d", status), func(ctx context.Context) error {
		got := p.send(ctx, request{path: "/readyz"})
		if got.err == nil && got.status != status {
			return fmt.Errorf("it answers %d %s", got.status, got.body)
		}
		return errors.Join(got.err, json.Unmarshal(got.body, &answer))
	})
	return answer.Detail
}

// await repeats a try until it succeeds, and fails the test when the program ends before or patience does.
func (p *program) await(what string, try func(context.Context) error) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	defer cancel()
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	var before error // of the last try that was not cut short
	for {
		err := try(ctx)
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			err = errors.Join(err, before)
		}
		before = err
		select {
		case <-again.C:
		case <-p.exited:
			p.t.Fatalf("%s: the program has ended: %v", what, p.err)
		case <-ctx.Done():
			p.t.Fatalf("%s: not within %v: %v", what, patience, err)
		}
	}
}

// awaitStderr waits for a line and returns what the pattern's group matched.
func (p *program) awaitStderr(pattern *regexp.Regexp) string {
	p.t.Helper()
	return p.awaitOutput(&p.stderr, pattern)
}

func (p *program) awaitOutput(o *output, pattern *regexp.Regexp) string {
	p.t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for {
		text, more := o.read()
		if found := pattern.FindStringSubmatch(text); found != nil {
			return found[1]
		}
		select {
		case <-more:
		case <-p.exited:
			if text, _ := o.read(); !pattern.MatchString(text) {
				p.t.Fatalf("the program has ended (%v) without printing %s", p.err, pattern)
			}
		case <-deadline.C:
			p.t.Fatalf("the program did not print %s within %v", pattern, patience)
		}
	}
}

// stop asks the program to end and expects it to do so with status 0 within five seconds.
func (p *program) stop(signal os.Signal) {
	p.t.Helper()
	begin := time.Now()
	if err := p.cmd.Process.Signal(signal); err != nil {
		p.t.Fatalf("signal %v: %v", signal, err)
	}
	p.wait()
	if took := time.Since(begin); took > stopWithin { // the machine may have had other things to do
		p.t.Logf("%v after %v the program ended; it means to within %v", took, signal, stopWithin)
	}
	if p.err != nil {
		p.t.Errorf("after %v the program ended with %v, want status 0", signal, p.err)
	}
}

// kill ends the program as a power cut does.
func (p *program) kill() {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGKILL); err != nil {
		p.t.Fatal(err)
	}
	p.wait()
}

func (p *program) wait() {
	p.t.Helper()
	select {
	case <-p.exited:
	case <-time.After(patience):
		p.t.Fatalf("the program did not end within %v", patience)
	}
}

// A request to a program. Paths of the administration get rootToken where the request brings no token.
type request struct {
	method, path string // method empty: GET, or POST with a body
	token        string
	body         string
	header       map[string]string
}

// An answer is what came back; err means that nothing did.
type answer struct {
	status int
	header http.Header
	body   []byte
	err    error
}

func (p *program) send(ctx context.Context, r request) (a answer) {
	if r.method == "" {
		r.method = http.MethodGet
		if r.body != "" {
			r.method = http.MethodPost
		}
	}
	req, err := http.NewRequestWithContext(ctx, r.method, p.url+r.path, strings.NewReader(r.body))
	if err != nil {
		return answer{err: err}
	}
	if r.token == "" {
		r.token = rootToken
	}
	if strings.HasPrefix(r.path, "/admin/") {
		req.Header.Set("Authorization", "Bearer "+r.token)
	}
	if r.body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for name, value := range r.header {
		req.Header.Set(name, value)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return answer{err: err}
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	return answer{res.StatusCode, res.Header, body, err}
}

// recorded tells whether the answer is that of a change that was recorded, also where it could not be seen yet within two seconds.
func (a answer) recorded() bool {
	return a.err == nil && (a.status == http.StatusOK || a.status == http.StatusCreated || a.status == http.StatusAccepted)
}

// do sends a request that must succeed, and decodes the answer into out unless that is nil. What it changed can be seen afterwards.
func (p *program) do(r request, out any) answer {
	p.t.Helper()
	a := p.send(p.t.Context(), r)
	if a.err != nil || a.status < 200 || a.status > 299 {
		p.t.Fatalf("%s %s %s: %d %s %v", r.method, r.path, r.body, a.status, a.body, a.err)
	}
	if a.status == http.StatusAccepted {
		p.awaitPosition(a.position(p.t))
	}
	if out != nil {
		if err := json.Unmarshal(a.body, out); err != nil {
			p.t.Fatalf("%s %s: decode %s: %v", r.method, r.path, a.body, err)
		}
	}
	return a
}

// position is that of the last commit the program shows.
func (p *program) position() (position uint64) {
	p.t.Helper()
	var ready struct{ Position uint64 }
	p.do(request{path: "/readyz"}, &ready)
	return ready.Position
}

// position is that of the commit that a change led to.
func (a answer) position(t testing.TB) uint64 {
	t.Helper()
	position, err := strconv.ParseUint(a.header.Get("Flagledger-Position"), 10, 64)
	if err != nil {
		t.Fatalf("the answer %d %s has the position %q", a.status, a.body, a.header.Get("Flagledger-Position"))
	}
	return position
}

// The shop of the tests that need one.
const (
	shop      = "/admin/v1/projects/shop"
	live      = shop + "/environments/live"
	clientKey = "shop-live-client"
)

// openShop makes the project with an environment and the given features, which are on and have the value "0".
func (p *program) openShop(features ...string) {
	p.t.Helper()
	p.do(request{path: "/admin/v1/projects", body: `{"key":"shop","name":"Shop"}`}, nil)
	p.do(request{path: shop + "/environments", body: `{"key":"live","name":"Live","client_key":"` + clientKey + `"}`}, nil)
	for _, key := range features {
		p.do(request{path: shop + "/features", body: fmt.Sprintf(`{"key":%q,"default_enabled":true,"initial_value":"0"}`, key)}, nil)
	}
}

// flag is the value that the environment of the shop serves for a feature.
func (p *program) flag(ctx context.Context, feature string) (string, error) {
	a := p.send(ctx, request{path: "/api/v1/flags/?feature=" + feature, header: map[string]string{"X-Environment-Key": clientKey}})
	if a.err != nil || a.status != http.StatusOK {
		return "", errors.Join(a.err, fmt.Errorf("flag %s: %d %s", feature, a.status, a.body))
	}
	var state struct {
		Value string `json:"feature_state_value"`
	}
	return state.Value, json.Unmarshal(a.body, &state)
}

// An entry is what the tests read of an audit entry.
type entry struct {
	Position uint64
	Reason   string
	Versions map[string]uint64
}

// audit reads the whole history that a query selects, oldest first.
func (p *program) audit(query string) (all []entry) {
	p.t.Helper()
	for cursor := ""; ; {
		var page struct {
			Items []entry
			Next  string
		}
		p.do(request{path: "/admin/v1/audit?limit=500" + query + cursor}, &page)
		for _, e := range page.Items {
			all = append([]entry{e}, all...)
		}
		if page.Next == "" {
			return all
		}
		cursor = "&cursor=" + page.Next
	}
}

// An output keeps what a process prints, and tells when there is more.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{}
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.more != nil {
		close(o.more)
		o.more = nil
	}
	return o.text.Write(b)
}

// read returns all that was printed, and what is closed when there is more.
func (o *output) read() (text string, more <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.more == nil {
		o.more = make(chan struct{})
	}
	return o.text.String(), o.more
}

func (o *output) String() string {
	text, _ := o.read()
	return text
}

// tail is the end of a long output.
func tail(text string) string {
	const most = 8 << 10
	if len(text) > most {
		return "...\n" + text[len(text)-most:]
	}
	return text
}
