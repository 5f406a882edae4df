//go:build e2e

package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"flagledger/eventstore/storetest"
)

// The end-to-end tests run the built binary as its users do: a process of its own, spoken to over HTTP, by clients that know nothing of it.
// `make e2e` installs the clients and runs them.

const adminToken = "flt_e2e_0123456789abcdefghijklmnopqrstuv"

// A fixture is one request of an administrator; the fixtures of a list build on each other.
type fixture struct{ method, path, body string }

// shop is what the SDK tests in e2e/ expect to find; {project} and {env} are filled in.
var shop = []fixture{
	{"POST", "/admin/v1/projects", `{"key":"e2e","name":"End to end"}`},
	{"POST", "{project}/environments", `{"key":"test","name":"Test"}`},

	{"POST", "{project}/segments", `{"key":"beta_users","name":"Beta users","rules":[{"type":"ALL","conditions":[{"property":"email","operator":"CONTAINS","value":"@example.com"}]}]}`},
	{"POST", "{project}/segments", `{"key":"western_users","name":"Western users","rules":[{"type":"ALL","rules":[
		{"type":"ANY","conditions":[{"property":"country","operator":"IN","value":"US,CA"},{"property":"country","operator":"EQUAL","value":"MX"}]},
		{"type":"NONE","conditions":[{"property":"blocked","operator":"EQUAL","value":"true"}]}]}]}`},
	{"POST", "{project}/segments", `{"key":"mobile_4_2_plus","name":"Mobile 4.2 and newer","rules":[{"type":"ALL","conditions":[{"property":"app_version","operator":"GREATER_THAN_INCLUSIVE","value":"4.2.0:semver"}]}]}`},
	{"POST", "{project}/segments", `{"key":"ten_percent","name":"Ten percent of everyone","rules":[{"type":"ALL","conditions":[{"property":"","operator":"PERCENTAGE_SPLIT","value":"10"}]}]}`},

	{"POST", "{project}/features", `{"key":"checkout","initial_value":"classic","default_enabled":true}`},
	{"POST", "{project}/features", `{"key":"beta_banner","initial_value":"none","default_enabled":false}`},
	{"POST", "{project}/features", `{"key":"max_items","initial_value":20,"default_enabled":true}`},
	{"POST", "{project}/features", `{"key":"dark_mode","initial_value":true,"default_enabled":true}`},
	{"POST", "{project}/features", `{"key":"kill_switch","default_enabled":false}`},
	{"POST", "{project}/features", `{"key":"ai_recommendations","default_enabled":false}`},
	{"POST", "{project}/features", `{"key":"new_search","initial_value":"classic","default_enabled":true,"variants":[
		{"key":"grid","value":"grid","weight":30},{"key":"list","value":"list","weight":20}]}`},
	{"POST", "{project}/features", `{"key":"changing","initial_value":"before","default_enabled":true}`},

	{"PUT", "{env}/features/beta_banner/segment-overrides/beta_users", `{"enabled":true,"value":"welcome"}`},
	{"PUT", "{env}/features/max_items/segment-overrides/western_users", `{"enabled":true,"value":50}`},
	{"PUT", "{env}/features/max_items/segment-overrides/mobile_4_2_plus", `{"enabled":true,"value":100}`},
	{"PUT", "{env}/features/max_items/segment-overrides", `{"order":["mobile_4_2_plus","western_users"]}`},
	{"PUT", "{env}/features/ai_recommendations/segment-overrides/ten_percent", `{"enabled":true}`},
	{"PUT", "{env}/features/new_search/segment-overrides/beta_users", `{"enabled":true,"value":"classic","weights":{"grid":0,"list":100}}`},
	{"PUT", "{env}/features/checkout/identity-overrides/vip-1", `{"enabled":true,"value":"concierge"}`},
	{"PUT", "{env}/features/new_search/identity-overrides/vip-1", `{"enabled":true,"variant":"grid"}`},
}

// Unmodified clients get their flags from the product.
func TestE2EClients(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		t.Fatalf("the SDK tests need node: %v", err)
	}
	tests, err := filepath.Glob("e2e/*.test.mjs")
	if err != nil || len(tests) == 0 {
		t.Fatalf("no SDK tests in e2e: %v", err)
	}
	url := "http://" + storetest.FreeAddress(t)
	serve(t, build(t), url, "--data-dir", t.TempDir())

	admin := &api{url: url, token: adminToken}
	project, env := "/admin/v1/projects/e2e", "/admin/v1/projects/e2e/environments/test"
	paths := strings.NewReplacer("{project}", project, "{env}", env)
	for _, f := range shop {
		admin.do(t, f.method, paths.Replace(f.path), f.body, nil)
	}
	var environment struct {
		ClientKey string `json:"client_key"`
	}
	admin.do(t, "GET", env, "", &environment)
	var key struct{ Key string }
	admin.do(t, "POST", env+"/keys", `{"name":"e2e","kind":"server"}`, &key)

	for i, file := range tests {
		tests[i] = filepath.Base(file)
	}
	cmd := exec.CommandContext(t.Context(), node, append([]string{"--test", "--test-reporter=spec"}, tests...)...)
	cmd.Dir = "e2e"
	cmd.Env = append(os.Environ(),
		"FLAGLEDGER_URL="+url, "FLAGLEDGER_CLIENT_KEY="+environment.ClientKey,
		"FLAGLEDGER_SERVER_KEY="+key.Key, "FLAGLEDGER_ADMIN_TOKEN="+adminToken)
	cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
	if err := cmd.Run(); err != nil {
		t.Errorf("node --test: %v", err)
	}
}

