package commands_test

import (
	"math"
	"slices"
	"strings"
	"testing"

	"flagledger/commands"
	"flagledger/domain"
	"flagledger/domain/evaluation"
)

func TestFeature(t *testing.T) {
	const attributes = `"kind":"release","archived":false,"server_key_only":false,"object_value":false`
	long := strings.Repeat("é", domain.DefaultLimits().ValueLength)
	variant := func(key string, weight float64) commands.VariantInput {
		return commands.VariantInput{Key: key, Value: evaluation.String(strings.ToUpper(key)), Weight: weight}
	}
	with := func(variants ...commands.VariantInput) commands.CreateFeature {
		return commands.CreateFeature{Key: "new", Variants: variants}
	}
	set := func(variants ...commands.VariantInput) commands.SetVariants {
		return commands.SetVariants{Feature: "search", Variants: variants}
	}
	idle := commands.SetFeatureState{Environment: "prod", Feature: "search", StateInput: weights(nil)}
	idleDev := commands.SetFeatureState{Environment: "dev", Feature: "search", StateInput: weights(nil)}
	run(t, map[string]scenario{
		"create": {
			again: true, when: commands.CreateFeature{Key: "new"},
			then: []string{`feature.created.v1 {"id":14,"key":"new","description":"",` + attributes + `,"default_enabled":false,"initial_value":null,"seeds":{"dev":15,"prod":16}}`},
		},
		"create with all there is": {
			again: true, when: commands.CreateFeature{
				Key: "new", Description: "d", Kind: domain.Experiment, Owners: []string{"ana"}, Tags: []string{"web", "app"}, ServerKeyOnly: true, ObjectValue: true,
				DefaultEnabled: true, InitialValue: evaluation.Int(math.MaxInt32), Variants: []commands.VariantInput{variant("b", 60), variant("a", 40)},
			},
			then: []string{`feature.created.v1 {"id":14,"key":"new","description":"d","kind":"experiment","owners":["ana"],"tags":["web","app"],"archived":false,"server_key_only":true,"object_value":true,"default_enabled":true,"initial_value":2147483647,"variants":[{"id":15,"key":"b","value":"B","weight":60},{"id":16,"key":"a","value":"A","weight":40}],"seeds":{"dev":17,"prod":18}}`},
		},
		"create with a long value":          {again: true, when: commands.CreateFeature{Key: "new", InitialValue: evaluation.String(long)}, then: []string{`feature.created.v1 {"id":14,"key":"new","description":"",` + attributes + `,"default_enabled":false,"initial_value":"` + long + `","seeds":{"dev":15,"prod":16}}`}},
		"create with too long a value":      {when: commands.CreateFeature{Key: "new", InitialValue: evaluation.String(long + "x")}, refused: "limit_reached initial_value: the value has 20001 characters; the limit is 20000"},
		"create with a fraction":            {when: commands.CreateFeature{Key: "new", InitialValue: evaluation.Float(1.5)}, refused: "invalid initial_value: 1.5 is not an integer"},
		"create with a large number":        {when: commands.CreateFeature{Key: "new", InitialValue: evaluation.Int(math.MaxInt32 + 1)}, refused: "invalid initial_value: 2147483648 does not fit into 32 bits"},
		"create with a small number":        {when: commands.CreateFeature{Key: "new", InitialValue: evaluation.Int(math.MinInt32 - 1)}, refused: "invalid initial_value: -2147483649 does not fit"},
		"create twice":                      {when: commands.CreateFeature{Key: "checkout"}, refused: `conflict key: already a feature "checkout" in project "shop"`},
		"create in another case":            {when: commands.CreateFeature{Key: "Checkout"}, refused: `conflict key: "Checkout" differs from the feature "checkout" only in case`},
		"create without a key":              {when: commands.CreateFeature{}, refused: "invalid key: "},
		"create with a key of dots":         {when: commands.CreateFeature{Key: ".."}, refused: `invalid key: ".." cannot be a key`},
		"create one that every object has":  {when: commands.CreateFeature{Key: "constructor"}, refused: `invalid key: "constructor" is a member of every object of JavaScript`},
		"create of another kind":            {when: commands.CreateFeature{Key: "new", Kind: "toy"}, refused: `invalid kind: "toy" is not a kind of feature; there are release, experiment, ops, permission`},
		"create with a bell in it":          {when: commands.CreateFeature{Key: "new", Description: "\a"}, refused: "malformed description: "},
		"create with a bell in a tag":       {when: commands.CreateFeature{Key: "new", Tags: []string{"a", "\a"}}, refused: "malformed tags[1]: "},
		"create with many owners":           {when: commands.CreateFeature{Key: "new", Owners: make([]string, 101)}, refused: "limit_reached owners: there are 101 owners; the limit is 100"},
		"create with weights above 100":     {when: with(variant("a", 60), variant("b", 41)), refused: "invalid variants: the weights add up to 101; they may not exceed 100"},
		"create with thirds":                {again: true, when: with(variant("a", 33.3), variant("b", 33.3), variant("c", 33.4)), then: []string{`feature.created.v1 {"id":14,"key":"new","description":"",` + attributes + `,"default_enabled":false,"initial_value":null,"variants":[{"id":15,"key":"a","value":"A","weight":33.3},{"id":16,"key":"b","value":"B","weight":33.3},{"id":17,"key":"c","value":"C","weight":33.4}],"seeds":{"dev":18,"prod":19}}`}},
		"create with a negative weight":     {when: with(variant("a", -1)), refused: `invalid variants: the weight -1 of variant "a" is not between 0 and 100`},
		"create with a weight above 100":    {when: with(variant("a", 101)), refused: `invalid variants: the weight 101 of variant "a"`},
		"create with a weight of no number": {when: with(variant("a", math.NaN())), refused: `invalid variants: the weight NaN of variant "a"`},
		"create with a variant twice":       {when: with(variant("a", 1), variant("a", 1)), refused: `conflict variants[1].key: already a variant "a"`},
		"create with a variant of no key":   {when: with(variant("a", 1), variant("", 1)), refused: "invalid variants[1].key: "},
		"create with a variant control":     {when: with(variant("control", 1)), refused: `invalid variants[0].key: "control" is what SDKs call`},
		"create with a fractional variant":  {when: with(commands.VariantInput{Key: "a", Value: evaluation.Float(0.5)}), refused: "invalid variants[0].value: 0.5 is not an integer"},
		"create with many variants":         {when: with(make([]commands.VariantInput, 101)...), refused: "limit_reached variants: there are 101 variants; the limit is 100"},
		"create again after it was gone":    {given: []commands.Command{commands.DeleteFeature{Feature: "checkout"}}, again: true, when: commands.CreateFeature{Key: "CHECKOUT"}, then: []string{`feature.created.v1 {"id":14,"key":"CHECKOUT","description":"",` + attributes + `,"default_enabled":false,"initial_value":null,"seeds":{"dev":15,"prod":16}}`}},

		"update":                     {when: commands.UpdateFeature{Feature: "checkout", Description: new("d"), Kind: new(domain.Ops), Owners: new([]string{"ana"}), Tags: new([]string{"t"}), Archived: new(true), ServerKeyOnly: new(true), ObjectValue: new(true)}, then: []string{`feature.updated.v1 {"feature":"checkout","description":"d","kind":"ops","owners":["ana"],"tags":["t"],"archived":true,"server_key_only":true,"object_value":true}`}},
		"update nothing":             {when: commands.UpdateFeature{Feature: "checkout"}},
		"update to no tags":          {when: commands.UpdateFeature{Feature: "checkout", Tags: new([]string{}), Owners: new([]string{})}},
		"update, tags away":          {given: []commands.Command{commands.UpdateFeature{Feature: "checkout", Tags: new([]string{"t"})}}, when: commands.UpdateFeature{Feature: "checkout", Tags: new([]string{})}, then: []string{`feature.updated.v1 {"feature":"checkout","description":"",` + attributes + `}`}},
		"update to another kind":     {when: commands.UpdateFeature{Feature: "checkout", Kind: new(domain.FeatureKind("toy"))}, refused: `invalid kind: "toy"`},
		"update with a bell in it":   {when: commands.UpdateFeature{Feature: "checkout", Description: new("\a")}, refused: "malformed description: "},
		"update an unknown one":      {when: commands.UpdateFeature{Feature: "new"}, refused: `not_found feature: there is no feature "new" in project "shop"`},
		"update one in another case": {when: commands.UpdateFeature{Feature: "Checkout"}, refused: `not_found feature: there is no feature "Checkout"`},

		"variants of a standard feature":   {when: commands.SetVariants{Feature: "checkout", Variants: []commands.VariantInput{variant("x", 100)}}, then: []string{`feature.variants_set.v1 {"feature":"checkout","variants":[{"id":14,"key":"x","value":"X","weight":100}]}`}},
		"another value, the others stay":   {when: set(variant("b", 0), commands.VariantInput{Key: "a", Value: evaluation.Bool(true), Weight: 30}), then: []string{`feature.variants_set.v1 {"feature":"search","variants":[{"id":8,"key":"a","value":true,"weight":30},{"id":9,"key":"b","value":"B","weight":0}]}`}},
		"one more":                         {when: set(variant("c", 5), variant("a", 30), variant("b", 0)), then: []string{`feature.variants_set.v1 {"feature":"search","variants":[{"id":8,"key":"a","value":"A","weight":30},{"id":9,"key":"b","value":"B","weight":0},{"id":14,"key":"c","value":"C","weight":5}]}`}},
		"one less":                         {when: set(variant("a", 30)), then: []string{`feature.variants_set.v1 {"feature":"search","variants":[{"id":8,"key":"a","value":"A","weight":30}]}`}},
		"the same in another order":        {when: set(variant("b", 0), variant("a", 30))},
		"one less, in use":                 {when: set(variant("b", 0)), refused: `conflict variants: variant "a" is in use by environment dev, environment prod; set its weight to 0 there first`},
		"one less, in use by an override":  {given: []commands.Command{idle, idleDev, override("search", "us", weights(map[string]float64{"a": 1}))}, when: set(variant("b", 0)), refused: `conflict variants: in use by the override for segment us in prod`},
		"one less, in use by an identity":  {given: []commands.Command{idle, idleDev, commands.SetIdentityOverride{Environment: "prod", Feature: "search", Identifier: "ana", Variant: new("a")}}, when: set(variant("b", 0)), refused: `conflict variants: in use by an identity override in prod`},
		"one less, no longer in use":       {given: []commands.Command{idle, idleDev}, when: set(variant("b", 0)), then: []string{`feature.variants_set.v1 {"feature":"search","variants":[{"id":9,"key":"b","value":"B","weight":0}]}`}},
		"one that comes back is a new one": {given: []commands.Command{idle, idleDev, set(variant("b", 0))}, when: set(variant("a", 0), variant("b", 0)), then: []string{`feature.variants_set.v1 {"feature":"search","variants":[{"id":9,"key":"b","value":"B","weight":0},{"id":14,"key":"a","value":"A","weight":0}]}`}},
		"none any more":                    {given: []commands.Command{idle, idleDev}, when: set(), then: []string{`feature.variants_set.v1 {"feature":"search","variants":null}`}},
		"none, as it was":                  {when: commands.SetVariants{Feature: "checkout"}},
		"weights above 100":                {when: set(variant("a", 60), variant("b", 60)), refused: "invalid variants: the weights add up to 120"},
		"variants of an unknown feature":   {when: commands.SetVariants{Feature: "new"}, refused: `not_found feature: `},

		"delete": {again: true, when: commands.DeleteFeature{Feature: "search"}, then: []string{`feature.deleted.v1 {"feature":"search"}`}},
		"delete one in use": {
			given: []commands.Command{
				commands.CreateSegment{Key: "own", Feature: "search", Rules: when("a", evaluation.Equal, "b")}, override("search", "us", enabled(true)),
				commands.SetIdentityOverride{Environment: "dev", Feature: "search", Identifier: "ana"},
			},
			when:    commands.DeleteFeature{Feature: "search"},
			refused: `conflict : feature "search" is in use by segment own, which is for this feature only, an identity override in dev, an override for segment us in prod; remove that first`,
		},
		"delete one that was in use": {
			given: []commands.Command{override("search", "us", enabled(true)), commands.RemoveSegmentOverride{Environment: "prod", Feature: "search", Segment: "us"}},
			again: true, when: commands.DeleteFeature{Feature: "search"}, then: []string{`feature.deleted.v1 {"feature":"search"}`},
		},
		"delete an unknown one": {when: commands.DeleteFeature{Feature: "new"}, refused: "not_found feature: "},
	})
}

