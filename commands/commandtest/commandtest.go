// Package commandtest draws random commands, for the tests of whatever must hold
// after any of them: of the views, of the past, of the routes.
package commandtest

import (
	"fmt"
	"time"

	"pgregory.net/rapid"

	"flagledger/commands"
	"flagledger/domain"
	"flagledger/domain/evaluation"
)

// What random commands are about. Few of each, so that they meet.
var (
	environmentKeys = rapid.SampledFrom([]string{"dev", "prod", "prod", "qa"})
	featureKeys     = rapid.SampledFrom([]string{"f", "f", "g", "g", "h", "i"})
	segmentKeys     = rapid.SampledFrom([]string{"r", "s", "s", "t", "u"})
	people          = rapid.SampledFrom([]string{"ana", "ben"})
	variantKeys     = []string{"x", "y", "z"}
	texts           = rapid.SampledFrom([]string{"", "one", "two"})
	values          = rapid.SampledFrom([]evaluation.Value{evaluation.Null(), evaluation.Bool(true), evaluation.Int(7), evaluation.String("a"), evaluation.String("b")})
)

// Opening is the beginning of a project: two environments, a split feature and
// two plain ones, and three segments, one of them a feature's own.
func Opening(project string) []commands.Command {
	override := func(environment, feature, segment, value string) commands.Command {
		return commands.SetSegmentOverride{Environment: environment, Feature: feature, Segment: segment, StateInput: commands.StateInput{Value: commands.Some(evaluation.String(value))}}
	}
	is := func(trait, value string) commands.Rules {
		return commands.Rules{{Type: evaluation.All, Conditions: []evaluation.Condition{{Property: trait, Operator: evaluation.Equal, Value: value}}}}
	}
	return []commands.Command{
		commands.CreateProject{Key: project}, commands.CreateEnvironment{Key: "dev"}, commands.CreateEnvironment{Key: "prod"},
		commands.CreateFeature{Key: "f", Variants: []commands.VariantInput{{Key: "x", Value: evaluation.String("X"), Weight: 30}, {Key: "y", Value: evaluation.String("Y"), Weight: 0}}},
		commands.CreateFeature{Key: "g", InitialValue: evaluation.String("a")}, commands.CreateFeature{Key: "h"},
		commands.CreateSegment{Key: "r", Rules: is("plan", "pro")}, commands.CreateSegment{Key: "s", Rules: is("country", "US")},
		commands.CreateSegment{Key: "t", Feature: "f", Rules: is("country", "CA")},
		override("prod", "f", "s", "a"), override("prod", "f", "t", "b"), override("dev", "g", "r", "b"),
	}
}

// Identities are those that commands are about, who may have overrides, and
// visitors, who differ in their traits and in where splits put them.
func Identities() []*evaluation.Identity {
	trait := func(key, value string) evaluation.Trait {
		return evaluation.Trait{Key: key, Value: evaluation.String(value)}
	}
	all := []*evaluation.Identity{
		{Identifier: "ana", Traits: []evaluation.Trait{trait("country", "US")}},
		{Identifier: "ben", Traits: []evaluation.Trait{trait("country", "CA"), trait("plan", "pro")}},
	}
	for i := range 12 {
		all = append(all, &evaluation.Identity{Identifier: fmt.Sprintf("visitor %d", i), Traits: []evaluation.Trait{trait("country", []string{"US", "CA", "MX"}[i%3])}})
	}
	return all
}

// optional draws something or leaves it out.
func optional[T any](t *rapid.T, label string, g *rapid.Generator[T]) *T {
	return rapid.Ptr(g, true).Draw(t, label)
}

// drawState draws a state of a feature, mostly one that it can have.
func drawState(t *rapid.T, f *domain.Feature) commands.StateInput {
	in := commands.StateInput{Enabled: optional(t, "enabled", rapid.Bool())}
	if rapid.Bool().Draw(t, "with a value") {
		in.Value = commands.Some(values.Draw(t, "value"))
	}
	if rapid.Bool().Draw(t, "with weights") {
		in.Weights = commands.Some(map[string]float64{})
		if f != nil {
			for _, v := range f.Variants {
				in.Weights.Value[v.Key] = rapid.SampledFrom([]float64{0, 12.5, 33, 51}).Draw(t, "weight")
			}
		}
	}
	return in
}

