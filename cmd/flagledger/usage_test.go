package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"flagledger/domain"
	"flagledger/eventstore/storetest"
	httpapi "flagledger/http"
	"flagledger/projections"
)

// The whole program: what was evaluated before a stop is known after it, what
// was evaluated just before a kill may be lost.
func TestUsageOverRestarts(t *testing.T) {
	dir := t.TempDir()
	header := map[string]string{"X-Environment-Key": clientKey}
	use := func(p *program) {
		p.do(request{path: "/api/v1/flags/", header: header}, nil)
		p.do(request{path: "/api/v1/identities/", body: `{"identifier":"ada"}`, header: header}, nil)
		p.do(request{path: "/api/v1/analytics/flags/", body: `{"checkout":5}`, header: header}, nil)
	}
	uses := func(p *program, want ...int) (n int) { // as often as one of those wanted
		t.Helper()
		p.await("the usage is read from the stream", func(ctx context.Context) error {
			a := p.send(ctx, request{path: live + "/features/checkout/analytics"})
			var answer struct{ Totals map[string]int }
			if err := errors.Join(a.err, json.Unmarshal(a.body, &answer)); err != nil {
				return err
			}
			n = answer.Totals["sdk"] / 5
			if !slices.Contains(want, n) || answer.Totals["sdk"] != 5*n || answer.Totals["server"] != 2*n {
				return fmt.Errorf("want %v times 5 and 2: %s", want, a.body)
			}
			return nil
		})
		return n
	}
	p := ready(t, "--data-dir", dir)
	p.openShop("checkout")
	use(p)
	p.stop(syscall.SIGTERM)
	p = ready(t, "--data-dir", dir)
	uses(p, 1)
	use(p)
	if metrics := string(p.do(request{path: "/metrics"}, nil).body); !strings.Contains(metrics, `flagledger_evaluations_total{environment="live",outcome="environment",project="shop",source="server"} 2`) {
		t.Errorf("the metrics lack the evaluations:\n%s", metrics)
	}
	p.kill()
	p = ready(t, "--data-dir", dir)
	n := uses(p, 1, 2)
	use(p)
	p.stop(syscall.SIGTERM)
	uses(ready(t, "--data-dir", dir), n+1)
}

// What snapshots count and SDKs report comes out at the other end: as the usage
// of the feature, and as metrics with the keys of project and environment.
func TestUsage(t *testing.T) {
	logger := slog.New(slog.NewTextHandler(t.Output(), nil))
	dir := t.TempDir()
	views, err := projections.Open(filepath.Join(dir, "views.db"), projections.Options{Schema: 1, Encode: httpapi.EncodeFlag})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := views.Close(); err != nil {
			t.Error(err)
		}
	}()
	project := domain.ProjectID("shop")
	position := uint64(0)
	apply := func(events ...domain.Event) {
		t.Helper()
		position++
		c := domain.Commit{ID: uuid.NewString(), Project: project, Events: events}
		raw, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		if err := views.Apply(domain.Recorded{Commit: c, Position: position, Raw: raw}, 0); err != nil {
			t.Fatal(err)
		}
	}
	environment := func(id int32, key string) domain.EnvironmentCreated {
		return domain.EnvironmentCreated{ID: id, Key: key, Name: key, ClientKey: "key-of-" + key, EnvironmentSettings: domain.DefaultEnvironmentSettings()}
	}
	apply(domain.ProjectCreated{Key: "shop", Name: "The MART"}, environment(2, "production"), environment(3, "staging"),
		domain.FeatureCreated{ID: 4, Key: "checkout", DefaultEnabled: true, Seeds: map[string]int32{"production": 5, "staging": 6}})

	u, err := openUsage(dir, views, logger)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := u.Close(); err != nil {
			t.Error(err)
		}
	}()
	registry := prometheus.NewRegistry()
	registry.MustRegister(u)
	production, staging := projections.EnvironmentID{Project: project, ID: 2}, projections.EnvironmentID{Project: project, ID: 3}
	count := func(id projections.EnvironmentID) {
		s := views.Snapshot(id)
		s.Tally.Count(s.Evaluation.Evaluate(nil, nil)...)
	}
	count(production)
	count(production)
	count(staging)
	u.Report(production, "checkout", 7)

	metrics := func(want ...string) {
		t.Helper()
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, f := range families {
			for _, m := range f.GetMetric() {
				labels := map[string]string{}
				for _, l := range m.GetLabel() {
					labels[l.GetName()] = l.GetValue()
				}
				var values []string
				for _, name := range slices.Sorted(maps.Keys(labels)) {
					values = append(values, labels[name])
				}
				if value := m.GetCounter().GetValue() + m.GetGauge().GetValue(); value > 0 {
					got = append(got, fmt.Sprintf("%s %v %v", strings.TrimPrefix(f.GetName(), "flagledger_"), values, value))
				}
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("metrics %q, want %q", got, want)
		}
	}
	metrics("evaluations_total [production environment shop server] 2", "evaluations_total [production reported shop sdk] 7",
		"evaluations_total [staging environment shop server] 1", "usage_pending [] 3")

	store := storetest.New(t)
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { u.Run(ctx, store.JetStream(), store.Replicas()) })
	defer running.Wait()
	defer stop()
	patient, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for u.Flush(patient) != nil && patient.Err() == nil { // until the stream is reached
		if _, err := store.JetStream().AccountInfo(patient); err != nil {
			t.Fatal(err)
		}
	}
	if err := u.Wait(patient, 1); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	got, err := u.Counts(production, "checkout", now.Add(-time.Hour), now.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	for i := range got {
		got[i].Hour = time.Time{}
	}
	want := []httpapi.UsageCount{{Source: "sdk", N: 7}, {Source: "server", Outcome: "environment", N: 2}}
	if !slices.Equal(got, want) {
		t.Errorf("counts %v, want %v", got, want)
	}

	count(production)
	apply(domain.EnvironmentDeleted{Environment: "staging"})
	metrics("evaluations_total [production environment shop server] 3", "evaluations_total [production reported shop sdk] 7",
		"usage_batches_total [] 1", "usage_pending [] 3")
}
