package projections_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"flagledger/commands"
	"flagledger/domain"
	"flagledger/domain/evaluation"
	"flagledger/projections"
)

func openViews(t testing.TB, path string, schema int) *projections.Views {
	t.Helper()
	v, err := projections.Open(path, projections.Options{Schema: schema})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := v.Close(); err != nil && !strings.Contains(err.Error(), "not open") {
			t.Error(err)
		}
	})
	return v
}

// emptyViews are views of nothing yet.
func emptyViews(t testing.TB) *projections.Views {
	t.Helper()
	return openViews(t, filepath.Join(t.TempDir(), "views.db"), 1)
}

// record is a commit of the shop at a position.
func record(t testing.TB, position uint64, events ...domain.Event) domain.Recorded {
	t.Helper()
	rec, err := recorded(domain.Commit{ID: fmt.Sprint(position), Project: domain.ProjectID("shop"), Actor: domain.Actor{ID: "ana"}, Events: events}, position)
	if err != nil {
		t.Fatal(err)
	}
	return rec
}

// shopLog is a log of n commits: a shop with one environment and one feature,
// whose state changes and changes.
func shopLog(t testing.TB, n int) []domain.Recorded {
	t.Helper()
	log := []domain.Recorded{record(t, 1,
		domain.ProjectCreated{Key: "shop"},
		domain.EnvironmentCreated{ID: 2, Key: "prod", ClientKey: "client_prod"},
		domain.FeatureCreated{ID: 3, Key: "f", Seeds: map[string]int32{"prod": 4}},
	)}
	for i := 2; i <= n; i++ {
		log = append(log, record(t, uint64(i), domain.FeatureStateSet{Environment: "prod", Feature: "f", Value: evaluation.Int(int64(i))}))
	}
	return log
}

// What the views find things by may be as long as a limit can allow.
func TestLongestKeys(t *testing.T) {
	limits := domain.DefaultLimits()
	if err := limits.Set(map[string]int{"text-length": 8_000, "trait-key-length": 8_000}); err != nil {
		t.Fatal(err)
	}
	text := strings.Repeat("𐐀", limits.TextLength)
	log := shopLog(t, 1)
	c := record(t, 2, domain.ContextSet{Key: text, Type: domain.StringContext}).Commit
	c.Ticket, c.Reason, c.IdempotencyKey = text, text, text
	rec, err := recorded(c, 2)
	if err != nil {
		t.Fatal(err)
	}
	v := emptyViews(t)
	for _, rec := range append(log, rec) {
		if err := v.Apply(rec, 0); err != nil {
			t.Fatalf("apply commit %d: %.200v", rec.Position, err)
		}
	}
	for _, q := range []projections.AuditQuery{{Ticket: text}, {Object: domain.Object{Kind: domain.KindContext, Key: text}}} {
		q.Project, q.Limit = c.Project, 1
		if found, _, err := v.Audit(t.Context(), q); err != nil || len(found) != 1 {
			t.Errorf("%d entries, error %v", len(found), err)
		}
	}
}

// applying applies commits one after the other, more being known to follow.
func applying(t testing.TB, v *projections.Views, log []domain.Recorded) {
	t.Helper()
	for _, rec := range log {
		if err := v.Apply(rec, 1); err != nil {
			t.Fatal(err)
		}
	}
}

