package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"

	"flagledger/eventstore/storetest"
)

// seen waits until the access log of the shop tells these routes and objects, newest first.
func (p *program) seen(query string, want ...string) {
	p.t.Helper()
	p.await("the access log has "+strings.Join(want, ", "), func(ctx context.Context) error {
		a := p.send(ctx, request{path: "/admin/v1/access-log?project=shop" + query})
		var list struct {
			Items []struct {
				Actor   struct{ Name string }
				Objects []string
			}
		}
		if err := errors.Join(a.err, json.Unmarshal(a.body, &list)); err != nil {
			return err
		}
		var got []string
		for _, i := range list.Items {
			got = append(got, i.Actor.Name+" "+strings.Join(i.Objects, ","))
		}
		if !slices.Equal(got, want) {
			return fmt.Errorf("it has %q", got)
		}
		return nil
	})
}

// Two processes tell the same of who looked at what, at either of them, before
// and after a stop, and while NATS was away.
func TestAccessLog(t *testing.T) {
	t.Parallel()
	nats := storetest.StartCluster(t, 1)
	start := func(dir string, args ...string) *program {
		return ready(t, append([]string{"--data-dir", dir, "--nats-url", nats.URL(), "--replicas", "1"}, args...)...)
	}
	dir := t.TempDir()
	p, q := start(dir), start(t.TempDir(), "--access-log", "all")
	p.openShop("checkout")
	p.do(request{method: "PUT", path: shop + "/contexts/illness", body: `{"type":"string","privacy":"sensitive"}`}, nil)
	const rules = `,"rules":[{"type":"ALL","conditions":[{"property":%q,"operator":"EQUAL","value":"x"}]}]}`
	p.do(request{path: shop + "/segments", body: fmt.Sprintf(`{"key":"west"`+rules, "country")}, nil)
	var made struct {
		Token string `json:"token"`
		ID    string `json:"id"`
	}
	p.do(request{path: "/admin/v1/tokens", body: `{"name":"Ann","grants":[{"role":"editor","project":"shop"}]}`}, &made)
	p.do(request{path: shop + "/segments", body: fmt.Sprintf(`{"key":"ill"`+rules, "illness"), token: made.Token}, nil)
	p.seen("", "Ann segment:ill")

	west := request{path: shop + "/segments/west", header: map[string]string{"Flagledger-Min-Position": fmt.Sprint(p.position())}}
	p.do(west, nil) // not sensitive
	q.do(west, nil) // records all
	p.seen("", "first admin segment:west", "Ann segment:ill")
	p.do(request{path: shop + "/segments/ill", token: made.Token}, nil)
	p.stop(syscall.SIGTERM)
	log := []string{"Ann segment:ill", "first admin segment:west", "Ann segment:ill"}
	q.seen("", log...)
	q.seen("&actor="+made.ID, "Ann segment:ill", "Ann segment:ill")
	q.seen("&object=segment:west&limit=1", "first admin segment:west")
	p = start(dir, "--access-log", "off")
	p.seen("", log...)
	p.do(request{path: shop + "/segments/ill"}, nil)

	nats.Stop(0)
	q.do(request{path: shop + "/segments", token: made.Token}, nil)
	if metrics := string(q.do(request{path: "/metrics"}, nil).body); !strings.Contains(metrics, "flagledger_access_waiting 1\n") || !strings.Contains(metrics, "flagledger_access_lost_total 0\n") {
		t.Errorf("the metrics do not tell that a look waits:\n%s", metrics)
	}
	nats.Start(0)
	log = append([]string{"Ann segment:ill,segment:west"}, log...)
	q.seen("", log...)
	p.seen("", log...)
}
