package projections_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"flagledger/commands"
	"flagledger/domain"
	"flagledger/projections"
)

// audited is a shop and a bank with some 60 commits by several actors, for
// several reasons.
func audited(t *testing.T) *ledger {
	t.Helper()
	l := newLedger(t, memoryDir(t)).closing(t)
	actors := []domain.Actor{
		{Kind: "token", ID: "t1", Name: "Ana"}, {Kind: "token", ID: "t2", Name: "Ben (platform)"}, {Kind: "system", ID: "schedule", Name: "Flagledger"},
	}
	n := 0
	do := func(project string, all ...commands.Command) {
		n++
		l.change(t, commands.Change{
			Project: project, Actor: actors[n%3], Source: []domain.Source{domain.SourceAPI, domain.SourceCLI}[n%2],
			Reason: []string{"", "a better checkout", "Checkout of production"}[n%3], Ticket: []string{"", "SHOP-1", "SHOP-12", "shop-2"}[n%4],
			CorrelationID: []string{"", "undertaking"}[n/5%2],
		}, all...)
	}
	do("shop", opening()...)
	do("bank", commands.CreateProject{Key: "bank"}, commands.CreateEnvironment{Key: "prod"}, commands.CreateFeature{Key: "checkout"})
	for i := range 6 {
		v := fmt.Sprint("v", i)
		do("shop", setting("prod", "checkout", v))
		do("shop", setting("dev", "search", v), setting("dev", "checkout", v))
		do("bank", setting("prod", "checkout", v))
		do("shop", overriding("prod", "checkout", "us", v))
		do("shop", commands.UpdateSegment{Segment: "us", Rules: new(onTrait("country", v))})
		do("shop", commands.UpdateSegment{Segment: "beta", Description: new("line\n" + v)})
		do("shop", commands.SetIdentityOverride{Environment: "prod", Feature: "search", Identifier: "ana", Variant: new([]string{"a", "b"}[i%2])})
		do("shop", commands.Rollback{Environment: "prod", Version: 2})
		do("shop", commands.UpdateProject{Name: new(v)})
	}
	do("shop", commands.CreateSegment{Key: "US", Rules: onTrait("country", "US")})
	do("shop", commands.DeleteSegment{Segment: "US"})
	do("shop", commands.CreateEnvironment{Key: "qa"})
	do("shop", commands.DeleteEnvironment{Environment: "qa"})
	return l
}

func positionsOf(entries []projections.Entry) []uint64 {
	var all []uint64
	for _, e := range entries {
		all = append(all, e.Position)
	}
	return all
}

func (l *ledger) audit(t failer, q projections.AuditQuery) []projections.Entry {
	if q.Limit == 0 {
		q.Limit = 1000
	}
	entries, next, err := l.Audit(context.Background(), q)
	if err != nil {
		t.Fatalf("audit %+v: %v", q, err)
	}
	if next != 0 {
		t.Fatalf("audit %+v: there are more than %d", q, len(entries))
	}
	return entries
}

