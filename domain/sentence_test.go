package domain_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"flagledger/domain"
	"flagledger/domain/evaluation"
)

// shop is the history before every case of TestSentence.
func shop() []domain.Event {
	settings := domain.DefaultEnvironmentSettings()
	return []domain.Event{
		domain.ProjectCreated{Key: "shop", Name: "Shop"},
		domain.EnvironmentCreated{ID: 2, Key: "production", Name: "Production", ClientKey: "abc", EnvironmentSettings: settings},
		domain.FeatureCreated{
			ID: 3, Key: "checkout", InitialValue: evaluation.String("a"), Seeds: map[string]int32{"production": 4},
			Variants: []domain.Variant{
				{ID: 5, Key: "grid", Value: evaluation.String("g"), Weight: 10}, {ID: 6, Key: "list", Value: evaluation.String("l"), Weight: 20},
			},
		},
		domain.SegmentCreated{ID: 7, Key: "western_users", Revision: 1, Name: "Western users", Rules: western(is("c2", "plan", "pro"), is("c3", "beta", "true"), is("c4", "country", "US"))},
		domain.SegmentCreated{ID: 8, Key: "tree", Revision: 1, Rules: []evaluation.Rule{
			{ID: "r1", Type: evaluation.All, Conditions: []evaluation.Condition{is("c2", "plan", "pro"), is("c3", "country", "US")}, Rules: []evaluation.Rule{
				{ID: "r4", Type: evaluation.Any, Conditions: []evaluation.Condition{is("c5", "beta", "true")}},
			}},
		}},
		domain.SegmentCreated{ID: 9, Key: "beta", Revision: 1},
		domain.SegmentOverrideSet{Environment: "production", Feature: "checkout", Segment: "beta", Seed: 10, Place: 0},
		domain.SegmentOverrideSet{Environment: "production", Feature: "checkout", Segment: "tree", Seed: 11, Place: 1},
		domain.SegmentOverrideSet{Environment: "production", Feature: "checkout", Segment: "western_users", Seed: 12, Place: 2},
		domain.FeatureCreated{ID: 13, Key: "search", Seeds: map[string]int32{"production": 14}},
		domain.IdentityOverrideSet{Environment: "production", Identity: "s-1", Feature: "checkout", Enabled: true},
		domain.SDKKeyCreated{Environment: "production", ID: "k-1", Kind: domain.ServerKey, Name: "mobile", Hash: "secret"},
		domain.TokenCreated{ID: "t-1", Name: "CI", Hash: "secret"},
		domain.SegmentPinned{Environment: "production", Segment: "tree", Revision: 3},
		domain.FeatureVariantsPinned{Environment: "production", Feature: "checkout", Variants: []domain.Variant{{ID: 5, Key: "grid", Value: evaluation.String("g")}}},
	}
}

func is(id, property, value string) evaluation.Condition {
	return evaluation.Condition{ID: id, Property: property, Operator: evaluation.Equal, Value: value}
}

func western(conditions ...evaluation.Condition) []evaluation.Rule {
	return []evaluation.Rule{{ID: "r1", Type: evaluation.All, Conditions: conditions}}
}

func westernSet(conditions ...evaluation.Condition) domain.Event {
	return domain.SegmentRulesSet{Segment: "western_users", Revision: 2, Rules: western(conditions...)}
}

func treeSet(rules ...evaluation.Rule) domain.Event {
	return domain.SegmentRulesSet{Segment: "tree", Revision: 2, Rules: rules}
}

