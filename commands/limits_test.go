package commands_test

import (
	"testing"
	"time"

	"flagledger/commands"
	"flagledger/domain"
	"flagledger/domain/evaluation"
)

// What is brought back counts like what is created, whatever brings it back, and in changes of several commands too.
func TestLimitsOfWhatComesBack(t *testing.T) {
	l := newLedger(t)
	l.must(t, shop()...)
	limits := domain.DefaultLimits()
	limits.Features, limits.Segments, limits.Variants, limits.Environments = 2, 2, 2, 2
	l.Service = commands.New(l, l.views, l.persons, limits, time.Now)
	version := l.views.CurrentVersion(l.environment("prod"))

	feature := l.must(t, commands.DeleteFeature{Feature: "checkout"}).Position
	l.must(t, commands.CreateFeature{Key: "new"})
	segment := l.must(t, commands.DeleteSegment{Segment: "us"}).Position
	l.must(t, commands.CreateSegment{Key: "new", Rules: when("a", evaluation.Equal, "b")})
	variant := l.must(t, commands.SetVariants{Feature: "search", Variants: []commands.VariantInput{{Key: "a", Value: evaluation.String("A"), Weight: 30}}}).Position
	l.must(t, commands.SetVariants{Feature: "search", Variants: []commands.VariantInput{{Key: "a", Value: evaluation.String("A"), Weight: 30}, {Key: "c"}}})

	last := l.last(t)
	for name, tc := range map[string]struct {
		all  []commands.Command
		want string
	}{
		"undo of a deleted feature":     {[]commands.Command{undo(feature)}, `limit_reached : project "shop" would have 3 features; the limit is 2`},
		"undo of a deleted segment":     {[]commands.Command{undo(segment)}, `limit_reached : project "shop" would have 3 segments; the limit is 2`},
		"undo of a removed variant":     {[]commands.Command{undo(variant)}, `limit_reached : project "shop" would have 3 variants of feature search; the limit is 2`},
		"rollback that restores":        {[]commands.Command{commands.Rollback{Environment: "prod", Version: version, RestoreDeleted: true}}, `limit_reached : project "shop" would have 3 features; the limit is 2`},
		"a change of several":           {[]commands.Command{commands.DeleteFeature{Feature: "new"}, commands.CreateFeature{Key: "b"}, commands.CreateFeature{Key: "c"}}, `limit_reached commands[2]: project "shop" has 2 features, which is the limit`},
		"a change that fits at its end": {[]commands.Command{commands.CreateFeature{Key: "b"}, commands.DeleteFeature{Feature: "new"}}, `limit_reached commands[0]: project "shop" has 2 features`},
		"an environment":                {[]commands.Command{commands.CreateEnvironment{Key: "new"}}, `limit_reached : project "shop" has 2 environments, which is the limit`},
	} {
		for _, dryRun := range []bool{false, true} {
			ch := change(tc.all...)
			ch.DryRun, ch.Listed = dryRun, len(tc.all) > 1
			if _, err := l.Do(t.Context(), ch); !refuses(err, tc.want) {
				t.Errorf("%s, dry run %t: %s, want %s", name, dryRun, refusal(err), tc.want)
			}
		}
	}
	if now := l.last(t); now != last {
		t.Errorf("refused changes have led from position %d to %d", last, now)
	}
	// With room again it comes back.
	l.must(t, commands.DeleteFeature{Feature: "new"})
	l.must(t, undo(feature))
}
