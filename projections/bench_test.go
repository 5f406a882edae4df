package projections_test

import (
	"fmt"
	"os"
	"testing"

	"flagledger/domain"
	"flagledger/domain/evaluation"
	"flagledger/projections"
)

// A benchLog is views of a shop with some features in three environments, half
// of them with an override, to which it applies changes of one state each.
type benchLog struct {
	*projections.Views
	features int
	position uint64
	commits  []domain.Recorded // again and again
}

func newBenchLog(b *testing.B, path string, features int) *benchLog {
	b.Helper()
	l := &benchLog{Views: openViews(b, path, 1), features: features, position: 1}
	events := []domain.Event{domain.ProjectCreated{Key: "shop"}}
	next := int32(1)
	number := func() int32 {
		next++
		return next
	}
	environments := []string{"dev", "staging", "prod"}
	for _, env := range environments {
		events = append(events, domain.EnvironmentCreated{ID: number(), Key: env, ClientKey: "client_" + env})
	}
	segments := features / 2
	for i := range segments {
		rules := onTrait("country", fmt.Sprint(i))
		rules[0].ID, rules[0].Conditions[0].ID = "r2", "c1"
		events = append(events, domain.SegmentCreated{ID: number(), Key: fmt.Sprintf("s%03d", i), Revision: 1, Rules: rules, LastNode: 2})
	}
	for i := range features {
		f := domain.FeatureCreated{ID: number(), Key: fmt.Sprintf("f%04d", i), InitialValue: evaluation.String("initial"), Seeds: map[string]int32{}}
		for _, env := range environments {
			f.Seeds[env] = number()
		}
		events = append(events, f)
		if i%2 == 0 {
			events = append(events, domain.SegmentOverrideSet{Environment: "prod", Feature: f.Key, Segment: fmt.Sprintf("s%03d", i%segments), Seed: number(), Enabled: true})
		}
	}
	if err := l.Apply(record(b, 1, events...), 0); err != nil {
		b.Fatal(err)
	}
	for i := range 1000 {
		rec := record(b, 1, domain.FeatureStateSet{
			Environment: environments[i%3], Feature: fmt.Sprintf("f%04d", i*7%features), Enabled: i%2 == 0, Value: evaluation.Int(int64(i)),
		})
		rec.Actor.ID, rec.Ticket = fmt.Sprintf("t%d", i%10), fmt.Sprintf("SHOP-%d", i%100)
		l.commits = append(l.commits, rec)
	}
	return l
}

// next applies one more commit.
func (l *benchLog) next(b *testing.B, pending uint64) {
	l.position++
	rec := l.commits[l.position%uint64(len(l.commits))]
	rec.Position, rec.RecordedAt = l.position, minute(l.position)
	if err := l.Apply(rec, pending); err != nil {
		b.Fatal(err)
	}
}

// fill applies commits up to the position.
func (l *benchLog) fill(b *testing.B, position uint64) {
	for l.position < position {
		l.next(b, position-l.position-1)
	}
}

