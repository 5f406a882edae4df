package commands_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"flagledger/commands"
	"flagledger/domain"
	"flagledger/domain/evaluation"
	"flagledger/projections"
)

// A scenario says what a command leads to in a shop after some others.
type scenario struct {
	bare  bool // without the shop
	given []commands.Command
	when  commands.Command
	// then are the events, each as its type and JSON; none: there is nothing to do.
	then []string
	// refused is the refusal instead: "kind field: part of the detail".
	refused string
	// again is set where the command cannot be repeated without effect: it
	// creates or removes something. Every other one does nothing the second time.
	again bool
}

// shop is what scenarios begin with. Its numbers: environments dev 2 and prod 3,
// feature checkout 4 with the seeds 5 (dev) and 6, feature search 7 with the
// variants 8 and 9 and the seeds 10 and 11, segments beta 12 and us 13.
func shop() []commands.Command {
	return []commands.Command{
		commands.CreateProject{Key: "shop", Name: "Shop"},
		commands.CreateEnvironment{Key: "dev", ClientKey: "client_dev"},
		commands.CreateEnvironment{Key: "prod", ClientKey: "client_prod"},
		commands.CreateFeature{Key: "checkout", InitialValue: evaluation.String("v1")},
		commands.CreateFeature{Key: "search", DefaultEnabled: true, Variants: []commands.VariantInput{
			{Key: "a", Value: evaluation.String("A"), Weight: 30}, {Key: "b", Value: evaluation.String("B")},
		}},
		commands.CreateSegment{Key: "beta", Rules: when("email", evaluation.Contains, "@shop")},
		commands.CreateSegment{Key: "us", Rules: when("country", evaluation.Equal, "US")},
	}
}

// when are rules of one condition.
func when(property string, operator evaluation.Operator, value string) commands.Rules {
	return commands.Rules{{Type: evaluation.All, Conditions: []evaluation.Condition{{Property: property, Operator: operator, Value: value}}}}
}

// value says that a command sets a value.
func value(s string) commands.StateInput {
	return commands.StateInput{Value: commands.Some(evaluation.String(s))}
}

func enabled(on bool) commands.StateInput { return commands.StateInput{Enabled: &on} }

func weights(w map[string]float64) commands.StateInput {
	return commands.StateInput{Weights: commands.Some(w)}
}

// override is a segment's override of a feature in prod.
func override(feature, segment string, state commands.StateInput) commands.SetSegmentOverride {
	return commands.SetSegmentOverride{Environment: "prod", Feature: feature, Segment: segment, StateInput: state}
}

// persons names everybody whom it is asked to by their identifier, and forgets on request.
type persons map[string]bool

func (p persons) Surrogate(_ context.Context, _ string, env int32, identifier string) (string, error) {
	surrogate := fmt.Sprintf("person-%d-%s", env, identifier)
	p[surrogate] = true
	return surrogate, nil
}

func (p persons) Lookup(_ string, env int32, identifier string) string {
	if surrogate := fmt.Sprintf("person-%d-%s", env, identifier); p[surrogate] {
		return surrogate
	}
	return ""
}

func (p persons) Name(_ string, env int32, surrogate string) string {
	if !p[surrogate] {
		return ""
	}
	return strings.TrimPrefix(surrogate, fmt.Sprintf("person-%d-", env))
}

// now is the time of all decisions of scenarios.
var now = time.Date(2026, 5, 3, 14, 2, 0, 0, time.UTC)

// decider decides commands one after the other, without a log.
type decider struct {
	t  testing.TB
	p  *domain.Project
	in commands.Inputs
}

func newDecider(t testing.TB, limits domain.Limits) *decider {
	t.Helper()
	views, err := projections.Open(filepath.Join(t.TempDir(), "views.db"), projections.Options{Schema: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := views.Close(); err != nil {
			t.Error(err)
		}
	})
	return &decider{
		t: t, p: &domain.Project{ID: domain.ProjectID("shop")},
		in: commands.Inputs{Context: t.Context(), Limits: limits, Now: now, Views: views, Persons: persons{}},
	}
}

// decide decides the command and takes its events on, through their JSON.
func (d *decider) decide(c commands.Command) ([]domain.Event, error) {
	d.t.Helper()
	events, err := c.Decide(d.p, &d.in)
	if err != nil || len(events) == 0 {
		return nil, err
	}
	recorded, err := json.Marshal(domain.Commit{Project: d.p.ID, Events: events})
	if err != nil {
		d.t.Fatal(err)
	}
	commit, err := domain.DecodeCommit(recorded, nil)
	if err != nil {
		d.t.Fatal(err)
	}
	d.p, _ = d.p.Evolve(commit.Events, domain.Stamp{Position: d.p.Position + 1, Time: now})
	return commit.Events, nil
}

func (d *decider) must(all ...commands.Command) {
	d.t.Helper()
	for i, c := range all {
		if _, err := d.decide(c); err != nil {
			d.t.Fatalf("command %d, %T: %v", i, c, err)
		}
	}
}

// told are events as scenarios have them.
func told(t testing.TB, events []domain.Event) []string {
	t.Helper()
	var all []string
	for _, e := range events {
		body, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, e.EventType()+" "+string(body))
	}
	return all
}

// refusal is an error as scenarios have it, its detail whole.
func refusal(err error) string {
	e, ok := errors.AsType[*domain.Error](err)
	if !ok {
		return fmt.Sprintf("not a refusal: %v", err)
	}
	return fmt.Sprintf("%s %s: %s", e.Kind, e.Field, e.Detail)
}

// refuses tells whether the error is the refusal that a scenario wants.
func refuses(err error, want string) bool {
	start, part, _ := strings.Cut(want, ": ")
	got := refusal(err)
	return strings.HasPrefix(got, start+": ") && strings.Contains(got, part)
}

func run(t *testing.T, scenarios map[string]scenario) {
	fresh := *newDecider(t, domain.DefaultLimits())
	for name, s := range scenarios {
		t.Run(name, func(t *testing.T) {
			d := fresh
			d.t, d.in.Persons = t, persons{}
			if !s.bare {
				d.must(shop()...)
			}
			d.must(s.given...)
			before := d.p
			events, err := d.decide(s.when)
			if s.refused != "" {
				if err == nil || !refuses(err, s.refused) {
					t.Errorf("got %s %v\nwant %s", refusal(err), told(t, events), s.refused)
				}
				if d.p != before {
					t.Error("the refusal changed something")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := told(t, events); !slices.Equal(got, s.then) {
				t.Errorf("got\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(s.then, "\n\t"))
			}
			if s.again {
				return
			}
			if events, err := d.decide(s.when); err != nil || len(events) > 0 {
				t.Errorf("the second time it leads to %v, error %v", told(t, events), err)
			}
		})
	}
}
