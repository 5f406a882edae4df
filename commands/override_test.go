package commands_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"flagledger/commands"
	"flagledger/domain"
	"flagledger/domain/evaluation"
)

func TestSegmentOverride(t *testing.T) {
	at := func(place int, c commands.SetSegmentOverride) commands.SetSegmentOverride {
		c.Place = &place
		return c
	}
	remove := commands.RemoveSegmentOverride{Environment: "prod", Feature: "checkout", Segment: "us"}
	order := func(segments ...string) commands.OrderSegmentOverrides {
		return commands.OrderSegmentOverrides{Environment: "prod", Feature: "checkout", Order: segments}
	}
	us, beta := override("checkout", "us", enabled(true)), override("checkout", "beta", enabled(true))
	set := func(segment, seed, place, state string) string {
		return `segment_override.set.v1 {"environment":"prod","feature":"checkout","segment":"` + segment + `","seed":` + seed + `,"place":` + place + `,` + state + `}`
	}
	reordered := func(order string) string {
		return `segment_overrides.reordered.v1 {"environment":"prod","feature":"checkout","order":[` + order + `]}`
	}
	run(t, map[string]scenario{
		"a new one begins as the state":   {when: override("checkout", "us", commands.StateInput{}), then: []string{set("us", "14", "0", `"enabled":false,"value":"v1"`)}},
		"a new one with its own state":    {when: override("checkout", "us", commands.StateInput{Enabled: new(true), Value: commands.Some(evaluation.Int(2))}), then: []string{set("us", "14", "0", `"enabled":true,"value":2`)}},
		"a new one with weights":          {when: override("search", "us", weights(map[string]float64{"b": 100})), then: []string{`segment_override.set.v1 {"environment":"prod","feature":"search","segment":"us","seed":14,"place":0,"enabled":true,"value":null,"weights":{"b":100}}`}},
		"a second one goes behind":        {given: []commands.Command{us}, when: beta, then: []string{set("beta", "15", "1", `"enabled":true,"value":"v1"`)}},
		"or where it is put":              {given: []commands.Command{us}, when: at(0, beta), then: []string{set("beta", "15", "0", `"enabled":true,"value":"v1"`)}},
		"but not beyond the end":          {given: []commands.Command{us}, when: at(2, beta), refused: "invalid place: 2 is not a place in the order of 1 overrides"},
		"nor before the beginning":        {when: at(-1, beta), refused: "invalid place: -1 is not a place"},
		"a change keeps seed and place":   {given: []commands.Command{us, beta}, when: override("checkout", "us", value("v2")), then: []string{set("us", "14", "2", `"enabled":true,"value":"v2"`)}},
		"a move alone":                    {given: []commands.Command{us, beta}, when: at(1, override("checkout", "us", commands.StateInput{})), then: []string{reordered(`"beta","us"`)}},
		"a move to where it is":           {given: []commands.Command{us, beta}, when: at(1, override("checkout", "beta", commands.StateInput{}))},
		"a move behind all others":        {given: []commands.Command{us, beta}, when: at(2, override("checkout", "us", commands.StateInput{})), then: []string{reordered(`"beta","us"`)}},
		"a move behind all, as it is":     {given: []commands.Command{us, beta}, when: at(2, override("checkout", "beta", commands.StateInput{}))},
		"a change and a move":             {given: []commands.Command{us, beta}, when: at(0, override("checkout", "beta", value("v2"))), then: []string{set("beta", "15", "0", `"enabled":true,"value":"v2"`), reordered(`"beta","us"`)}},
		"one that comes back":             {given: []commands.Command{us, remove, beta}, when: us, then: []string{set("us", "14", "1", `"enabled":true,"value":"v1"`)}},
		"one of a segment for the other":  {given: []commands.Command{commands.CreateSegment{Key: "own", Feature: "search", Rules: when("a", evaluation.Equal, "b")}}, when: override("checkout", "own", enabled(true)), refused: `invalid segment: segment "own" is for feature "search" only`},
		"one of a segment of its own":     {given: []commands.Command{commands.CreateSegment{Key: "own", Feature: "checkout", Rules: when("a", evaluation.Equal, "b")}}, when: override("checkout", "own", enabled(true)), then: []string{set("own", "15", "0", `"enabled":true,"value":"v1"`)}},
		"of an unknown feature":           {when: override("new", "us", enabled(true)), refused: "not_found feature: "},
		"for an unknown segment":          {when: override("checkout", "new", enabled(true)), refused: `not_found segment: there is no segment "new"`},
		"in an unknown environment":       {when: commands.SetSegmentOverride{Environment: "qa", Feature: "checkout", Segment: "us"}, refused: "not_found environment: "},
		"with a fraction":                 {when: override("checkout", "us", commands.StateInput{Value: commands.Some(evaluation.Float(1.5))}), refused: "invalid value: "},
		"with weights above 100":          {when: override("search", "us", weights(map[string]float64{"a": 50, "b": 51})), refused: "invalid weights: the weights add up to 101"},
		"with a weight of nothing":        {when: override("search", "us", weights(map[string]float64{"z": 1})), refused: `invalid weights: there is no variant "z"`},
		"with weights, of no variants":    {when: override("checkout", "us", weights(map[string]float64{"z": 1})), refused: "invalid weights: the feature has no variants"},
		"remove":                          {given: []commands.Command{us}, again: true, when: remove, then: []string{`segment_override.removed.v1 {"environment":"prod","feature":"checkout","segment":"us"}`}},
		"remove what is not there":        {when: remove, refused: `not_found segment: feature "checkout" has no override for segment "us" in "prod"`},
		"remove from an unknown feature":  {when: commands.RemoveSegmentOverride{Environment: "prod", Feature: "new", Segment: "us"}, refused: "not_found feature: "},
		"order":                           {given: []commands.Command{us, beta}, when: order("beta", "us"), then: []string{reordered(`"beta","us"`)}},
		"order as it is":                  {given: []commands.Command{us, beta}, when: order("us", "beta")},
		"order of none":                   {when: order()},
		"order with one left out":         {given: []commands.Command{us, beta}, when: order("us"), refused: "invalid order: must name each segment with an override once: us, beta; it names us"},
		"order with one named twice":      {given: []commands.Command{us, beta}, when: order("us", "us"), refused: "invalid order: it names us, us"},
		"order with another one":          {given: []commands.Command{us}, when: order("us", "beta"), refused: "invalid order: "},
		"order of an unknown feature":     {when: commands.OrderSegmentOverrides{Environment: "prod", Feature: "new"}, refused: "not_found feature: "},
		"order in an unknown environment": {when: commands.OrderSegmentOverrides{Environment: "qa", Feature: "checkout"}, refused: "not_found environment: "},
	})
}