// While more is known to follow, commits share a transaction, and nobody sees
// them before it is over.
func TestApplyBatches(t *testing.T) {
	v := emptyViews(t)
	const first, second = 8191, 16383 // the last positions of the first two parts of the index: there a transaction ends
	log := shopLog(t, second+1)
	applying(t, v, log[:9])
	if v.Position() != 0 || v.Durable() != 0 || v.Applied() != 0 || v.Project(domain.ProjectID("shop")).Exists() {
		t.Errorf("in the middle of a transaction: seen %d, durable %d, applied %d", v.Position(), v.Durable(), v.Applied())
	}
	if err := v.Apply(log[9], 0); err != nil {
		t.Fatal(err)
	}
	if v.Position() != 10 || v.Applied() != 10 {
		t.Errorf("up to date: seen %d, applied %d, want 10", v.Position(), v.Applied())
	}
	if err := v.Written(); err != nil || v.Durable() != 10 {
		t.Errorf("up to date: durable %d, want 10: %v", v.Durable(), err)
	}
	applying(t, v, log[10:first-1])
	if v.Position() != 10 {
		t.Errorf("before the end of a transaction: %d, want 10", v.Position())
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	applying(t, v, log[first-1:second])
	if err := v.Wait(ctx, first); err != nil || v.Position() < first {
		t.Errorf("behind the end of a transaction: %d, want at least %d", v.Position(), first)
	}
	applying(t, v, log[second:])
	if err := v.Wait(ctx, second); err != nil || v.Position() != second {
		t.Errorf("behind the end of two: %d, want %d", v.Position(), second)
	}
	applying(t, v, log[5:7]) // delivered again
	if v.Position() != second || v.Failure() != nil {
		t.Errorf("what was applied already is applied again: %d, %v", v.Position(), v.Failure())
	}
}

// However many commits share a transaction, the file comes to the same bytes.
func TestBatchesComeToTheSame(t *testing.T) {
	l := newLedger(t, t.TempDir()).closing(t)
	l.do(t, opening()...)
	for i := range 40 {
		l.do(t, setting("prod", "checkout", fmt.Sprint(i)))
		switch i % 10 {
		case 3:
			l.do(t, overriding("prod", "search", "us", "x"), overriding("dev", "checkout", "beta", "y"))
		case 5:
			l.do(t, commands.CloneEnvironment{Source: "prod", Key: "qa", ClientKey: fmt.Sprintf("client_qa_%d", i)})
		case 7:
			l.do(t, commands.DeleteEnvironment{Environment: "qa"})
		case 9:
			l.do(t, commands.Rollback{Environment: "prod", Version: 1})
		}
	}
	want := dumpOf(t, l.Views)
	for name, pending := range map[string]func(int) uint64{
		"one by one":  func(int) uint64 { return 0 },
		"all at once": func(i int) uint64 { return uint64(len(l.log) - 1 - i) },
		"by seven":    func(i int) uint64 { return min(uint64(len(l.log)-1-i), uint64(i+1)%7) },
	} {
		v := replay(t, t.TempDir(), l.log, pending)
		if got := dumpOf(t, v); !maps.Equal(got, want) {
			t.Errorf("%s: %v", name, differences(got, want))
		}
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestApplyRefusesAGap(t *testing.T) {
	v := emptyViews(t)
	log := shopLog(t, 5)
	if err := v.Apply(log[1], 0); err == nil || !strings.Contains(err.Error(), "apply commit 2: the log has a gap: the last commit was 0") {
		t.Errorf("error %v", err)
	}
	applying(t, v, log[:1])
	if err := v.Apply(log[2], 1); err == nil || v.Failure() == nil || v.Reached() != 1 {
		t.Errorf("in a transaction: error %v, failure %v, reached %d", err, v.Failure(), v.Reached())
	}
	for _, rec := range log {
		if err := v.Apply(rec, 0); err != nil {
			t.Fatal(err)
		}
	}
	if v.Failure() != nil || v.Position() != 5 {
		t.Errorf("afterwards: failure %v at %d", v.Failure(), v.Position())
	}
}

// A commit that cannot be applied stops the views right before it, whatever it
// came with; they say so until it can be applied.
func TestApplyFails(t *testing.T) {
	v := emptyViews(t)
	log := shopLog(t, 60)
	good := log[49]
	log[49] = record(t, 50, domain.SegmentCreated{ID: 9, Key: "s", Revision: 1, Rules: []evaluation.Rule{{Type: "SOME"}}})
	feed := func() error { // as the subscriber does: from where they have come to
		for _, rec := range log[v.Reached():] {
			if err := v.Apply(rec, uint64(len(log))-rec.Position); err != nil {
				return err
			}
		}
		return nil
	}
	if err := v.Apply(log[0], 0); err != nil { // what follows is not the first building, which is seen when it is complete
		t.Fatal(err)
	}
	first := feed()
	if first == nil || v.Failure() == nil || v.Position() != 1 {
		t.Fatalf("all at once: error %v, failure %v at %d", first, v.Failure(), v.Position())
	}
	for range 3 {
		err := feed()
		if err == nil || !strings.HasPrefix(err.Error(), "apply commit 50: ") || v.Position() != 49 || v.Reached() != 49 {
			t.Fatalf("again: error %v at %d", err, v.Position())
		}
		if failure := v.Failure(); failure == nil || failure.Error() != err.Error() {
			t.Errorf("failure %v, want %v", failure, err)
		}
	}
	log[49] = good
	if err := feed(); err != nil || v.Failure() != nil || v.Position() != 60 {
		t.Errorf("once it can be applied: error %v, failure %v at %d", err, v.Failure(), v.Position())
	}
	if got, want := dumpOf(t, v), dumpOf(t, replayed(t, log)); !maps.Equal(got, want) {
		t.Errorf("in the end: %v", differences(got, want))
	}
}

// While the views catch up after a failure they still say that they have failed.
func TestFailureLastsUntilItIsPast(t *testing.T) {
	v := emptyViews(t)
	log := shopLog(t, 10)
	applying(t, v, log[:5])
	if err := v.Apply(log[6], 1); err == nil {
		t.Fatal("a gap is applied")
	}
	for i, rec := range log {
		if err := v.Apply(rec, 1); err != nil {
			t.Fatal(err)
		}
		if failed := v.Failure() != nil; failed != (i < 6) {
			t.Errorf("after commit %d: failed %t", rec.Position, failed)
		}
	}
}

func TestWait(t *testing.T) {
	v := emptyViews(t)
	log := shopLog(t, 4)
	shop, bank := domain.ProjectID("shop"), domain.ProjectID("bank")
	if err := v.Wait(t.Context(), 0); err != nil {
		t.Error(err)
	}
	done, cancel := context.WithCancel(t.Context())
	cancel()
	if err := v.Wait(done, 1); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "wait for position 1, now at 0") {
		t.Errorf("in vain: %v", err)
	}
	if err := v.WaitProject(done, shop, 0); !errors.Is(err, context.Canceled) {
		t.Errorf("for a project in vain: %v", err)
	}
	var waiting sync.WaitGroup
	for position := range uint64(5) {
		waiting.Go(func() {
			if err := v.Wait(t.Context(), position); err != nil || v.Position() < position {
				t.Errorf("waited for %d, at %d: %v", position, v.Position(), err)
			}
		})
		waiting.Go(func() {
			if err := v.WaitProject(t.Context(), shop, position); err != nil || v.Project(shop).Position <= position {
				t.Errorf("waited for the shop to pass %d, at %d: %v", position, v.Project(shop).Position, err)
			}
		})
	}
	for _, rec := range log {
		if err := v.Apply(rec, 0); err != nil {
			t.Fatal(err)
		}
	}
	other := record(t, 5, domain.ProjectCreated{Key: "bank"})
	other.Project = bank
	if err := v.Apply(other, 0); err != nil {
		t.Fatal(err)
	}
	if err := v.Apply(record(t, 6, domain.ProjectUpdated{Name: "n"}), 0); err != nil {
		t.Fatal(err)
	}
	waiting.Wait()
	if err := v.WaitProject(done, bank, 5); err == nil {
		t.Error("the bank has passed 5 without a commit")
	}
	if got := len(v.Projects()); got != 2 {
		t.Errorf("there are %d projects, want 2", got)
	}
}

// What was not in a transaction when the process ended is applied again; views
// of another schema begin anew; a file has one process.
func TestOpenAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "views.db")
	log := shopLog(t, 10)
	v := openViews(t, path, 1)
	applying(t, v, log[:3])
	if err := v.Apply(log[3], 0); err != nil {
		t.Fatal(err)
	}
	applying(t, v, log[4:8])
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}

	v = openViews(t, path, 1)
	if v.Position() != 4 || v.Durable() != 4 {
		t.Fatalf("opened again at %d, durable %d, want 4", v.Position(), v.Durable())
	}
	if _, err := projections.Open(path, projections.Options{Schema: 1}); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("opened twice: %v", err)
	}
	applying(t, v, log[4:9])
	if err := v.Apply(log[9], 0); err != nil {
		t.Fatal(err)
	}
	want := dumpOf(t, v)
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}

	v = openViews(t, path, 2)
	if v.Position() != 0 || len(v.Projects()) > 0 {
		t.Fatalf("with another schema the views are at %d", v.Position())
	}
	applying(t, v, log[:9])
	if err := v.Apply(log[9], 0); err != nil {
		t.Fatal(err)
	}
	got := dumpOf(t, v)
	for key := range got {
		if strings.HasPrefix(key, "meta/") {
			delete(got, key)
			delete(want, key)
		}
	}
	if !maps.Equal(got, want) {
		t.Errorf("made again: %v", differences(got, want))
	}
}