func drawVariants(t *rapid.T) []commands.VariantInput {
	var all []commands.VariantInput
	for _, key := range variantKeys[:rapid.IntRange(0, len(variantKeys)).Draw(t, "variants")] {
		all = append(all, commands.VariantInput{Key: key, Value: values.Draw(t, "value"), Weight: rapid.SampledFrom([]float64{0, 10, 30}).Draw(t, "weight")})
	}
	return all
}

func drawRules(t *rapid.T) commands.Rules {
	rules := make(commands.Rules, rapid.IntRange(1, 2).Draw(t, "rules"))
	for i := range rules {
		rules[i].Type = rapid.SampledFrom([]evaluation.RuleType{evaluation.All, evaluation.Any, evaluation.None}).Draw(t, "type")
		for range rapid.IntRange(1, 2).Draw(t, "conditions") {
			rules[i].Conditions = append(rules[i].Conditions, rapid.SampledFrom([]evaluation.Condition{
				{Property: "country", Operator: evaluation.Equal, Value: "US"}, {Property: "country", Operator: evaluation.In, Value: "US,CA"},
				{Property: "plan", Operator: evaluation.IsSet}, {Operator: evaluation.PercentageSplit, Value: "50"},
				{Property: "$.identity.identifier", Operator: evaluation.NotEqual, Value: "ben"},
			}).Draw(t, "condition"))
		}
	}
	return rules
}

// A World is what is drawn from: a project, and what is known of it.
type World struct {
	Project *domain.Project
	// Version is the newest version of an environment.
	Version func(environment int32) uint64
	// Surrogate is that of a person in an environment.
	Surrogate func(environment int32, identifier string) string
	// Position draws the position of a commit of the project; nil: commits are
	// not undone.
	Position *rapid.Generator[uint64]
	// Deleting is whether anything may be deleted.
	Deleting bool
}

