package domain_test

import (
	"fmt"
	"slices"
	"testing"

	"flagledger/domain"
)

func TestParseObject(t *testing.T) {
	for text, want := range map[string]domain.Object{
		"segment:beta":          {Kind: domain.KindSegment, Key: "beta"},
		"state:prod/checkout":   {Kind: domain.KindFeatureState, Environment: "prod", Key: "checkout"},
		"context:shop/visits":   {Kind: domain.KindContext, Key: "shop/visits"}, // traits are called anything
		"context:a:b":           {Kind: domain.KindContext, Key: "a:b"},
		"segment:":              {},
		"segment":               {},
		"beta":                  {},
		"":                      {},
		":beta":                 {},
		"planet:earth":          {},
		"state:checkout":        {},
		"state:prod/":           {},
		"state":                 {},
		"identity:prod/":        {},
		"Segment:beta":          {},
		"overrides:prod/search": {Kind: domain.KindSegmentOverrides, Environment: "prod", Key: "search"},
	} {
		got, err := domain.ParseObject(text)
		if got != want || (err == nil) != (want.Kind != "") {
			t.Errorf("%q is %v with error %v, want %v", text, got, err, want)
		}
		if err == nil && got.String() != text {
			t.Errorf("%q comes back as %q", text, got.String())
		}
	}
}

// What a filter may ask for is an object or all of a kind, and nothing between.
func TestParseObjects(t *testing.T) {
	for text, want := range map[string]domain.Object{
		"segment:beta":         {Kind: domain.KindSegment, Key: "beta"},
		"segment:*":            {Kind: domain.KindSegment, Key: "*"},
		"state:*":              {Kind: domain.KindFeatureState, Environment: "*", Key: "*"},
		"state:prod/*":         {Kind: domain.KindFeatureState, Environment: "prod", Key: "*"},
		"context:a*b":          {Kind: domain.KindContext, Key: "a*b"}, // traits are called anything
		"context:*":            {Kind: domain.KindContext, Key: "*"},
		"segment:be*":          {},
		"state:prod/check*out": {},
		"state:*/checkout":     {},
		"*":                    {},
		"planet:*":             {},
	} {
		got, err := domain.ParseObjects(text)
		if (err == nil) != (want.Kind != "") || err == nil && got != want {
			t.Errorf("%q is %v with error %v, want %v", text, got, err, want)
		}
	}
	for o, want := range map[domain.Object]string{
		{Kind: domain.KindSegment, Key: "beta"}:                               "[segment:*]",
		{Kind: domain.KindFeatureState, Environment: "prod", Key: "checkout"}: "[state:*/* state:prod/*]",
	} {
		if got := fmt.Sprint(o.Groups()); got != want {
			t.Errorf("%s is of the groups %s, want %s", o, got, want)
		}
	}
}

// Every object of the story has a name that can be read back, an image, and the
// position of the commit that changed it last.
func TestObjects(t *testing.T) {
	begin, _ := story()
	kinds := map[domain.ObjectKind]bool{}
	for _, events := range [][]domain.Event{begin, organisation()} {
		last := map[domain.Object]uint64{}
		for i, p := range tell(empty(), events...)[:len(events)] {
			for _, o := range events[i].Objects(p) {
				last[o] = uint64(i + 1)
			}
		}
		p := after(empty(), events...)
		for o, position := range last {
			kinds[o.Kind] = true
			if again, err := domain.ParseObject(o.String()); err != nil || again != o {
				t.Errorf("%s is read as %s, with error %v", o, again, err)
			}
			if p.Get(o) == nil {
				position = 0 // revoked since
			}
			if got := p.Revision(o); got != position {
				t.Errorf("%s is at revision %d, want %d", o, got, position)
			}
			elsewhere := domain.Object{Kind: o.Kind, Environment: "nowhere", Key: "nothing"}
			if o.Kind != domain.KindProject && (p.Get(elsewhere) != nil || p.Revision(elsewhere) != 0) {
				t.Errorf("there is an object %s", elsewhere)
			}
		}
	}
	if len(kinds) != 14 {
		t.Errorf("the story is about %d kinds of object, want all 14: %v", len(kinds), kinds)
	}
	nothing := domain.Project{}
	if got := nothing.Get(domain.Object{Kind: domain.KindProject, Key: "shop"}); got != nil {
		t.Errorf("a project that does not exist is %v", got)
	}
}

func TestParts(t *testing.T) {
	begin, _ := story()
	p := after(empty(), begin...)
	removed := domain.EnvironmentDeleted{Environment: "prod"}.Objects(p)
	for _, want := range []string{
		"environment:prod", "sdk_key:prod/k1", "sdk_key:prod/k2", "state:prod/Search", "state:prod/checkout", "overrides:prod/Search",
		"overrides:prod/checkout", "identity:prod/i1", "identity:prod/i2", "segment_pin:prod/us", "variants_pin:prod/Search",
	} {
		if !slices.ContainsFunc(removed, func(o domain.Object) bool { return o.String() == want }) {
			t.Errorf("%s goes with the environment, and nobody is told", want)
		}
	}
	if len(removed) != 11 {
		t.Errorf("with the environment go %v", removed)
	}
}