// Every filter alone, and any combination of them, selects what reading all
// entries selects; and page by page it comes to the same.
func TestAuditFilters(t *testing.T) {
	l := audited(t)
	everything := l.audit(t, projections.AuditQuery{})
	if len(everything) != len(l.log) {
		t.Fatalf("%d entries of %d commits", len(everything), len(l.log))
	}
	shop, bank := domain.ProjectID("shop"), domain.ProjectID("bank")
	object := func(s string) domain.Object {
		o, err := domain.ParseObjects(s)
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
	if got := l.audit(t, projections.AuditQuery{Project: shop, Object: object("segment:US")}); len(got) != 2 {
		t.Errorf("segment US was made and deleted: %v", positionsOf(got)) // segment us is another one
	}
	has := func(e projections.Entry, what func(projections.Change) bool) bool {
		return slices.ContainsFunc(e.Changes, what)
	}
	rapid.Check(t, func(t *rapid.T) {
		var q projections.AuditQuery
		var tests []func(projections.Entry) bool
		with := func(label string, test func(projections.Entry) bool, set func()) {
			if rapid.IntRange(0, 3).Draw(t, label) == 0 || label == "project" && rapid.Bool().Draw(t, "of one") {
				set()
				tests = append(tests, test)
			}
		}
		project := rapid.SampledFrom([]string{shop, bank}).Draw(t, "of")
		with("project", func(e projections.Entry) bool { return e.Commit.Project == project }, func() { q.Project = project })
		if q.Project != "" {
			env := rapid.SampledFrom([]string{"prod", "dev", "qa", "none"}).Draw(t, "in")
			with("environment", func(e projections.Entry) bool {
				_, version := e.Versions[env]
				return version || has(e, func(c projections.Change) bool {
					return c.Object.Environment == env || c.Object == domain.Object{Kind: domain.KindEnvironment, Key: env}
				})
			}, func() { q.Environment = env })
			name := rapid.SampledFrom([]string{"segment:us", "segment:US", "segment:beta", "project:shop", "feature:checkout", "state:prod/checkout", "environment:qa",
				"project:*", "feature:*", "segment:*", "environment:*", "context:*", "state:*", "state:prod/*", "state:none/*", "overrides:*", "identity:*", "identity:dev/*", "segment_pin:prod/*"}).Draw(t, "about")
			with("object", func(e projections.Entry) bool {
				return has(e, func(c projections.Change) bool {
					o := object(name)
					if o.Key == domain.AnyKey { // then what is said of one is said of each
						if o.Kind == domain.KindSegment && c.Object.Kind == domain.KindSegmentOverrides {
							return concerns(e, domain.AnyKey)
						}
						o.Key = c.Object.Key
						if o.Environment == domain.AnyKey {
							o.Environment = c.Object.Environment
						}
						if o.Kind == domain.KindFeature && c.Object.Kind == domain.KindIdentity {
							return true // every override of somebody is one of a feature
						}
					}
					switch {
					case c.Object == o:
						return true
					case o.Kind == domain.KindFeature:
						return c.Object.Key == o.Key && (c.Object.Kind == domain.KindFeatureState || c.Object.Kind == domain.KindSegmentOverrides || c.Object.Kind == domain.KindVariantsPin)
					case o.Kind == domain.KindSegment:
						return c.Object.Key == o.Key && c.Object.Kind == domain.KindSegmentPin || c.Object.Kind == domain.KindSegmentOverrides && concerns(e, o.Key)
					}
					return false
				})
			}, func() { q.Object = object(name) })
		}
		actor := rapid.SampledFrom([]string{"t1", "t2", "schedule", "nobody"}).Draw(t, "by")
		with("actor", func(e projections.Entry) bool { return e.Commit.Actor.ID == actor }, func() { q.Actor = actor })
		kind := rapid.SampledFrom([]string{"token", "system"}).Draw(t, "by a")
		with("actor kind", func(e projections.Entry) bool { return e.Commit.Actor.Kind == kind }, func() { q.ActorKind = kind })
		source := rapid.SampledFrom([]domain.Source{domain.SourceAPI, domain.SourceCLI, domain.SourceGuard}).Draw(t, "through")
		with("source", func(e projections.Entry) bool { return e.Commit.Source == source }, func() { q.Source = source })
		ticket := rapid.SampledFrom([]string{"SHOP-1", "shop-12", "SHOP-2", "SHOP"}).Draw(t, "for")
		with("ticket", func(e projections.Entry) bool { return strings.EqualFold(e.Commit.Ticket, ticket) }, func() { q.Ticket = ticket })
		with("correlation", func(e projections.Entry) bool { return e.Commit.CorrelationID == "undertaking" }, func() { q.Correlation = "undertaking" })
		reason := rapid.SampledFrom([]string{"checkout", "better", "CHECKOUT of", "check"}).Draw(t, "because")
		with("reason", func(e projections.Entry) bool {
			words := strings.Fields(strings.ToLower(e.Commit.Reason))
			for w := range strings.FieldsSeq(strings.ToLower(reason)) {
				if !slices.Contains(words, w) {
					return false
				}
			}
			return true
		}, func() { q.Reason = reason })
		eventType := rapid.SampledFrom([]string{"feature_state.set.v1", "segment.rules_set.v1", "segment.pinned.v1", "environment.deleted.v1"}).Draw(t, "what")
		with("type", func(e projections.Entry) bool {
			return slices.ContainsFunc(e.Commit.Events, func(e domain.Event) bool { return e.EventType() == eventType })
		}, func() { q.Type = eventType })
		from := minute(rapid.Uint64Range(0, 70).Draw(t, "begin")).Add(time.Duration(rapid.IntRange(-1, 1).Draw(t, "shift")))
		with("from", func(e projections.Entry) bool { return !e.RecordedAt.Before(from) }, func() { q.From = from })
		to := minute(rapid.Uint64Range(0, 70).Draw(t, "end")).Add(time.Duration(rapid.IntRange(-1, 1).Draw(t, "shift")))
		with("to", func(e projections.Entry) bool { return e.RecordedAt.Before(to) }, func() { q.To = to })
		below := rapid.Uint64Range(1, 70).Draw(t, "before")
		with("below", func(e projections.Entry) bool { return e.Position < below }, func() { q.Below = below })

		var want []uint64
		for _, e := range everything {
			if !slices.ContainsFunc(tests, func(test func(projections.Entry) bool) bool { return !test(e) }) {
				want = append(want, e.Position)
			}
		}
		if got := positionsOf(l.audit(t, q)); !slices.Equal(got, want) {
			t.Fatalf("%+v: %v, want %v", q, got, want)
		}
		var paged []uint64
		q.Limit = rapid.IntRange(1, 5).Draw(t, "page")
		for pages := 0; ; pages++ {
			entries, next, err := l.Audit(t.Context(), q)
			if err != nil || len(entries) > q.Limit || pages > 70 {
				t.Fatalf("page %d: %v, error %v", pages, positionsOf(entries), err)
			}
			paged = append(paged, positionsOf(entries)...)
			if next == 0 {
				break
			}
			q.Below = next
		}
		if !slices.Equal(paged, want) {
			t.Fatalf("%+v, paged: %v, want %v", q, paged, want)
		}
	})
}

// concerns tells whether an event of the entry is about an override of the segment.
func concerns(e projections.Entry, segment string) bool {
	return slices.ContainsFunc(e.Commit.Events, func(e domain.Event) bool {
		switch e := e.(type) {
		case domain.SegmentOverrideSet:
			return e.Segment == segment || segment == domain.AnyKey
		case domain.SegmentOverrideRemoved:
			return e.Segment == segment || segment == domain.AnyKey
		}
		return false
	})
}

// Text finds whole words of reasons, tickets, names of actors, and of the names
// and values of what was recorded, whatever their case.
func TestAuditText(t *testing.T) {
	l := newLedger(t, t.TempDir()).closing(t)
	l.do(t, opening()...)
	ben := commands.Change{Actor: domain.Actor{Kind: "token", ID: "t2", Name: "Ben (platform)"}, Reason: "better-looking, at last", Ticket: "SHOP-12"}
	position := l.change(t, ben, setting("prod", "checkout", "Käse \"und\"\n\tBrot <b>fett</b> 4711 western_users"), commands.UpdateFeature{Feature: "search", Description: new("line one\nline two")})
	for text, found := range map[string]bool{
		"better": true, "LOOKING": true, "better-looking": true, "last better": true, "ben": true, "platform": true, "shop-12": true, "shop": true,
		"käse": true, "KÄSE": true, "und": true, "brot": true, "fett": true, "4711": true, "western_users": true, "western": true, "users": true,
		"line two": true, "two": true, "one": true, "prod checkout": true, "description": false, "bet": false, "ben nobody": false, "u003c": false, "nline": false, "ntwo": false,
		"x": true, // too short to be a word: no filter
	} {
		got := slices.Contains(positionsOf(l.audit(t, projections.AuditQuery{Text: text})), position)
		if got != found {
			t.Errorf("%q finds it: %t, want %t", text, got, found)
		}
	}
}

// New commits do not move the pages behind a cursor.
func TestAuditCursorIsStable(t *testing.T) {
	l := audited(t)
	q := projections.AuditQuery{Project: domain.ProjectID("shop"), Limit: 7}
	first, next, err := l.Audit(t.Context(), q)
	if err != nil || len(first) != 7 || next != first[6].Position {
		t.Fatalf("%v, next %d, error %v", positionsOf(first), next, err)
	}
	q.Below = next
	want, _, err := l.Audit(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	l.do(t, setting("prod", "checkout", "later"))
	got, _, err := l.Audit(t.Context(), q)
	if err != nil || !slices.Equal(positionsOf(got), positionsOf(want)) {
		t.Errorf("the second page is %v, and was %v; error %v", positionsOf(got), positionsOf(want), err)
	}
	// The last page says that it is, and none is taken for all.
	q.Below, q.Limit = 2, 1
	if entries, next, err := l.Audit(t.Context(), q); err != nil || len(entries) != 1 || next != 0 {
		t.Errorf("the last page: %v, next %d, error %v", positionsOf(entries), next, err)
	}
	q.Below, q.Limit = 9, 0
	if entries, next, err := l.Audit(t.Context(), q); err != nil || len(entries) > 0 || next != 9 {
		t.Errorf("a page of none: %v, next %d, error %v", positionsOf(entries), next, err)
	}
}

// Who may see only some environments sees the changes there and of what they
// share, and no entry without any.
func TestAuditScopes(t *testing.T) {
	l := audited(t)
	dev := projections.Scopes{{Project: "shop", Environment: "dev"}}
	entries := l.audit(t, projections.AuditQuery{Scopes: dev})
	var want []uint64
	for _, e := range l.audit(t, projections.AuditQuery{}) {
		if e.Project == "shop" && slices.ContainsFunc(e.Changes, func(c projections.Change) bool { return c.Object.Scope() == "dev" || c.Object.Scope() == "" }) {
			want = append(want, e.Position)
		}
	}
	if got := positionsOf(entries); !slices.Equal(got, want) || len(got) > len(l.log)/2 {
		t.Errorf("seen are %v of %d, want %v", got, len(l.log), want)
	}
	for _, e := range entries {
		for _, c := range e.Changes {
			if e.Project != "shop" || c.Object.Scope() != "dev" && c.Object.Scope() != "" {
				t.Errorf("at %d of %s is seen %s", e.Position, e.Project, c.Object)
			}
		}
	}
	if entries := l.audit(t, projections.AuditQuery{Scopes: projections.Scopes{}}); len(entries) > 0 {
		t.Errorf("who may see nothing sees %v", positionsOf(entries))
	}
	if _, err := l.AuditEntry(2, dev); !refused(err, domain.NotFound, "no commit at position 2 that may be seen") {
		t.Errorf("the bank's: %v", err)
	}
	if e, err := l.AuditEntry(4, dev); err != nil || len(e.Changes) != 2 {
		t.Errorf("dev's: %+v, error %v", e, err)
	}
	if _, err := l.AuditEntry(999, nil); !refused(err, domain.NotFound, "no commit at position 999; the newest is") {
		t.Errorf("of no commit: %v", err)
	}
	if _, err := l.AuditEntry(0, nil); !refused(err, domain.NotFound, "no commit at position 0") {
		t.Errorf("of position 0: %v", err)
	}
}

// Whatever the scopes and the filters, the pages are those of looking at every
// commit, with the same entries in them.
func TestAuditScopesAsScanned(t *testing.T) {
	l := audited(t)
	shop := domain.ProjectID("shop")
	rapid.Check(t, func(t *rapid.T) {
		sometimes := func(value, label string) string {
			return rapid.SampledFrom([]string{"", "", value}).Draw(t, label)
		}
		scope := rapid.Custom(func(t *rapid.T) projections.Scope {
			return projections.Scope{
				Project:     rapid.SampledFrom([]string{"shop", "bank", "none"}).Draw(t, "project"),
				Environment: rapid.SampledFrom([]string{"", "prod", "dev", "qa", "none"}).Draw(t, "environment"),
			}
		})
		q := projections.AuditQuery{
			Scopes: rapid.SliceOfN(scope, 0, 3).Draw(t, "scopes"), Limit: 1000,
			Actor: sometimes("t1", "actor"), Ticket: sometimes("SHOP-1", "ticket"), Text: sometimes("v3", "text"), Reason: sometimes("checkout", "reason"),
			Type: sometimes(rapid.SampledFrom([]string{"feature_state.set.v1", "segment.rules_set.v1", "environment.deleted.v1"}).Draw(t, "of type"), "type"),
		}
		if q.Project = sometimes(shop, "project"); q.Project != "" {
			q.Environment = sometimes(rapid.SampledFrom([]string{"prod", "dev", "qa"}).Draw(t, "in"), "environment")
			if name := sometimes(rapid.SampledFrom([]string{"segment:us", "feature:checkout", "state:prod/checkout", "environment:qa", "segment:*", "feature:*", "state:dev/*"}).Draw(t, "about"), "object"); name != "" {
				q.Object, _ = domain.ParseObjects(name) // each can be parsed
			}
			if q.Environment != "" {
				q.Affects = sometimes("checkout", "affects")
			}
		}
		want, err := l.Scan(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		if got := l.audit(t, q); !reflect.DeepEqual(got, want) {
			t.Fatalf("%+v: %v, want %v", q, positionsOf(got), positionsOf(want))
		}
		q.Limit = rapid.IntRange(1, 5).Draw(t, "page")
		for begin := 0; ; {
			entries, next, err := l.Audit(t.Context(), q)
			if err != nil || len(entries) != min(q.Limit, len(want)-begin) || len(entries) > 0 && !reflect.DeepEqual(entries, want[begin:begin+len(entries)]) {
				t.Fatalf("%+v: the page behind %d entries is %v, error %v", q, begin, positionsOf(entries), err)
			}
			if begin += len(entries); next == 0 {
				break
			}
			q.Below = next
		}
	})
}

// lasting is a context that ends when it has been asked so many times.
type lasting struct {
	context.Context
	left int
}

func (c *lasting) Err() error {
	if c.left--; c.left < 0 {
		return context.Canceled
	}
	return nil
}

// Who asked and is gone is not read for any more, and that is no damage.
func TestAuditGivesUp(t *testing.T) {
	l := audited(t)
	for left := range 3 {
		ctx := &lasting{t.Context(), left}
		entries, next, err := l.Audit(ctx, projections.AuditQuery{Type: "feature_state.set.v1", Limit: 50})
		if !errors.Is(err, context.Canceled) || entries != nil || next != 0 || ctx.left != -2 { // once more to tell that it gave up
			t.Errorf("after %d: %v, next %d, error %v, %d", left, positionsOf(entries), next, err, ctx.left)
		}
	}
	if len(l.audit(t, projections.AuditQuery{})) != len(l.log) {
		t.Error("after it not everything is there")
	}
}

// Every entry has the whole commit, and every object as it was before and after
// it: a created one has a full after, a deleted one a full before.
func TestAuditEntries(t *testing.T) {
	l := audited(t)
	states := map[string]*domain.Project{} // by project id, as the log leads there
	image := func(p *domain.Project, o domain.Object) string {
		object := p.Get(o)
		if object == nil {
			return ""
		}
		body, err := json.Marshal(object)
		if err != nil {
			t.Fatal(err)
		}
		return string(body)
	}
	entries := l.audit(t, projections.AuditQuery{})
	slices.Reverse(entries)
	created, deleted := 0, 0
	for i, e := range entries {
		rec := l.log[i]
		before := states[rec.Project]
		if before == nil {
			before = &domain.Project{ID: rec.Project}
		}
		after, objects := before.Evolve(rec.Events, domain.Stamp{Position: rec.Position, Time: rec.RecordedAt})
		states[rec.Project] = after
		if e.Position != rec.Position || !e.RecordedAt.Equal(rec.RecordedAt) || e.Commit.ID != rec.ID || e.Commit.Actor != rec.Actor || e.Commit.Reason != rec.Reason ||
			e.Commit.Ticket != rec.Ticket || len(e.Commit.Events) != len(rec.Events) || e.Project != after.Key {
			t.Errorf("entry %d is %+v, want %+v", rec.Position, e, rec)
		}
		if len(e.Changes) != len(objects) {
			t.Errorf("entry %d has %d changes, want %v", rec.Position, len(e.Changes), objects)
		}
		for j, c := range e.Changes {
			if c.Object != objects[j] || string(c.Before) != image(before, c.Object) || string(c.After) != image(after, c.Object) {
				t.Errorf("entry %d: %s is %s, was %s; want %s, was %s", rec.Position, c.Object, c.After, c.Before, image(after, c.Object), image(before, c.Object))
			}
			if c.Before == nil {
				created++
			}
			if c.After == nil {
				deleted++
			}
		}
		for env, version := range e.Versions {
			id := projections.EnvironmentID{Project: rec.Project, ID: after.Environments.Get(env).ID}
			if v, err := l.Version(id, version); err != nil || v.Position != rec.Position {
				t.Errorf("entry %d led %s to version %d, which is of %d; error %v", rec.Position, env, version, v.Position, err)
			}
		}
	}
	if created < 20 || deleted < 4 {
		t.Errorf("there are only %d created and %d deleted objects", created, deleted)
	}
}

// Answers to retries are found under their keys.
func TestAnswer(t *testing.T) {
	l := newLedger(t, t.TempDir()).closing(t)
	l.do(t, opening()...)
	position := l.change(t, commands.Change{IdempotencyKey: "once", RequestHash: "hash"}, setting("prod", "checkout", "v2"))
	for range 2 {
		for key, want := range map[string]uint64{"once": position, "onc": 0, "once\x00": 0, "": 0} {
			got, hash, err := l.Answer(l.shop().ID, key)
			if err != nil || got != want || want > 0 && hash != "hash" {
				t.Errorf("key %q: position %d, hash %q, error %v, want %d", key, got, hash, err, want)
			}
		}
		if got, _, err := l.Answer(domain.ProjectID("bank"), "once"); err != nil || got != 0 {
			t.Errorf("of another project: %d, error %v", got, err)
		}
		l.close(t)
		l.open(t)
	}
}

// More commits than a process has memory for are not selected at once.
func TestPastChangesOfTooMany(t *testing.T) {
	v := emptyViews(t)
	log := shopLog(t, 10_001)
	for i, rec := range log {
		if err := v.Apply(rec, uint64(len(log)-1-i)); err != nil {
			t.Fatal(err)
		}
	}
	shop := domain.ProjectID("shop")
	_, err := v.PastChanges(t.Context(), shop, domain.Selection{Actor: "ana"})
	refusal, is := errors.AsType[*domain.Error](err)
	if !is || refusal.Kind != domain.LimitReached || !strings.Contains(refusal.Detail, "more than 10000 commits are selected") {
		t.Fatalf("error %v", err)
	}
	_, from, _ := strings.Cut(refusal.Detail, "from ")
	since, err := time.Parse(time.RFC3339Nano, strings.TrimSuffix(from, " on"))
	if err != nil {
		t.Fatal(err)
	}
	if changes, err := v.PastChanges(t.Context(), shop, domain.Selection{Actor: "ana", From: since}); err != nil || len(changes) != 9_999 {
		t.Errorf("%d changes, error %v", len(changes), err)
	}
}

// The commits of a change request, an undertaking or an actor are found together, for the audit and to be
// undone, newest first.
func TestPastChangesOfASelection(t *testing.T) {
	v := emptyViews(t)
	for _, rec := range shopLog(t, 7) {
		switch rec.Position {
		case 3, 6:
			rec.ChangeRequest = "cr-1"
		case 4:
			rec.ChangeRequest, rec.CorrelationID = "cr-2", "undertaking"
		case 5:
			rec.Actor.ID, rec.CorrelationID = "ben", "undertaking"
		}
		again, err := recorded(rec.Commit, rec.Position)
		if err == nil {
			err = v.Apply(again, 0)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	shop := domain.ProjectID("shop")
	for _, test := range []struct {
		s    domain.Selection
		want []uint64
	}{
		{domain.Selection{ChangeRequest: "cr-1"}, []uint64{6, 3}},
		{domain.Selection{ChangeRequest: "cr-1", From: minute(4)}, []uint64{6}},
		{domain.Selection{ChangeRequest: "CR-2"}, []uint64{4}},
		{domain.Selection{CorrelationID: "undertaking"}, []uint64{5, 4}},
		{domain.Selection{CorrelationID: "undertaking", Actor: "ben"}, []uint64{5}},
		{domain.Selection{Actor: "ana", From: minute(4), To: minute(7)}, []uint64{6, 4}},
		{domain.Selection{Position: 5}, []uint64{5}},
		{domain.Selection{ChangeRequest: "cr-3"}, nil},
	} {
		changes, err := v.PastChanges(t.Context(), shop, test.s)
		if err != nil {
			t.Fatal(err)
		}
		var got []uint64
		for _, c := range changes {
			got = append(got, c.Position)
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%+v selects %v, want %v", test.s, got, test.want)
		}
	}
}
