package domain_test

import (
	"reflect"
	"testing"

	"flagledger/domain"
)

// Which features go another way for stored identities, by what a commit says of
// the trait country, which a segment asks for: used by an override of plain in
// prod.
func TestAffectedByContexts(t *testing.T) {
	declared := func(trait string, privacy domain.Privacy) domain.Event {
		return domain.ContextSet{Key: trait, Type: domain.StringContext, Privacy: privacy}
	}
	project := func(strict bool) domain.Event {
		return domain.ProjectUpdated{ProjectSettings: domain.ProjectSettings{PersistTraits: true, StrictContexts: strict}}
	}
	pinned := domain.SegmentPinned{Environment: "prod", Segment: "used", Revision: 1, Rules: onCountry("US")}
	none, prod := map[string][]string{}, map[string][]string{"prod": {"plain"}}
	for name, tc := range map[string]struct {
		given  []domain.Event
		commit []domain.Event
		want   map[string][]string
	}{
		"declared public":            {nil, []domain.Event{declared("country", domain.Public)}, none},
		"declared sensitive":         {nil, []domain.Event{declared("country", domain.Sensitive)}, prod},
		"becomes sensitive":          {[]domain.Event{declared("country", domain.Public)}, []domain.Event{declared("country", domain.Sensitive)}, prod},
		"is public again":            {[]domain.Event{declared("country", domain.Sensitive)}, []domain.Event{declared("country", domain.Public)}, prod},
		"remains sensitive":          {[]domain.Event{declared("country", domain.Sensitive)}, []domain.Event{declared("country", domain.Sensitive)}, none},
		"another trait":              {nil, []domain.Event{declared("plan", domain.Sensitive)}, none},
		"removed":                    {[]domain.Event{declared("country", domain.Sensitive)}, []domain.Event{domain.ContextRemoved{Key: "country"}}, prod},
		"turned strict, undeclared":  {nil, []domain.Event{project(true)}, prod},
		"turned strict, declared":    {[]domain.Event{declared("country", domain.Public)}, []domain.Event{project(true)}, none},
		"strict no more":             {[]domain.Event{project(true)}, []domain.Event{project(false)}, prod},
		"removed in a strict one":    {[]domain.Event{declared("country", domain.Public), project(true)}, []domain.Event{domain.ContextRemoved{Key: "country"}}, prod},
		"declared in a strict one":   {[]domain.Event{project(true)}, []domain.Event{declared("country", domain.Public)}, prod},
		"another setting":            {nil, []domain.Event{domain.ProjectUpdated{Name: "Mart", ProjectSettings: domain.ProjectSettings{PersistTraits: true}}}, none},
		"pinned to rules that do":    {[]domain.Event{pinned, domain.SegmentRulesSet{Segment: "used", Revision: 2, LastNode: 2}}, []domain.Event{declared("country", domain.Sensitive)}, prod},
		"edited, does no more":       {[]domain.Event{domain.SegmentRulesSet{Segment: "used", Revision: 2, LastNode: 2}}, []domain.Event{declared("country", domain.Sensitive)}, none},
		"the override goes with it":  {nil, []domain.Event{domain.SegmentOverrideRemoved{Environment: "prod", Feature: "plain", Segment: "used"}, declared("country", domain.Sensitive)}, prod},
		"in another environment too": {[]domain.Event{domain.SegmentOverrideSet{Environment: "dev", Feature: "split", Segment: "idle", Seed: 20}}, []domain.Event{declared("country", domain.Sensitive)}, map[string][]string{"prod": {"plain"}, "dev": {"split"}}},
	} {
		before := after(contentShop(), tc.given...)
		now := after(before, tc.commit...)
		var objects []domain.Object
		for _, e := range tc.commit {
			objects = append(objects, e.Objects(before)...)
		}
		if got := domain.AffectedByContexts(before, now, objects); len(got)+len(tc.want) > 0 && !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%s: affected are %v, want %v", name, got, tc.want)
		}
	}
}
