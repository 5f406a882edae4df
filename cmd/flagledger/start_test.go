package main

import (
	"net/http"
	"os"
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