func TestSentence(t *testing.T) {
	var (
		pro, beta, country = is("c2", "plan", "pro"), is("c3", "beta", "true"), is("c4", "country", "US")
		email              = evaluation.Condition{ID: "c5", Property: "email", Operator: evaluation.Contains, Value: "@example.com"}
		split              = evaluation.Condition{ID: "c6", Operator: evaluation.PercentageSplit, Value: "10"}
		long               = strings.Repeat("abcdefghi,", 20)
		settings           = domain.DefaultEnvironmentSettings()
		hidden             = true
	)
	settings.HideDisabledFlags = &hidden
	state := func(enabled bool, value string, grid float64) domain.FeatureStateSet {
		return domain.FeatureStateSet{
			Environment: "production", Feature: "checkout", Enabled: enabled, Value: evaluation.String(value),
			Weights: map[string]float64{"grid": grid, "list": 20},
		}
	}
	override := func(segment string, enabled bool, value evaluation.Value) domain.SegmentOverrideSet {
		seeds := map[string]int32{"beta": 10, "tree": 11, "western_users": 12}
		return domain.SegmentOverrideSet{Environment: "production", Feature: "checkout", Segment: segment, Seed: seeds[segment], Enabled: enabled, Value: value}
	}
	order := func(segments ...string) domain.Event {
		return domain.SegmentOverridesReordered{Environment: "production", Feature: "checkout", Order: segments}
	}

	for name, test := range map[string]struct {
		when []domain.Event
		want string // a line for every object
	}{
		"project": {
			[]domain.Event{domain.ProjectUpdated{Name: "The MART", ProjectSettings: domain.ProjectSettings{PersistTraits: true}}},
			`Ana changed project shop: name "Shop" to "The MART", persist traits false to true`,
		},
		"environment created": {
			[]domain.Event{domain.EnvironmentCreated{ID: 20, Key: "staging", ClientKey: "x", Seeds: map[string]int32{"checkout": 21, "search": 22}}},
			`Ana created environment staging
			 Ana added checkout to staging: disabled, value "a", grid 10 %, list 20 %
			 Ana added search to staging: disabled`,
		},
		"environment cloned": {
			[]domain.Event{
				domain.EnvironmentCreated{ID: 20, Key: "staging", ClientKey: "x", ClonedFrom: "production"},
				domain.EnvironmentUpdated{Environment: "production", Name: "Live", EnvironmentSettings: settings},
			},
			`Ana created environment staging as a clone of production
			 Ana added checkout to staging: disabled, value "a", grid 10 %, list 20 %
			 Ana added search to staging: disabled
			 Ana changed environment production: hide disabled flags null to true, name "Production" to "Live"`,
		},
		"created and deleted at once": {
			[]domain.Event{domain.FeatureCreated{ID: 20, Key: "oops"}, domain.FeatureDeleted{Feature: "oops"}},
			`Ana created and deleted feature oops
			 Ana added and removed oops in production`,
		},
		"environment deleted": {
			[]domain.Event{domain.EnvironmentDeleted{Environment: "production"}},
			`Ana removed checkout from production
			 Ana removed search from production
			 Ana removed all segment overrides of checkout in production
			 Ana removed override checkout of identity ada@example.com in production
			 Ana unpinned segment tree in production
			 Ana unpinned the variants of checkout in production
			 Ana revoked SDK key mobile of production
			 Ana deleted environment production`,
		},
		"token created": {
			[]domain.Event{domain.TokenCreated{ID: "t-2", Name: "Ben", Grants: []domain.Grant{
				{Role: domain.Viewer}, {Role: domain.Editor, Project: "shop"}, {Role: domain.Approver, Project: "shop", Environment: "production"},
			}}},
			`Ana created token Ben: viewer of all projects, editor of shop and approver of shop/production`,
		},
		"token revoked": {[]domain.Event{domain.TokenRevoked{ID: "t-1"}}, `Ana revoked token CI`},
		"key created":   {[]domain.Event{domain.SDKKeyCreated{Environment: "production", ID: "k-2", Name: "web"}}, `Ana created SDK key web of production`},
		"key revoked":   {[]domain.Event{domain.SDKKeyRevoked{Environment: "production", ID: "k-1"}}, `Ana revoked SDK key mobile of production`},
		"key disabled": {
			[]domain.Event{domain.SDKKeyUpdated{Environment: "production", ID: "k-1", Name: "mobile", ExpiresAt: time.Date(2026, 5, 3, 0, 0, 0, 0, time.UTC)}},
			`Ana disabled SDK key mobile of production and changed its expires at from none to "2026-05-03T00:00:00Z"`,
		},

		"feature created": {
			[]domain.Event{domain.FeatureCreated{ID: 20, Key: "new_search", DefaultEnabled: true, InitialValue: evaluation.Int(3)}},
			`Ana created feature new_search
			 Ana added new_search to production: enabled, value 3`,
		},
		"feature archived": {
			[]domain.Event{domain.FeatureUpdated{Feature: "search", FeatureAttributes: domain.FeatureAttributes{Archived: true}}},
			`Ana archived feature search`,
		},
		"feature described": {
			[]domain.Event{domain.FeatureUpdated{Feature: "search", FeatureAttributes: domain.FeatureAttributes{Description: "finds", Tags: []string{"web"}, ServerKeyOnly: true}}},
			`Ana changed feature search: description "" to "finds", server key only false to true, tags none to ["web"]`,
		},
		"feature deleted": {
			[]domain.Event{domain.FeatureDeleted{Feature: "search"}},
			`Ana deleted feature search
			 Ana removed search from production`,
		},
		"variant changed": {
			[]domain.Event{domain.FeatureVariantsSet{Feature: "checkout", Variants: []domain.Variant{
				{ID: 5, Key: "grid", Value: evaluation.String("G"), Weight: 10}, {ID: 6, Key: "list", Value: evaluation.String("l"), Weight: 20},
			}}},
			`Ana changed variant grid of feature checkout: value "g" to "G"`,
		},
		"variants replaced": {
			[]domain.Event{domain.FeatureVariantsSet{Feature: "checkout", Variants: []domain.Variant{
				{ID: 5, Key: "tiles", Value: evaluation.String("g"), Weight: 10}, {ID: 20, Key: "map", Value: evaluation.Null()},
			}}},
			`Ana changed feature checkout: removed variant list; changed variant grid: key "grid" to "tiles"; added variant map: value null`,
		},

		"state enabled":  {[]domain.Event{state(true, "a", 10)}, `Ana enabled checkout in production`},
		"state value":    {[]domain.Event{state(false, "b", 10)}, `Ana changed checkout in production: value "a" to "b"`},
		"state weight":   {[]domain.Event{state(false, "a", 12.5)}, `Ana changed checkout in production: weight of grid 10 to 12.5`},
		"state all":      {[]domain.Event{state(true, "b", 15)}, `Ana enabled checkout in production and changed its value from "a" to "b", its weight of grid from 10 to 15`},
		"state as it is": {[]domain.Event{state(true, "b", 15), state(false, "a", 10)}, `Ana left checkout in production unchanged`},
		"state to null": {
			[]domain.Event{domain.FeatureStateSet{Environment: "production", Feature: "search", Value: evaluation.Bool(false)}},
			`Ana changed search in production: value null to false`,
		},
		"long values are cut": {
			[]domain.Event{state(false, long, 10)},
			`Ana changed checkout in production: value "a" to "` + long[:120] + `…"`,
		},

		"segment created": {[]domain.Event{domain.SegmentCreated{ID: 20, Key: "gamma", Revision: 1}}, `Ana created segment gamma`},
		"segment deleted": {
			[]domain.Event{domain.SegmentDeleted{Segment: "tree"}},
			`Ana deleted segment tree
			 Ana unpinned segment tree in production`,
		},
		"segment renamed": {
			[]domain.Event{domain.SegmentUpdated{Segment: "western_users", Name: "West"}},
			`Ana changed segment western_users: name "Western users" to "West"`,
		},
		"condition moved": {[]domain.Event{westernSet(country, pro, beta)}, `Ana moved condition 3 of segment western_users to place 1`},
		"condition moved and changed": {
			[]domain.Event{westernSet(is("c4", "country", "US,CA"), pro, beta)},
			`Ana moved condition 3 of segment western_users to place 1 and changed its value from "US" to "US,CA"`,
		},
		"condition changed": {
			[]domain.Event{westernSet(pro, beta, is("c4", "country", "US,CA"))},
			`Ana changed condition 3 of segment western_users: value "US" to "US,CA"`,
		},
		"condition added": {
			[]domain.Event{westernSet(pro, email, beta, country)},
			`Ana added condition email CONTAINS "@example.com" to segment western_users`,
		},
		"condition removed": {[]domain.Event{westernSet(pro, country)}, `Ana removed condition beta EQUAL "true" from segment western_users`},
		"several conditions": {
			[]domain.Event{westernSet(is("c4", "country", "CA"), is("c2", "plan", "free"), split), domain.SegmentUpdated{Segment: "western_users", Name: "West"}},
			`Ana changed segment western_users: name "Western users" to "West"; removed condition beta EQUAL "true"; ` +
				`moved condition 3 to place 1 and changed its value from "US" to "CA"; changed condition 1: value "pro" to "free"; ` +
				`added condition identity PERCENTAGE_SPLIT "10"`,
		},
		"rule type": {
			[]domain.Event{domain.SegmentRulesSet{Segment: "western_users", Revision: 2, Rules: []evaluation.Rule{
				{ID: "r1", Type: evaluation.Any, Conditions: []evaluation.Condition{pro, beta, country}},
			}}},
			`Ana changed rule 1 of segment western_users: type "ALL" to "ANY"`,
		},
		"rule added": {
			[]domain.Event{domain.SegmentRulesSet{Segment: "western_users", Revision: 2, Rules: append(western(pro, beta, country),
				evaluation.Rule{ID: "r7", Type: evaluation.None, Conditions: []evaluation.Condition{email, {ID: "c8", Property: "plan", Operator: evaluation.IsNotSet}}})}},
			`Ana added rule NONE (email CONTAINS "@example.com"; plan IS_NOT_SET) to segment western_users`,
		},
		"condition of a rule in a rule": {
			[]domain.Event{treeSet(evaluation.Rule{ID: "r1", Type: evaluation.All, Conditions: []evaluation.Condition{pro, is("c3", "country", "US")}, Rules: []evaluation.Rule{
				{ID: "r4", Type: evaluation.Any, Conditions: []evaluation.Condition{is("c5", "beta", "false"), split}},
			}})},
			`Ana changed segment tree: changed condition 1 of rule 1.1: value "true" to "false"; added condition identity PERCENTAGE_SPLIT "10" to rule 1.1`,
		},
		"condition to another rule": {
			[]domain.Event{treeSet(evaluation.Rule{ID: "r1", Type: evaluation.All, Conditions: []evaluation.Condition{pro}, Rules: []evaluation.Rule{
				{ID: "r4", Type: evaluation.Any, Conditions: []evaluation.Condition{is("c3", "country", "US"), is("c5", "beta", "true")}},
			}})},
			`Ana moved condition 2 of rule 1 of segment tree to rule 1.1, place 1`,
		},
		"rule to the top": {
			[]domain.Event{treeSet(
				evaluation.Rule{ID: "r1", Type: evaluation.All, Conditions: []evaluation.Condition{pro, is("c3", "country", "US")}},
				evaluation.Rule{ID: "r4", Type: evaluation.Any, Conditions: []evaluation.Condition{is("c5", "beta", "true")}},
			)},
			`Ana moved rule 1.1 of segment tree to the top level, place 2`,
		},
		"more than can be told": {
			[]domain.Event{westernSet(func() (conditions []evaluation.Condition) {
				for id := range strings.SplitSeq("abcdefghijkl", "") {
					conditions = append(conditions, is(id, "p", id))
				}
				return append([]evaluation.Condition{pro, beta, country}, conditions...)
			}()...)},
			`Ana changed segment western_users: added condition p EQUAL "a"; added condition p EQUAL "b"; added condition p EQUAL "c"; ` +
				`added condition p EQUAL "d"; added condition p EQUAL "e"; added condition p EQUAL "f"; added condition p EQUAL "g"; ` +
				`added condition p EQUAL "h"; added condition p EQUAL "i"; added condition p EQUAL "j"; and 2 more`,
		},

		"override moved": {
			[]domain.Event{order("western_users", "beta", "tree")},
			`Ana put segment override western_users of checkout in production from place 3 to 1`,
		},
		"overrides turned round": {
			[]domain.Event{order("western_users", "tree", "beta")},
			`Ana changed the segment overrides of checkout in production: put segment override western_users from place 3 to 1; left segment override tree at place 2`,
		},
		"override moved and changed": {
			[]domain.Event{order("western_users", "beta", "tree"), override("western_users", true, evaluation.String("w"))},
			`Ana put segment override western_users of checkout in production from place 3 to 1, enabled it and changed its value from null to "w"`,
		},
		"override enabled": {
			[]domain.Event{override("beta", true, evaluation.Null())},
			`Ana enabled segment override beta of checkout in production`,
		},
		"override removed": {
			[]domain.Event{domain.SegmentOverrideRemoved{Environment: "production", Feature: "checkout", Segment: "tree"}},
			`Ana removed segment override tree of checkout in production`,
		},
		"first override": {
			[]domain.Event{domain.SegmentOverrideSet{Environment: "production", Feature: "search", Segment: "beta", Seed: 20, Enabled: true, Weights: map[string]float64{"on": 50}}},
			`Ana added segment override beta of search in production at place 1: enabled, on 50 %`,
		},
		"several overrides": {
			[]domain.Event{order("tree", "beta", "western_users"), override("western_users", true, evaluation.String("w"))},
			`Ana changed the segment overrides of checkout in production: put segment override tree from place 2 to 1; ` +
				`enabled segment override western_users and changed its value from null to "w"`,
		},

		"identity override": {
			[]domain.Event{domain.IdentityOverrideSet{Environment: "production", Identity: "s-2", Feature: "checkout", Enabled: true, Variant: "grid"}},
			`Ana added override checkout of identity s-2 in production: enabled, variant grid`,
		},
		"identity override disabled": {
			[]domain.Event{domain.IdentityOverrideSet{Environment: "production", Identity: "s-1", Feature: "checkout"}},
			`Ana disabled override checkout of identity ada@example.com in production`,
		},
		"identity overrides": {
			[]domain.Event{
				domain.IdentityOverrideSet{Environment: "production", Identity: "s-1", Feature: "search", Value: evaluation.Bool(true)},
				domain.IdentityOverrideRemoved{Environment: "production", Identity: "s-1", Feature: "checkout"},
			},
			`Ana changed the overrides of identity ada@example.com in production: removed override checkout; added override search: disabled, value true`,
		},
		"last identity override": {
			[]domain.Event{domain.IdentityOverrideRemoved{Environment: "production", Identity: "s-1", Feature: "checkout"}},
			`Ana removed override checkout of identity ada@example.com in production`,
		},
		"person erased": {
			[]domain.Event{domain.IdentityErased{Environment: "production", Identity: "s-1"}},
			`Ana erased a person in production`,
		},
		"person without overrides erased": {
			[]domain.Event{domain.IdentityErased{Environment: "production", Identity: "s-9"}},
			`Ana erased a person in production`,
		},

		"segment pinned": {
			[]domain.Event{domain.SegmentPinned{Environment: "production", Segment: "beta", Revision: 3}},
			`Ana pinned segment beta at revision 3 in production`,
		},
		"segment pinned again": {
			[]domain.Event{domain.SegmentPinned{Environment: "production", Segment: "tree", Revision: 1}},
			`Ana pinned segment tree at revision 1 instead of 3 in production`,
		},
		"segment unpinned": {
			[]domain.Event{domain.SegmentUnpinned{Environment: "production", Segment: "tree"}},
			`Ana unpinned segment tree in production`,
		},
		"variants pinned": {
			[]domain.Event{domain.FeatureVariantsPinned{Environment: "production", Feature: "search"}},
			`Ana pinned the variants of search in production`,
		},
		"variants pinned again": {
			[]domain.Event{domain.FeatureVariantsPinned{Environment: "production", Feature: "checkout", Variants: []domain.Variant{{ID: 5, Key: "grid", Value: evaluation.String("G")}}}},
			`Ana changed variant grid of the pinned variants of checkout in production: value "g" to "G"`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			before, _ := new(domain.Project).Evolve(shop(), domain.Stamp{Position: 1})
			after, objects := before.Evolve(test.when, domain.Stamp{Position: 2})
			var got []string
			for _, o := range objects {
				got = append(got, sentence(t, o, image(t, before, o), image(t, after, o), test.when))
			}
			want := strings.Split(strings.ReplaceAll(test.want, "\t", ""), "\n")
			for i := range want {
				want[i] = strings.TrimSpace(want[i])
			}
			if !slices.Equal(got, want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		})
	}
}

