package projections_test

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"flagledger/commands"
	"flagledger/domain"
	"flagledger/domain/evaluation"
	"flagledger/projections"
)

// failer is what testing.TB and rapid.T have in common.
type failer interface {
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// epoch is when the first commit of a ledger is recorded; one follows each minute.
var epoch = time.Date(2026, 5, 3, 14, 0, 0, 0, time.UTC)

// A ledger is views with the service that decides changes on them. Its log is a
// list of what was recorded, encoded and decoded as the real one does it, so
// that a test has the clock and can play the log again as it likes.
type ledger struct {
	*projections.Views
	service *commands.Service
	path    string
	options projections.Options
	log     []domain.Recorded
	erased  map[string]bool
}

func newLedger(t failer, dir string) *ledger {
	return newLedgerWith(t, dir, projections.Options{Schema: 1})
}

func newLedgerWith(t failer, dir string, o projections.Options) *ledger {
	l := &ledger{path: filepath.Join(dir, "views.db"), options: o, erased: map[string]bool{}}
	l.open(t)
	return l
}

func (l *ledger) open(t failer) {
	views, err := projections.Open(l.path, l.options)
	if err != nil {
		t.Fatalf("open views: %v", err)
	}
	l.Views = views
	l.service = commands.New(l, views, l, domain.DefaultLimits(), func() time.Time { return epoch })
}

// closing closes the views at the end of the test.
func (l *ledger) closing(t *testing.T) *ledger {
	t.Cleanup(func() { l.close(t) })
	return l
}

func (l *ledger) close(t failer) {
	if err := l.Close(); err != nil {
		t.Errorf("close views: %v", err)
	}
}

// Append implements commands.Log. What it records is in the views at once.
func (l *ledger) Append(_ context.Context, c domain.Commit, _ uint64) (uint64, error) {
	rec, err := recorded(c, uint64(len(l.log)+1))
	if err != nil {
		return 0, err
	}
	l.log = append(l.log, rec)
	return rec.Position, l.Apply(rec, 0)
}

// recorded is the commit as the log gives it back.
func recorded(c domain.Commit, position uint64) (domain.Recorded, error) {
	raw, err := json.Marshal(c)
	if err != nil {
		return domain.Recorded{}, err
	}
	if c, err = domain.DecodeCommit(raw, nil); err != nil {
		return domain.Recorded{}, err
	}
	return domain.Recorded{Commit: c, Position: position, RecordedAt: minute(position), Raw: raw}, nil
}

// minute is when the commit at the position is recorded.
func minute(position uint64) time.Time { return epoch.Add(time.Duration(position-1) * time.Minute) }

// Surrogate implements commands.Persons.
func (l *ledger) Surrogate(_ context.Context, _ string, env int32, identifier string) (string, error) {
	surrogate := l.Lookup("", env, identifier)
	delete(l.erased, surrogate) // somebody new, of the same name
	return surrogate, nil
}

// Lookup implements commands.Persons: everybody is known.
func (l *ledger) Lookup(_ string, env int32, identifier string) string {
	return fmt.Sprintf("person-%d-%s", env, identifier)
}

// Name implements commands.Persons.
func (l *ledger) Name(_ string, env int32, surrogate string) string {
	if l.erased[surrogate] {
		return ""
	}
	return strings.TrimPrefix(surrogate, fmt.Sprintf("person-%d-", env))
}

// do carries a change of the shop out and returns its position.
func (l *ledger) do(t failer, all ...commands.Command) uint64 {
	return l.change(t, commands.Change{Actor: domain.Actor{Kind: "token", ID: "ana", Name: "Ana"}, Source: domain.SourceAPI, Reason: "tested"}, all...)
}

func (l *ledger) change(t failer, ch commands.Change, all ...commands.Command) uint64 {
	if ch.Project == "" {
		ch.Project = "shop"
	}
	ch.Commands = all
	result, err := l.service.Do(context.Background(), ch)
	if err != nil {
		t.Fatalf("change: %v", err)
	}
	return result.Position
}

// shop is the project as it stands.
func (l *ledger) shop() *domain.Project { return l.Project(domain.ProjectID("shop")) }

func (l *ledger) id(env string) projections.EnvironmentID {
	return projections.EnvironmentID{Project: l.shop().ID, ID: l.shop().Environments.Get(env).ID}
}

func (l *ledger) snapshot(env string) *projections.Snapshot { return l.Snapshot(l.id(env)) }

// opening is the beginning of a shop with two environments, a plain feature, a
// split one, and two segments.
func opening() []commands.Command {
	return []commands.Command{
		commands.CreateProject{Key: "shop"},
		commands.CreateEnvironment{Key: "dev", ClientKey: "client_dev"},
		commands.CreateEnvironment{Key: "prod", ClientKey: "client_prod"},
		commands.CreateFeature{Key: "checkout", InitialValue: evaluation.String("v1")},
		commands.CreateFeature{Key: "search", DefaultEnabled: true, Variants: []commands.VariantInput{
			{Key: "a", Value: evaluation.String("A"), Weight: 30}, {Key: "b", Value: evaluation.String("B")},
		}},
		commands.CreateSegment{Key: "beta", Rules: onTrait("email", "ana@shop")},
		commands.CreateSegment{Key: "us", Rules: onTrait("country", "US")},
	}
}

func onTrait(trait, value string) commands.Rules {
	return commands.Rules{{Type: evaluation.All, Conditions: []evaluation.Condition{{Property: trait, Operator: evaluation.Equal, Value: value}}}}
}

func setting(env, feature, value string) commands.SetFeatureState {
	return commands.SetFeatureState{Environment: env, Feature: feature, StateInput: commands.StateInput{Value: commands.Some(evaluation.String(value))}}
}

func overriding(env, feature, segment, value string) commands.SetSegmentOverride {
	return commands.SetSegmentOverride{Environment: env, Feature: feature, Segment: segment, StateInput: commands.StateInput{Value: commands.Some(evaluation.String(value))}}
}

// dumpOf is all that views have in their file, as "bucket/key" in hex and value.
func dumpOf(t failer, v *projections.Views) map[string]string {
	all := map[string]string{}
	err := v.Dump(func(bucket, key, value []byte) error {
		all[fmt.Sprintf("%s/%x", bucket, key)] = string(value)
		return nil
	})
	if err != nil {
		t.Fatalf("dump: %v", err)
	}
	return all
}

// replay plays a log into new views; pending says of each commit how many more
// are known to follow.
func replay(t failer, dir string, log []domain.Recorded, pending func(i int) uint64) *projections.Views {
	v, err := projections.Open(filepath.Join(dir, "replayed.db"), projections.Options{Schema: 1})
	if err != nil {
		t.Fatalf("open views: %v", err)
	}
	for i, rec := range log {
		if err := v.Apply(rec, pending(i)); err != nil {
			t.Fatalf("replay: %v", err)
		}
	}
	return v
}

// differences are those of two dumps, the first few.
func differences(a, b map[string]string) []string {
	var all []string
	for key, value := range a {
		if other, ok := b[key]; !ok || other != value {
			all = append(all, fmt.Sprintf("%s: %.200q is not %.200q", key, value, other))
		}
	}
	for key := range b {
		if _, ok := a[key]; !ok {
			all = append(all, key+" is not there")
		}
	}
	return all[:min(len(all), 5)]
}

// imagesOf are the JSON of the project's own objects and of the parts of the
// environments, by name.
func imagesOf(t failer, p *domain.Project, environments ...string) map[string]string {
	var objects []domain.Object
	for _, o := range (domain.ProjectDeleted{Key: p.Key}).Objects(p) {
		if o.Environment == "" {
			objects = append(objects, o)
		}
	}
	for _, env := range environments {
		objects = append(objects, domain.EnvironmentDeleted{Environment: env}.Objects(p)...)
	}
	images := map[string]string{}
	for _, o := range objects {
		if object := p.Get(o); object != nil {
			body, err := json.Marshal(object)
			if err != nil {
				t.Fatalf("encode %s: %v", o, err)
			}
			images[o.String()] = string(body)
		}
	}
	return images
}