func TestIdentityOverride(t *testing.T) {
	set := func(feature string, change func(*commands.SetIdentityOverride)) commands.SetIdentityOverride {
		c := commands.SetIdentityOverride{Environment: "prod", Feature: feature, Identifier: "ana"}
		if change != nil {
			change(&c)
		}
		return c
	}
	on := func(c *commands.SetIdentityOverride) { c.Enabled = new(true) }
	variant := func(key string) func(*commands.SetIdentityOverride) {
		return func(c *commands.SetIdentityOverride) { c.Variant = &key }
	}
	number := func(c *commands.SetIdentityOverride) { c.Value = commands.Some(evaluation.Int(7)) }
	said := func(feature, state string) []string {
		return []string{`identity_override.set.v1 {"environment":"prod","identity":"person-3-ana","feature":"` + feature + `",` + state + `}`}
	}
	remove := commands.RemoveIdentityOverride{Environment: "prod", Feature: "checkout", Identifier: "ana"}
	run(t, map[string]scenario{
		"a new one begins as the state":  {when: set("checkout", nil), then: said("checkout", `"enabled":false,"value":"v1"`)},
		"on":                             {when: set("checkout", on), then: said("checkout", `"enabled":true,"value":"v1"`)},
		"a value":                        {when: set("checkout", number), then: said("checkout", `"enabled":false,"value":7`)},
		"a change keeps the rest":        {given: []commands.Command{set("checkout", number)}, when: set("checkout", on), then: said("checkout", `"enabled":true,"value":7`)},
		"a variant":                      {when: set("search", variant("a")), then: said("search", `"enabled":true,"value":null,"variant":"a"`)},
		"a value in place of a variant":  {given: []commands.Command{set("search", variant("a"))}, when: set("search", number), then: said("search", `"enabled":true,"value":7`)},
		"a variant in place of a value":  {given: []commands.Command{set("search", number)}, when: set("search", variant("a")), then: said("search", `"enabled":true,"value":7,"variant":"a"`)},
		"no variant any more":            {given: []commands.Command{set("search", variant("a"))}, when: set("search", variant("")), then: said("search", `"enabled":true,"value":null`)},
		"on, the variant stays":          {given: []commands.Command{set("search", variant("a")), set("search", func(c *commands.SetIdentityOverride) { c.Enabled = new(false) })}, when: set("search", on), then: said("search", `"enabled":true,"value":null,"variant":"a"`)},
		"a variant and a value":          {when: set("search", func(c *commands.SetIdentityOverride) { number(c); variant("a")(c) }), refused: "invalid variant: the variant's value or one of its own, not both"},
		"an unknown variant":             {when: set("search", variant("z")), refused: `invalid variant: feature "search" has no variant "z" in "prod"`},
		"a variant of none":              {when: set("checkout", variant("a")), refused: `invalid variant: feature "checkout" has no variant "a"`},
		"a fraction":                     {when: set("checkout", func(c *commands.SetIdentityOverride) { c.Value = commands.Some(evaluation.Float(1.5)) }), refused: "invalid value: "},
		"somebody with a comma":          {when: set("checkout", func(c *commands.SetIdentityOverride) { c.Identifier = "a,b" }), refused: "invalid identifier: SDKs in local evaluation would not give the override to"},
		"somebody who is a list":         {when: set("checkout", func(c *commands.SetIdentityOverride) { c.Identifier = `["a"]` }), refused: "invalid identifier: SDKs in local evaluation would not give the override to"},
		"somebody with leading zeros":    {when: set("checkout", func(c *commands.SetIdentityOverride) { c.Identifier = "007" }), refused: "invalid identifier: SDKs in local evaluation would not give the override to"},
		"somebody who is a fraction":     {when: set("checkout", func(c *commands.SetIdentityOverride) { c.Identifier = "1.50" }), refused: "invalid identifier: SDKs in local evaluation would not give the override to"},
		"a number":                       {when: set("checkout", func(c *commands.SetIdentityOverride) { c.Identifier = "42" }), then: []string{`identity_override.set.v1 {"environment":"prod","identity":"person-3-42","feature":"checkout","enabled":false,"value":"v1"}`}},
		"a comma where SDKs do not look": {given: []commands.Command{commands.UpdateEnvironment{Environment: "prod", Settings: commands.Settings{LocalIdentityOverrides: new(false)}}}, when: set("checkout", func(c *commands.SetIdentityOverride) { c.Identifier = "a,b" }), then: []string{`identity_override.set.v1 {"environment":"prod","identity":"person-3-a,b","feature":"checkout","enabled":false,"value":"v1"}`}},
		"nobody":                         {when: set("checkout", func(c *commands.SetIdentityOverride) { c.Identifier = "" }), refused: "invalid identifier: the identifier is empty"},
		"somebody with a long name":      {when: set("checkout", func(c *commands.SetIdentityOverride) { c.Identifier = strings.Repeat("é", 2001) }), refused: "limit_reached identifier: 2001 characters; the limit is 2000"},
		"somebody of no UTF-8":           {when: set("checkout", func(c *commands.SetIdentityOverride) { c.Identifier = "\xff" }), refused: "malformed identifier: not valid UTF-8"},
		"an unknown feature":             {when: set("new", on), refused: "not_found feature: "},
		"an unknown environment":         {when: set("checkout", func(c *commands.SetIdentityOverride) { c.Environment = "qa" }), refused: "not_found environment: "},
		"remove":                         {given: []commands.Command{set("checkout", on), set("search", on)}, again: true, when: remove, then: []string{`identity_override.removed.v1 {"environment":"prod","identity":"person-3-ana","feature":"checkout"}`}},
		"remove of nobody":               {when: remove, refused: `not_found identifier: feature "checkout" has no override for this identity in "prod"`},
		"remove of another feature":      {given: []commands.Command{set("search", on)}, when: remove, refused: "not_found identifier: "},
		"remove of an unknown feature":   {when: commands.RemoveIdentityOverride{Environment: "prod", Feature: "new", Identifier: "ana"}, refused: "not_found feature: "},
		"erase":                          {given: []commands.Command{set("checkout", on)}, again: true, when: commands.EraseIdentity{Environment: "prod", Surrogate: "person-3-ana"}, then: []string{`identity.erased.v1 {"environment":"prod","identity":"person-3-ana"}`}},
		"erase in no environment":        {when: commands.EraseIdentity{Environment: "qa", Surrogate: "x"}, refused: `not_found environment: there is no environment "qa"`},
	})
}