// BenchmarkApply applies one commit, alone in a transaction (with a sync of the
// disk), and among a thousand, as views do while they catch up.
func BenchmarkApply(b *testing.B) {
	for _, batch := range []uint64{1, 1000} {
		b.Run(fmt.Sprintf("features=300/batch=%d", batch), func(b *testing.B) {
			l := newBenchLog(b, b.TempDir()+"/views.db", 300)
			b.ReportAllocs()
			for b.Loop() {
				l.next(b, batch-1)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commits/s")
		})
	}
}

// BenchmarkOneFlag applies a change of one flag without a disk to wait for:
// what is left is to write it and to compile its environment again.
func BenchmarkOneFlag(b *testing.B) {
	for _, features := range []int{100, 1000} {
		b.Run(fmt.Sprintf("features=%d", features), func(b *testing.B) {
			dir, err := os.MkdirTemp("/dev/shm", "flagledger-bench-")
			if err != nil {
				b.Skip("there is no directory in memory: ", err)
			}
			b.Cleanup(func() {
				if err := os.RemoveAll(dir); err != nil {
					b.Error(err)
				}
			})
			l := newBenchLog(b, dir+"/views.db", features)
			b.ReportAllocs()
			for b.Loop() {
				l.next(b, 0)
			}
		})
	}
}

// BenchmarkCompile compiles one environment after a change of one flag, with as
// many features and segments as the workloads W1 and W3.
func BenchmarkCompile(b *testing.B) {
	for name, features := range map[string]int{"W1": 100, "W3": 1000} {
		b.Run(name, func(b *testing.B) {
			l := newBenchLog(b, b.TempDir()+"/views.db", features)
			before := l.Project(domain.ProjectID("shop"))
			env := before.Environments.Get("prod")
			snapshot := l.Snapshot(projections.EnvironmentID{Project: before.ID, ID: env.ID})
			after, _ := before.Evolve([]domain.Event{domain.FeatureStateSet{Environment: "prod", Feature: "f0050", Enabled: true, Value: evaluation.Int(1)}}, domain.Stamp{Position: 2})
			b.ReportAllocs()
			for b.Loop() {
				if _, err := l.Compile(snapshot, after, after.Environments.Get("prod")); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// benchHistory is a shop with 300 features and 50,000 commits.
const benchHistory = 50_000

// BenchmarkAt reads the state of an environment at a version.
func BenchmarkAt(b *testing.B) {
	l := newBenchLog(b, b.TempDir()+"/views.db", 300)
	l.fill(b, benchHistory)
	shop := l.Project(domain.ProjectID("shop"))
	id := projections.EnvironmentID{Project: shop.ID, ID: shop.Environments.Get("prod").ID}
	newest := l.CurrentVersion(id)
	for name, version := range map[string]uint64{"first": 1, "middle": newest / 2, "newest": newest} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := l.Past(shop, "prod", version); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("digest", func(b *testing.B) { // from nothing, for comparison
		for b.Loop() {
			shop.ContentDigest(shop.Environments.Get("prod"))
		}
	})
}

// BenchmarkAudit reads a page of 50 entries.
func BenchmarkAudit(b *testing.B) {
	l := newBenchLog(b, b.TempDir()+"/views.db", 300)
	l.fill(b, benchHistory)
	shop := domain.ProjectID("shop")
	for name, q := range map[string]projections.AuditQuery{
		"all":           {},
		"actor":         {Actor: "t3"},
		"object":        {Project: shop, Object: domain.Object{Kind: domain.KindFeature, Key: "f0007"}},
		"combined":      {Project: shop, Environment: "prod", Actor: "t3", Ticket: "SHOP-3", Type: "feature_state.set.v1"},
		"text":          {Text: "f0007 true"},
		"a time":        {From: minute(20_000), To: minute(30_000), Environment: "dev", Project: shop},
		"without a hit": {Actor: "t3", Ticket: "SHOP-4"},
	} {
		q.Limit = 50
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := l.Audit(b.Context(), q); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkAuditNarrow reads a page for somebody who may see next to nothing of a
// log of 100,000 commits: one project of ten commits, or one environment.
func BenchmarkAuditNarrow(b *testing.B) {
	l := newBenchLog(b, b.TempDir()+"/views.db", 300)
	apply := func(project string, events ...domain.Event) {
		rec := record(b, l.position+1, events...)
		rec.Project = domain.ProjectID(project)
		if err := l.Apply(rec, 0); err != nil {
			b.Fatal(err)
		}
		l.position++
	}
	apply("bank", domain.ProjectCreated{Key: "bank"}, domain.EnvironmentCreated{ID: 2, Key: "prod", ClientKey: "client_bank"})
	apply("shop", domain.EnvironmentCreated{ID: 9001, Key: "qa", ClientKey: "client_qa"})
	for i := range 9 {
		apply("bank", domain.ProjectUpdated{Name: fmt.Sprint(i)})
		apply("shop", domain.FeatureStateSet{Environment: "qa", Feature: "f0007", Value: evaluation.Int(int64(i))})
	}
	l.fill(b, 100_000)
	for name, q := range map[string]projections.AuditQuery{
		"project":                    {Scopes: projections.Scopes{{Project: "bank"}}},
		"environment":                {Scopes: projections.Scopes{{Project: "shop", Environment: "qa"}}},
		"environment of its project": {Project: domain.ProjectID("shop"), Scopes: projections.Scopes{{Project: "shop", Environment: "qa"}}},
	} {
		q.Limit = 10 // all but the large commit that opens the shop
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := l.Audit(b.Context(), q); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