// A project that is gone is gone also after a restart, and one of its key after it is new.
func TestDeletedProject(t *testing.T) {
	l := newLedger(t, t.TempDir()).closing(t)
	l.do(t, opening()...)
	l.do(t, commands.SetContext{Key: "country", Type: domain.StringContext})
	l.do(t, commands.DeleteEnvironment{Environment: "dev"}, commands.DeleteEnvironment{Environment: "prod"})
	deleted := l.do(t, commands.DeleteProject{})
	for range 2 {
		if p := l.shop(); p.Exists() || p.Features.Len()+p.Segments.Len()+p.Contexts.Len() > 0 || p.LastID == 0 || len(l.Projects()) > 0 {
			t.Errorf("there is left %+v", p)
		}
		l.close(t)
		l.open(t)
	}
	entry, err := l.AuditEntry(deleted, nil)
	if err != nil {
		t.Fatal(err)
	}
	gone := map[string]bool{}
	for _, c := range entry.Changes {
		gone[c.Object.String()] = c.Before != nil && c.After == nil
	}
	want := map[string]bool{"project:shop": true, "feature:checkout": true, "feature:search": true, "segment:beta": true, "segment:us": true, "context:country": true}
	if !maps.Equal(gone, want) || entry.Project != "shop" {
		t.Errorf("of project %s are gone %v", entry.Project, gone)
	}
	l.do(t, commands.CreateProject{Key: "shop"}, commands.CreateFeature{Key: "checkout"})
	if p := l.shop(); p.Features.Len() != 1 || p.Segments.Len() != 0 || p.Features.Get("checkout").ID <= 13 {
		t.Errorf("the new one has %d features and %d segments", p.Features.Len(), p.Segments.Len())
	}
}