func TestFeatureState(t *testing.T) {
	state := func(feature string, in commands.StateInput) commands.SetFeatureState {
		return commands.SetFeatureState{Environment: "prod", Feature: feature, StateInput: in}
	}
	null := commands.StateInput{Value: commands.Some(evaluation.Null())}
	run(t, map[string]scenario{
		"on":                       {when: state("checkout", enabled(true)), then: []string{`feature_state.set.v1 {"environment":"prod","feature":"checkout","enabled":true,"value":"v1"}`}},
		"off as it is":             {when: state("checkout", enabled(false))},
		"nothing":                  {when: state("checkout", commands.StateInput{})},
		"a value":                  {when: state("checkout", value("v2")), then: []string{`feature_state.set.v1 {"environment":"prod","feature":"checkout","enabled":false,"value":"v2"}`}},
		"no value":                 {when: state("checkout", null), then: []string{`feature_state.set.v1 {"environment":"prod","feature":"checkout","enabled":false,"value":null}`}},
		"no value as it is":        {when: state("search", null)},
		"a text that is a number":  {given: []commands.Command{state("checkout", commands.StateInput{Value: commands.Some(evaluation.Int(1))})}, when: state("checkout", value("1")), then: []string{`feature_state.set.v1 {"environment":"prod","feature":"checkout","enabled":false,"value":"1"}`}},
		"weights":                  {when: state("search", weights(map[string]float64{"a": 0, "b": 99.5})), then: []string{`feature_state.set.v1 {"environment":"prod","feature":"search","enabled":true,"value":null,"weights":{"b":99.5}}`}},
		"no weights":               {when: state("search", weights(nil)), then: []string{`feature_state.set.v1 {"environment":"prod","feature":"search","enabled":true,"value":null}`}},
		"weights as they are":      {when: state("search", weights(map[string]float64{"a": 30}))},
		"on, the weights stay":     {when: state("search", enabled(false)), then: []string{`feature_state.set.v1 {"environment":"prod","feature":"search","enabled":false,"value":null,"weights":{"a":30,"b":0}}`}},
		"weights above 100":        {when: state("search", weights(map[string]float64{"a": 60, "b": 41})), refused: "invalid weights: the weights add up to 101"},
		"a negative weight":        {when: state("search", weights(map[string]float64{"a": -5})), refused: `invalid weights: the weight -5 of variant "a"`},
		"a weight of nothing":      {when: state("search", weights(map[string]float64{"z": 1})), refused: `invalid weights: there is no variant "z"`},
		"no weight of nothing":     {when: state("search", weights(map[string]float64{"z": 0})), refused: `invalid weights: there is no variant "z"`},
		"weights without variants": {when: state("checkout", weights(map[string]float64{"a": 1})), refused: "invalid weights: the feature has no variants to give weights to"},
		"a fraction":               {when: state("checkout", commands.StateInput{Value: commands.Some(evaluation.Float(1.5))}), refused: "invalid value: 1.5 is not an integer"},
		"an unknown feature":       {when: state("new", enabled(true)), refused: `not_found feature: there is no feature "new" in project "shop"`},
		"an unknown environment":   {when: commands.SetFeatureState{Environment: "qa", Feature: "checkout"}, refused: `not_found environment: there is no environment "qa" in project "shop"`},
	})
}