func image(t *testing.T, p *domain.Project, o domain.Object) json.RawMessage {
	body, err := json.Marshal(p.Get(o))
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func sentence(t *testing.T, o domain.Object, before, after json.RawMessage, events []domain.Event) string {
	t.Helper()
	diffs, err := domain.Diff(before, after)
	if err != nil {
		t.Fatal(err)
	}
	told, err := domain.Sentence("Ana", domain.ObjectChange{Object: o, Before: before, After: after, Differences: diffs, Events: events}, func(surrogate string) string {
		if surrogate == "s-1" {
			return "ada@example.com"
		}
		return surrogate
	})
	if err != nil {
		t.Fatal(err)
	}
	return told
}

// Two long lists are told from where they differ on, so that the difference is seen.
func TestSentenceShowsWhereLongValuesDiffer(t *testing.T) {
	list := strings.Repeat("abcdefghi,", 20)
	before, after := domain.Segment{Key: "wide", Rules: western(is("c2", "id", list+"US"))}, domain.Segment{Key: "wide", Rules: western(is("c2", "id", list+"US,CA"))}
	b, _ := json.Marshal(before)
	a, _ := json.Marshal(after)
	got := sentence(t, domain.Object{Kind: domain.KindSegment, Key: "wide"}, b, a, nil)
	want := `Ana changed condition 1 of segment wide: value "…cdefghi,abcdefghi,US" to "…cdefghi,abcdefghi,US,CA"`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestSentenceKeepsSecrets(t *testing.T) {
	got := sentence(t, domain.Object{Kind: domain.KindToken, Key: "t-1"}, []byte(`{"name":"CI","hash":"aa"}`), []byte(`{"name":"CI","hash":"bb"}`), nil)
	if want := `Ana changed token CI: hash (secret) to (secret)`; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// Whatever was edited can be told, and in few words.
func TestSentenceOfAnyChange(t *testing.T) {
	for kind, image := range map[domain.ObjectKind]func(*rapid.T) any{
		domain.KindSegment:          func(t *rapid.T) any { return drawSegment(t) },
		domain.KindFeature:          func(t *rapid.T) any { return drawFeature(t) },
		domain.KindFeatureState:     func(t *rapid.T) any { return drawState(t) },
		domain.KindSegmentOverrides: func(t *rapid.T) any { return drawOverrides(t) },
	} {
		t.Run(string(kind), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				c := domain.ObjectChange{Object: domain.Object{Kind: kind, Environment: "production", Key: "k"}, Before: encode(t, image(t)), After: encode(t, image(t))}
				c.Differences = diff(t, c.Before, c.After)
				told, err := domain.Sentence("Ana", c, nil)
				switch {
				case err != nil:
					t.Fatal(err)
				case len(c.Differences) > 0 && strings.Contains(told, "unchanged"):
					t.Fatalf("%s, but %s", told, encode(t, c.Differences))
				case strings.Contains(told, "  ") || len(told) > 3000:
					t.Fatal(told)
				}
			})
		})
	}
}

func TestSentenceReportsAnImageThatCannotBeRead(t *testing.T) {
	for _, kind := range []domain.ObjectKind{
		domain.KindToken, domain.KindSDKKey, domain.KindFeature, domain.KindSegment, domain.KindSegmentPin, domain.KindVariantsPin,
	} {
		c := domain.ObjectChange{Object: domain.Object{Kind: kind, Environment: "production", Key: "k"}, Before: []byte(`{}`), After: []byte(`[]`)}
		if told, err := domain.Sentence("Ana", c, nil); err == nil {
			t.Errorf("%s: %q, want an error", kind, told)
		}
	}
}