// Readers see whole states, whatever is being applied.
func TestReadersWhileApplying(t *testing.T) {
	l := newLedger(t, t.TempDir()).closing(t)
	l.do(t, opening()...)
	id := l.id("prod")
	stop := make(chan struct{})
	var reading sync.WaitGroup
	read := func(check func() error) {
		reading.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := check(); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	read(func() error {
		s := l.Snapshot(id)
		if s.Environment != s.Project.Environments.Get("prod") || s.Version != s.Position || l.CurrentVersion(id) < s.Version {
			return fmt.Errorf("a snapshot of version %d at %d; the newest is %d", s.Version, s.Position, l.CurrentVersion(id))
		}
		return nil
	})
	read(func() error {
		position, err := l.PositionAt(epoch.AddDate(1, 0, 0))
		if err == nil && position > l.Position() {
			err = fmt.Errorf("the last commit is %d, seen are %d", position, l.Position())
		}
		return err
	})
	read(func() error {
		entries, _, err := l.Audit(t.Context(), projections.AuditQuery{Actor: "ana", Limit: 3, To: epoch.AddDate(1, 0, 0)})
		if err == nil && entries[0].Position > l.Position() {
			err = fmt.Errorf("the newest entry is %d, seen are %d", entries[0].Position, l.Position())
		}
		return err
	})
	read(func() error {
		version := l.CurrentVersion(id)
		p, err := l.Past(l.shop(), "prod", version)
		if err == nil && p.Environments.Get("prod").States.Get("checkout").Changed.Position > version {
			err = fmt.Errorf("version %d has a state of later", version)
		}
		return err
	})
	for i := range 150 {
		l.do(t, setting("prod", "checkout", fmt.Sprint(i)))
	}
	close(stop)
	reading.Wait()
}

// The keys of environments and tokens, and what they open.
func TestKeys(t *testing.T) {
	l := newLedger(t, t.TempDir()).closing(t)
	l.do(t, opening()...)
	server, secret := commands.NewSDKKey("prod", "backend", domain.ServerKey, time.Time{})
	web, _ := commands.NewSDKKey("prod", "web", domain.ClientKey, epoch.Add(time.Hour))
	l.do(t, server, web)
	token, _ := commands.NewToken("Ana", []domain.Grant{{Role: domain.Admin}}, time.Time{})
	other, _ := commands.NewToken("Ben", []domain.Grant{{Role: domain.Admin}}, time.Time{})
	organisation := func(c commands.Command) {
		t.Helper()
		if _, err := l.service.Do(t.Context(), commands.Change{Commands: []commands.Command{c}}); err != nil {
			t.Fatal(err)
		}
	}
	organisation(token)
	organisation(other)

	check := func(key, env string, isServer bool, id string) {
		t.Helper()
		s, k := l.SnapshotByKey(key)
		if env == "" {
			if s != nil || k != (projections.SDKKey{}) || l.KeyTaken(key) {
				t.Errorf("%q opens %v", key, k)
			}
			return
		}
		if s == nil || s != l.snapshot(env) || k.Server != isServer || k.Environment != l.id(env) || (k.Key == nil) != (id == "") || id != "" && k.Key.ID != id || !l.KeyTaken(key) {
			t.Errorf("%q opens %+v, want %s", key, k, env)
		}
	}
	for range 2 {
		check("client_dev", "dev", false, "")
		check("client_prod", "prod", false, "")
		check(commands.Hash(secret), "prod", true, server.ID)
		check(web.Key, "prod", false, web.ID)
		check(secret, "", false, "")
		check("", "", false, "")
		check("client_qa", "", false, "")
		if l.Token(token.Hash) == nil || l.Token(token.Hash).Name != "Ana" || l.Token("") != nil {
			t.Errorf("token is %v", l.Token(token.Hash))
		}
		l.close(t)
		l.open(t)
	}
	// Whether it may be used, is for the asker to see.
	l.do(t, commands.UpdateSDKKey{Environment: "prod", ID: server.ID, Active: new(false)})
	if _, k := l.SnapshotByKey(server.Hash); k.Key.Usable(epoch) {
		t.Error("an inactive key may be used")
	}
	if _, k := l.SnapshotByKey(web.Key); !k.Key.Usable(epoch) || k.Key.Usable(epoch.Add(time.Hour)) {
		t.Error("the key is not usable just as long as it should be")
	}
	l.do(t, commands.RevokeSDKKey{Environment: "prod", ID: server.ID})
	organisation(commands.RevokeToken{ID: token.ID})
	check(server.Hash, "", false, "")
	if l.Token(token.Hash) != nil || l.Token(other.Hash) == nil {
		t.Error("the wrong token was revoked")
	}
	l.do(t, commands.DeleteEnvironment{Environment: "prod"})
	check("client_prod", "", false, "")
	check(web.Key, "", false, "")
	l.do(t, commands.CreateEnvironment{Key: "production", ClientKey: "client_prod"})
	check("client_prod", "production", false, "")
}

// Two projects that got the same client key at the same time: the first keeps
// it, in every process.
func TestKeyGivenTwice(t *testing.T) {
	v := emptyViews(t)
	var log []domain.Recorded
	for i, key := range []string{"first", "second", "third"} {
		rec := record(t, uint64(i+1), domain.ProjectCreated{Key: key}, domain.EnvironmentCreated{ID: 2, Key: "prod", ClientKey: "client_prod"})
		rec.Project = domain.ProjectID(key)
		log = append(log, rec)
		if err := v.Apply(rec, 0); err != nil {
			t.Fatal(err)
		}
	}
	for range 5 {
		v := replay(t, t.TempDir(), log, func(int) uint64 { return 0 })
		if _, k := v.SnapshotByKey("client_prod"); k.Environment.Project != domain.ProjectID("first") {
			t.Errorf("the key opens %+v", k)
		}
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	}
}