// build makes the binary and returns its path.
func build(t *testing.T) string {
	t.Helper()
	return buildPackage(t, ".", "flagledger")
}

func buildPackage(t *testing.T, pkg, name string) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), name)
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", binary, pkg)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build %s: %v\n%s", pkg, err, out)
	}
	return binary
}

// serve starts the binary and returns when it is ready. At the end of the test an interrupt must stop it within 5 seconds.
func serve(t *testing.T, binary, url string, args ...string) *exec.Cmd {
	t.Helper()
	args = append([]string{"serve", "--listen", strings.TrimPrefix(url, "http://")}, args...)
	cmd := start(t, binary, args...)
	await(t, url+"/readyz", http.StatusOK)
	return cmd
}

// start runs a program until the end of the test. What it printed is shown when the test has failed.
func start(t *testing.T, binary string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(binary, args...)
	cmd.Env = append(os.Environ(), "FLAGLEDGER_ADMIN_TOKEN="+adminToken)
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", binary, err)
	}
	t.Cleanup(func() {
		stop(t, cmd)
		if t.Failed() {
			t.Logf("%s:\n%s", strings.Join(cmd.Args, " "), &output)
		}
	})
	return cmd
}

// stop interrupts a program and expects it to end by itself. Stopping it again does nothing.
func stop(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if cmd.ProcessState != nil {
		return
	}
	late := time.AfterFunc(time.Minute, func() {
		t.Errorf("%s did not stop within a minute of an interrupt", filepath.Base(cmd.Path))
		_ = cmd.Process.Kill()
	})
	defer late.Stop()
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Errorf("interrupt %s: %v", cmd.Path, err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("%s: %v after an interrupt", filepath.Base(cmd.Path), err)
	}
}

// await asks until the URL answers with the status, for at most a minute.
func await(t *testing.T, url string, status int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for last := ""; ; {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		if resp, err := http.DefaultClient.Do(req); err != nil {
			last = err.Error()
		} else {
			_ = resp.Body.Close()
			if resp.StatusCode == status {
				return
			}
			last = resp.Status
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			t.Fatalf("%s does not answer %d; the last answer was: %s", url, status, last)
		}
	}
}

// api speaks to one Flagledger as an administrator.
type api struct {
	url, token string
	// position is that of the last write, which every later request waits for: another replica may answer it.
	position atomic.Pointer[string]
}

// do sends a request that must succeed, decodes the answer into out unless that is nil, and returns the answer's headers.
// Writes get the reason and ticket that every change has.
func (a *api) do(t *testing.T, method, path, body string, out any) http.Header {
	t.Helper()
	status, header, answer, err := a.try(t.Context(), method, path, body)
	for late := time.After(time.Minute); err == nil && status == http.StatusServiceUnavailable; { // as Retry-After asks
		select {
		case <-late:
			t.Fatalf("%s %s: still %d %s", method, path, status, answer)
		case <-time.After(200 * time.Millisecond):
		}
		status, header, answer, err = a.try(t.Context(), method, path, body)
	}
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	if status < 200 || status > 299 {
		t.Fatalf("%s %s %s: %d %s", method, path, body, status, answer)
	}
	if out != nil {
		if err := json.Unmarshal(answer, out); err != nil {
			t.Fatalf("%s %s: decode %s: %v", method, path, answer, err)
		}
	}
	return header
}

// try sends a request and returns whatever came back; an error means that nothing did.
func (a *api) try(ctx context.Context, method, path, body string) (status int, header http.Header, answer []byte, err error) {
	if body != "" {
		body = `{"reason":"end-to-end test","ticket":"E2E-1"` + strings.Replace(body, "{", ",", 1)
	}
	req, err := http.NewRequestWithContext(ctx, method, a.url+path, bytes.NewBufferString(body))
	if err != nil {
		return 0, nil, nil, err
	}
	req.Header.Set("Authorization", "Bearer "+a.token)
	req.Header.Set("Content-Type", "application/json")
	if seen := a.position.Load(); seen != nil {
		req.Header.Set("Flagledger-Min-Position", *seen)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, nil, err
	}
	if written := resp.Header.Get("Flagledger-Position"); written != "" {
		a.position.Store(&written)
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err = io.ReadAll(resp.Body)
	if err != nil {
		return 0, nil, nil, fmt.Errorf("read the answer: %w", err)
	}
	return resp.StatusCode, resp.Header, answer, nil
}
