package main

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"flagledger/eventstore/storetest"
)

// A connection that breaks again and again while the program starts delays the start, and does not end it; nor does it lose the first token.
func TestStartOverABadConnection(t *testing.T) {
	t.Parallel()
	nats := storetest.StartCluster(t, 1)
	proxy := storetest.StartProxy(t, nats.Servers[0].Addr().String())
	dir := t.TempDir()
	var printed strings.Builder
	for range 5 {
		p := serving(t, []string{"FLAGLEDGER_ADMIN_TOKEN="}, "--data-dir", dir, "--nats-url", proxy.URL(), "--replicas", "1")
		for range 400 {
			proxy.Cut()
			if a := p.send(t.Context(), request{path: "/readyz"}); a.err != nil {
				t.Fatal(a.err)
			}
		}
		p.awaitReady(http.StatusOK)
		p.stop(os.Interrupt)
		printed.WriteString(p.stdout.String())
	}
	if n := len(printedToken.FindAllString(printed.String(), -1)); n != 1 {
		t.Errorf("%d tokens were printed, want 1:\n%s", n, printed.String())
	}
}

// After a kill the file of the views may be behind what was answered (ADR 23). A retry that comes before it has caught up gets the answer of the first
// time, not one that is made of what the file knows, and whoever reads what he has written finds it.
func TestStartBehindTheLog(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := ready(t, "--data-dir", dir)
	p.openShop("checkout")
	p.stop(os.Interrupt)
	path := filepath.Join(dir, "views.db")
	behind, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}

	keyed := func(method, path, body string) request {
		return request{method: method, path: path, body: body, header: map[string]string{"Idempotency-Key": method + path + body}}
	}
	changes := []request{
		keyed("POST", shop+"/features", `{"key":"banner"}`),
		keyed("PATCH", live+"/features/banner", `{"value":"new"}`),
		keyed("PATCH", live+"/features/checkout", `{"enabled":true,"value":"x"}`),
		keyed("PATCH", live+"/features/checkout", `{"enabled":true,"value":"0"}`), // back to what the file has
	}
	read := request{path: live + "/features/banner"}
	retries := func(p *program) (answers []answer) {
		for _, r := range append([]request{changes[3], changes[1], read}, changes...) {
			answers = append(answers, p.send(t.Context(), r))
		}
		return answers
	}
	p = ready(t, "--data-dir", dir)
	for _, r := range changes {
		p.do(r, nil)
	}
	first := retries(p)
	p.stop(os.Interrupt)

	if err := os.WriteFile(path, behind, 0o600); err != nil {
		t.Fatal(err)
	}
	p = serving(t, nil, "--data-dir", dir)
	for i, again := range retries(p) {
		was := first[i]
		if again.err != nil || again.status != was.status || again.header.Get("Flagledger-Position") != was.header.Get("Flagledger-Position") || string(again.body) != string(was.body) {
			t.Errorf("request %d is answered %d %s, error %v; before the restart it was %d %s", i, again.status, again.body, again.err, was.status, was.body)
		}
	}
}