// Command draws any command. Many are refused: there is no such thing, or there
// is one already.
func (w World) Command(t *rapid.T) commands.Command {
	p, deleting := w.Project, w.Deleting
	env, feature, segment := environmentKeys.Draw(t, "environment"), featureKeys.Draw(t, "feature"), segmentKeys.Draw(t, "segment")
	content := []func() commands.Command{
		func() commands.Command { return commands.SetVariants{Feature: feature, Variants: drawVariants(t)} },
		func() commands.Command {
			return commands.SetFeatureState{Environment: env, Feature: feature, StateInput: drawState(t, p.Features.Get(feature))}
		},
		func() commands.Command {
			return commands.UpdateSegment{Segment: segment, Name: new("n" + texts.Draw(t, "name")), Rules: new(drawRules(t))}
		},
		func() commands.Command {
			return commands.SetSegmentOverride{Environment: env, Feature: feature, Segment: segment, Place: optional(t, "place", rapid.IntRange(0, 2)), StateInput: drawState(t, p.Features.Get(feature))}
		},
		func() commands.Command {
			return commands.RemoveSegmentOverride{Environment: env, Feature: feature, Segment: segment}
		},
		func() commands.Command {
			var order []string
			if e := p.Environments.Get(env); e != nil {
				order = rapid.Permutation(e.Overrides.Get(feature).Order()).Draw(t, "order")
			}
			return commands.OrderSegmentOverrides{Environment: env, Feature: feature, Order: order}
		},
		func() commands.Command {
			c := commands.SetIdentityOverride{Environment: env, Feature: feature, Identifier: people.Draw(t, "person"), Enabled: optional(t, "enabled", rapid.Bool())}
			if rapid.Bool().Draw(t, "with a variant") {
				c.Variant = new(rapid.SampledFrom(variantKeys).Draw(t, "variant"))
			} else if rapid.Bool().Draw(t, "with a value") {
				c.Value = commands.Some(values.Draw(t, "value"))
			}
			return c
		},
		func() commands.Command {
			return commands.RemoveIdentityOverride{Environment: env, Feature: feature, Identifier: people.Draw(t, "person")}
		},
		func() commands.Command {
			c := commands.Rollback{Environment: env}
			if e := p.Environments.Get(env); e != nil {
				newest := w.Version(e.ID)
				c.Version = rapid.Uint64Range(1, max(newest, 1)).Draw(t, "version")
			}
			c.RestoreDeleted = deleting && rapid.Bool().Draw(t, "restore")
			if deleting && rapid.Bool().Draw(t, "selected") {
				c.Features = []string{feature}
			}
			return c
		},
	}
	all := []func() commands.Command{
		func() commands.Command { return commands.CreateEnvironment{Key: env} },
		func() commands.Command {
			return commands.CloneEnvironment{Source: environmentKeys.Draw(t, "source"), Key: env}
		},
		func() commands.Command {
			return commands.UpdateEnvironment{Environment: env, Name: new("n" + texts.Draw(t, "name")), Settings: commands.Settings{HideSensitiveData: optional(t, "hide", rapid.Bool())}}
		},
		func() commands.Command {
			return commands.UpdateProject{Description: new(texts.Draw(t, "description")), HideDisabledFlags: optional(t, "hide", rapid.Bool())}
		},
		func() commands.Command {
			return commands.CreateFeature{Key: feature, DefaultEnabled: rapid.Bool().Draw(t, "on"), InitialValue: values.Draw(t, "value"), Variants: drawVariants(t)}
		},
		func() commands.Command {
			return commands.UpdateFeature{Feature: feature, Description: new(texts.Draw(t, "description")), ServerKeyOnly: optional(t, "server", rapid.Bool())}
		},
		func() commands.Command {
			c := commands.CreateSegment{Key: segment, Rules: drawRules(t)}
			if rapid.Bool().Draw(t, "for a feature") {
				c.Feature = feature
			}
			return c
		},
		func() commands.Command { return commands.UnpinSegment{Environment: env, Segment: segment} },
		func() commands.Command { return commands.UnpinVariants{Environment: env, Feature: feature} },
		func() commands.Command {
			return commands.SetContext{Key: rapid.SampledFrom([]string{"country", "plan"}).Draw(t, "trait"), Type: domain.StringContext, Description: texts.Draw(t, "description")}
		},
		func() commands.Command {
			c, _ := commands.NewSDKKey(env, "key", rapid.SampledFrom([]domain.SDKKeyKind{domain.ClientKey, domain.ServerKey}).Draw(t, "kind"), time.Date(2027, 5, 3, 14, 0, 0, 0, time.UTC))
			return c
		},
	}
	if deleting {
		all = append(all,
			func() commands.Command { return commands.DeleteEnvironment{Environment: env} },
			func() commands.Command { return commands.DeleteFeature{Feature: feature} },
			func() commands.Command { return commands.DeleteSegment{Segment: segment} },
			func() commands.Command { return commands.RemoveContext{Key: "country"} },
			func() commands.Command {
				if e := p.Environments.Get(env); e != nil {
					for id := range e.Keys.All() {
						return commands.RevokeSDKKey{Environment: env, ID: id}
					}
				}
				return commands.DeleteProject{}
			},
			func() commands.Command {
				surrogate := "person-0-nobody"
				if e := p.Environments.Get(env); e != nil {
					surrogate = w.Surrogate(e.ID, people.Draw(t, "person"))
				}
				return commands.EraseIdentity{Environment: env, Surrogate: surrogate}
			},
		)
	}
	if w.Position != nil {
		all = append(all, func() commands.Command {
			return commands.Undo{Selection: domain.Selection{Position: w.Position.Draw(t, "position")}, Manage: true}
		})
	}
	if rapid.IntRange(0, 3).Draw(t, "of content") > 0 {
		all = content
	}
	return rapid.SampledFrom(all).Draw(t, "command")()
}