// What is shown of many users of a thing is the first few and how many more.
func TestDeleteNamesAFewOfManyUsers(t *testing.T) {
	d := newDecider(t, domain.DefaultLimits())
	d.must(shop()...)
	for i := range 8 {
		d.must(commands.SetIdentityOverride{Environment: "prod", Feature: "search", Identifier: string(rune('a' + i))})
	}
	_, err := d.decide(commands.DeleteFeature{Feature: "search"})
	if want := strings.Repeat("an identity override in prod, ", 4) + "an identity override in prod and 3 more; remove that first"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v, want %s", err, want)
	}
}

// Where variants are pinned, the weights there do not keep the feature from
// losing a variant, and it is not lost there.
func TestVariantsPinned(t *testing.T) {
	d := newDecider(t, domain.DefaultLimits())
	d.must(shop()...)
	for _, env := range []string{"dev", "prod"} {
		d.p, _ = d.p.Evolve([]domain.Event{domain.FeatureVariantsPinned{Environment: env, Feature: "search", Variants: d.p.Features.Get("search").Variants}}, domain.Stamp{})
	}
	d.must(commands.SetVariants{Feature: "search", Variants: []commands.VariantInput{{Key: "b"}}})
	d.must(commands.SetFeatureState{Environment: "prod", Feature: "search", StateInput: weights(map[string]float64{"a": 40})})
	if _, err := d.decide(commands.UnpinVariants{Environment: "prod", Feature: "search"}); !refuses(err, `conflict feature: variant "a", which the feature has no more, is in use by environment prod; set its weight to 0 there first`) {
		t.Errorf("unpinning leaves weights of a variant that is gone: %s", refusal(err))
	}
	d.must(
		commands.SetFeatureState{Environment: "prod", Feature: "search", StateInput: weights(map[string]float64{"b": 40})},
		commands.UnpinVariants{Environment: "prod", Feature: "search"},
	)
	_, err := d.decide(commands.SetFeatureState{Environment: "prod", Feature: "search", StateInput: weights(map[string]float64{"a": 1})})
	if !refuses(err, `invalid weights: there is no variant "a"`) {
		t.Errorf("a weight of a variant that is gone: %s", refusal(err))
	}
	pinned := d.p.Environments.Get("dev").VariantsIn(d.p.Features.Get("search"))
	if keys := slices.Collect(func(yield func(string) bool) {
		for _, v := range pinned {
			yield(v.Key)
		}
	}); !slices.Equal(keys, []string{"a", "b"}) {
		t.Errorf("dev has the variants %v", keys)
	}
}
