package commands_test

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"flagledger/commands"
	"flagledger/domain"
	"flagledger/domain/evaluation"
)

// Whatever is made and deleted, no number is given to two things, also not in
// the life of a project after this one of the same key: they salt the hashes by
// which identities are split. What comes back as the same has the number it had.
func TestNumbersNeverRepeat(t *testing.T) {
	fresh := *newDecider(t, domain.DefaultLimits())
	environments, features := rapid.SampledFrom([]string{"dev", "prod", "qa"}), rapid.SampledFrom([]string{"f", "g"})
	segments, variants := rapid.SampledFrom([]string{"r", "s"}), rapid.SampledFrom([][]commands.VariantInput{nil, {{Key: "x"}}, {{Key: "y"}, {Key: "x"}}})
	rapid.Check(t, func(rt *rapid.T) {
		d := fresh
		d.in.Persons = persons{}
		owners := map[int32]string{}
		own := func(number int32, format string, args ...any) {
			owner := fmt.Sprintf(format, args...)
			if was, taken := owners[number]; taken && was != owner || number <= 1 || number > d.p.LastID {
				rt.Fatalf("number %d of %s was given to %s; the last one is %d", number, was, owner, d.p.LastID)
			}
			owners[number] = owner
		}
		d.must(shop()...)
		for range 60 {
			env, feature, segment := environments.Draw(rt, "environment"), features.Draw(rt, "feature"), segments.Draw(rt, "segment")
			c := rapid.SampledFrom([]commands.Command{
				commands.CreateEnvironment{Key: env}, commands.CloneEnvironment{Source: environments.Draw(rt, "source"), Key: env}, commands.DeleteEnvironment{Environment: env},
				commands.CreateFeature{Key: feature, Variants: variants.Draw(rt, "variants")}, commands.CreateFeature{Key: feature}, commands.DeleteFeature{Feature: feature},
				commands.SetVariants{Feature: feature, Variants: variants.Draw(rt, "variants")},
				commands.CreateSegment{Key: segment, Rules: when("a", evaluation.Equal, "b")}, commands.DeleteSegment{Segment: segment},
				commands.SetSegmentOverride{Environment: env, Feature: feature, Segment: segment}, commands.RemoveSegmentOverride{Environment: env, Feature: feature, Segment: segment},
				commands.DeleteProject{}, commands.CreateProject{Key: "shop"},
			}).Draw(rt, "command")
			if _, err := d.decide(c); err != nil {
				continue
			}
			for key, f := range d.p.Features.All() {
				own(f.ID, "feature %s", key+created(f.Created))
				for _, v := range f.Variants {
					own(v.ID, "variant %s of %d", v.Key, f.ID)
				}
			}
			for key, s := range d.p.Segments.All() {
				own(s.ID, "segment %s", key+created(s.Created))
			}
			for key, e := range d.p.Environments.All() {
				own(e.ID, "environment %s", key+created(e.Created))
				for feature, s := range e.States.All() {
					own(s.Seed, "the state of %d in %d", d.p.Features.Get(feature).ID, e.ID)
				}
				for feature, o := range e.Overrides.All() {
					for segment, seed := range o.Seeds {
						own(seed, "the override of %d for %s in %d", d.p.Features.Get(feature).ID, segment, e.ID)
					}
				}
			}
		}
	})
}

// created tells a thing from another of its key.
func created(at domain.Stamp) string { return fmt.Sprint("@", at.Position) }

// Where the numbers have run out, nothing is made any more.
func TestNumbersRunOut(t *testing.T) {
	d := newDecider(t, domain.DefaultLimits())
	d.must(shop()...)
	d.p, _ = d.p.Evolve([]domain.Event{domain.SegmentCreated{ID: 1<<31 - 3, Key: "last", Revision: 1}}, domain.Stamp{})
	for _, c := range []commands.Command{
		commands.CreateFeature{Key: "new"}, commands.CreateEnvironment{Key: "new"}, commands.CloneEnvironment{Source: "prod", Key: "new"},
		commands.SetVariants{Feature: "checkout", Variants: []commands.VariantInput{{Key: "a"}, {Key: "b"}, {Key: "c"}}},
	} {
		if _, err := d.decide(c); !refuses(err, "limit_reached : the project has used up its 2147483647 SDK-facing numbers") {
			t.Errorf("%T: %s", c, refusal(err))
		}
	}
	d.must(override("checkout", "us", enabled(true)), commands.CreateSegment{Key: "new", Rules: when("a", evaluation.Equal, "b")})
	if d.p.LastID != 1<<31-1 {
		t.Errorf("the last number is %d", d.p.LastID)
	}
	if _, err := d.decide(override("checkout", "beta", enabled(true))); !refuses(err, "limit_reached : ") {
		t.Errorf("one more: %s", refusal(err))
	}
	d.must(override("checkout", "us", value("x"))) // needs none
}
