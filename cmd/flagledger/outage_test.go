package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"flagledger/eventstore/storetest"
)

// While NATS is away nothing can be changed, everything is evaluated, and readiness tells the difference. When it is back, all is well.
func TestOutage(t *testing.T) {
	t.Parallel()
	nats := storetest.StartCluster(t, 1)
	args := []string{"--data-dir", t.TempDir(), "--nats-url", nats.URL(), "--replicas", "1"}
	p := ready(t, args...)
	p.openShop("checkout", "search")
	p.do(request{method: "PATCH", path: live + "/features/checkout", body: `{"value":"before"}`}, nil)
	identify := request{path: "/api/v1/identities/", body: `{"identifier":"ada","traits":[{"trait_key":"plan","trait_value":"pro"}]}`, header: map[string]string{"X-Environment-Key": clientKey}}
	p.do(identify, nil)
	var key struct{ Key string }
	p.do(request{path: live + "/keys", body: `{"name":"backend","kind":"server"}`}, &key)
	document := request{path: "/api/v1/environment-document/", header: map[string]string{"X-Environment-Key": key.Key}}

	nats.Stop(0)
	if detail := p.awaitReady(http.StatusServiceUnavailable); detail == "" {
		t.Error("readiness does not say why")
	}
	p.evaluates(t, "before")
	p.do(request{path: "/healthz"}, nil)
	p.do(request{path: "/admin/v1/audit?project=shop"}, nil)
	p.do(identify, nil)
	p.do(document, nil)

	// Changes are refused, several of one project at the same time too, and soon.
	var refused sync.WaitGroup
	for i := range 5 {
		refused.Go(func() {
			r := request{method: "PATCH", path: live + "/features/search", body: fmt.Sprintf(`{"value":"lost %d"}`, i)}
			if i == 0 {
				r = request{method: "PUT", path: live + "/features/search/identity-overrides/bob", body: `{"value":"lost"}`}
			}
			a := p.send(t.Context(), r)
			if a.err != nil || a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" ||
				a.header.Get("Content-Type") != "application/problem+json" {
				t.Errorf("a change is answered %d %v %s, error %v; want a problem with status 503 and Retry-After", a.status, a.header, a.body, a.err)
			}
		})
	}
	refused.Wait()
	p.evaluates(t, "before")

	nats.Start(0)
	p.awaitReady(http.StatusOK)
	p.do(request{method: "PATCH", path: live + "/features/checkout", body: `{"value":"after"}`}, nil)
	p.evaluates(t, "after")
	if value, err := p.flag(t.Context(), "search"); value != "0" || err != nil {
		t.Errorf("search is %q, error %v: what was refused is there", value, err)
	}
	p.stop(os.Interrupt)

	// Started while NATS is away, it serves what it knew.
	nats.Stop(0)
	p = serving(t, nil, args...)
	p.awaitReady(http.StatusServiceUnavailable)
	p.evaluates(t, "after")
	p.do(identify, nil)
	p.do(document, nil)
	if a := p.send(t.Context(), request{method: "PATCH", path: live + "/features/checkout", body: `{"value":"lost"}`}); a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" {
		t.Errorf("a change is answered %d %s, error %v; want 503 with Retry-After", a.status, a.body, a.err)
	}
	nats.Start(0)
	p.awaitReady(http.StatusOK)
	p.do(request{method: "PATCH", path: live + "/features/checkout", body: `{"value":"in the end"}`}, nil)
	p.evaluates(t, "in the end")
	var person struct{ Traits map[string]string }
	if p.do(request{path: live + "/identities/ada"}, &person); person.Traits["plan"] != "pro" {
		t.Errorf("ada's traits are %v", person.Traits)
	}

	// It can be stopped while NATS is away, with traits that are not stored.
	nats.Stop(0)
	p.awaitReady(http.StatusServiceUnavailable)
	identify.body = `{"identifier":"ada","traits":[{"trait_key":"plan","trait_value":"free"}]}`
	p.do(identify, nil)
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	p.wait()
}

// evaluates sees that the SDK API answers with the value of the feature checkout, and soon: within a second, once the machine has the time for it.
func (p *program) evaluates(t *testing.T, want string) {
	t.Helper()
	p.await("checkout is evaluated within a second", func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		value, err := p.flag(ctx, "checkout")
		if err == nil && value != want {
			t.Errorf("checkout is %q, want %q", value, want)
		}
		return err
	})
}
