package commands_test

import (
	"strings"
	"testing"

	"flagledger/commands"
	"flagledger/domain"
)

// An identity override that SDKs would take for one of others does not get into
// the environment document, on whatever way.
func TestOverridesThatSDKsReadOtherwise(t *testing.T) {
	give := func(yes bool) commands.UpdateEnvironment {
		return commands.UpdateEnvironment{Environment: "prod", Settings: commands.Settings{LocalIdentityOverrides: &yes}}
	}
	own := func(who string) commands.SetIdentityOverride {
		return commands.SetIdentityOverride{Environment: "prod", Feature: "search", Identifier: who}
	}
	remove := func(who string) commands.RemoveIdentityOverride {
		return commands.RemoveIdentityOverride{Environment: "prod", Feature: "search", Identifier: who}
	}
	l := newLedger(t)
	l.must(t, shop()...)
	l.must(t, prod()...)
	refused := func(part string, all ...commands.Command) {
		t.Helper()
		for _, dry := range []bool{true, false} {
			ch := change(all...)
			ch.DryRun = dry
			if _, err := l.Do(t.Context(), ch); err == nil || !refuses(err, "conflict : "+part) {
				t.Errorf("dry run %t: got %s\nwant %s", dry, refusal(err), part)
			}
		}
	}
	refused(`feature search for "a,b" in prod (Node and Go join`, give(false), own("a,b"), own("cy"), give(true))
	l.must(t, give(false))
	l.must(t, own("a,b"), own("007"), own("ben"))
	version := l.views.CurrentVersion(l.environment("prod"))
	refused(`feature search for "007" in prod (Python takes it for a number, which is written otherwise), feature search for "a,b"`, give(true))
	removed := l.must(t, remove("a,b"), remove("007"), remove("ben")).Position
	l.must(t, give(true))
	refused(`feature search for "007" in prod`, undo(removed))

	// A rollback leaves them out, and says so.
	plan, err := l.Preview(t.Context(), l.project(), rollback(version))
	if got := told(t, plan.Events); err != nil || len(got) != 1 || !strings.Contains(got[0], "person-3-ben") ||
		len(plan.Warnings) != 1 || !strings.Contains(plan.Warnings[0], "2 identity overrides of then are not restored") {
		t.Errorf("events %v, warnings %q, error %v", got, plan.Warnings, err)
	}
	l.must(t, rollback(version))

	// What an earlier release recorded can be changed and goes away, but does not spread.
	position, err := l.Append(t.Context(), domain.Commit{
		ID: "old", Project: l.project().ID, Time: now, Source: domain.SourceAPI,
		Events: []domain.Event{domain.IdentityOverrideSet{Environment: "prod", Identity: "person-3-a,b", Feature: "search"}},
	}, l.project().Position)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.views.Wait(t.Context(), position); err != nil {
		t.Fatal(err)
	}
	spread := own("a,b")
	spread.Feature = "checkout"
	if _, err := l.Do(t.Context(), change(spread)); !refuses(err, "invalid identifier: Node and Go join") {
		t.Errorf("another override: %v", err)
	}
	changed := own("a,b")
	changed.Enabled = new(true)
	l.must(t, changed)
	l.must(t, give(false), give(true)) // which changes nothing else
}