// away is an identity store that cannot be written.
type away struct{ persons }

func (away) Surrogate(context.Context, string, int32, string) (string, error) {
	return "", errors.New("no connection")
}

// A dry run makes nobody; and nobody is made for what is refused or there already.
func TestIdentityOverrideMakesPersonsLast(t *testing.T) {
	d := newDecider(t, domain.DefaultLimits())
	d.must(shop()...)
	known := d.in.Persons.(persons)
	c := commands.SetIdentityOverride{Environment: "prod", Feature: "search", Identifier: "ana"}
	d.in.DryRun = true
	events, err := c.Decide(d.p, &d.in)
	if got := told(t, events); err != nil || len(got) != 1 || !strings.Contains(got[0], `"identity":"a new identity"`) {
		t.Errorf("a dry run leads to %v, error %v", got, err)
	}
	d.in.DryRun = false
	c.Variant = new("z")
	if _, err := c.Decide(d.p, &d.in); err == nil || len(known) > 0 {
		t.Errorf("known are %v after the refusal %v", known, err)
	}
	d.in.Persons = away{}
	c.Variant = nil
	if _, err := c.Decide(d.p, &d.in); !refuses(err, "unavailable : the identity store cannot be written now: no connection") {
		t.Errorf("without the store: %s", refusal(err))
	}
}
