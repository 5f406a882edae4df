package commands

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"flagledger/domain"
	"flagledger/domain/evaluation"
)

// VariantInput is a variant as a command gives it. A variant of the same key
// keeps its id, and with it its place in the split.
type VariantInput struct {
	Key    string           `json:"key"`
	Value  evaluation.Value `json:"value"`
	Weight float64          `json:"weight"` // percent, in new environments
}

// CreateFeature adds a feature to the project and its state to every environment.
type CreateFeature struct {
	Key            string             `json:"key"`
	Description    string             `json:"description"`
	Kind           domain.FeatureKind `json:"kind"` // release where left out
	Owners         []string           `json:"owners"`
	Tags           []string           `json:"tags"`
	ServerKeyOnly  bool               `json:"server_key_only"`
	ObjectValue    bool               `json:"object_value"` // a string value that is a JSON object is served as an object
	DefaultEnabled bool               `json:"default_enabled"`
	InitialValue   evaluation.Value   `json:"initial_value"`
	Variants       []VariantInput     `json:"variants"`
}

// Needs implements Command.
func (CreateFeature) Needs() Need { return Need{Right: domain.Write} }

// Decide implements Command.
func (c CreateFeature) Decide(p *domain.Project, in *Inputs) ([]domain.Event, error) {
	if err := exists(p); err != nil {
		return nil, err
	}
	if err := domain.CheckKey("key", c.Key); err != nil {
		return nil, err
	}
	if other := p.Folded.Get(strings.ToLower(c.Key)); other == c.Key {
		return nil, domain.RefuseField(domain.Conflict, "key", "there is already a feature %q in project %q", c.Key, p.Key)
	} else if other != "" {
		return nil, domain.RefuseField(domain.Conflict, "key", "%q differs from the feature %q only in case, which some SDKs ignore", c.Key, other)
	}
	if p.Features.Len() >= in.Limits.Features {
		return nil, domain.Refuse(domain.LimitReached, "project %q has %d features, which is the limit", p.Key, p.Features.Len())
	}
	if err := in.value("initial_value", c.InitialValue); err != nil {
		return nil, err
	}
	if c.Kind == "" {
		c.Kind = domain.Release
	}
	n := numbersOf(p)
	e := domain.FeatureCreated{
		ID: n.next(), Key: c.Key, DefaultEnabled: c.DefaultEnabled, InitialValue: c.InitialValue, Seeds: map[string]int32{},
		FeatureAttributes: domain.FeatureAttributes{
			Description: c.Description, Kind: c.Kind, Owners: c.Owners, Tags: c.Tags, ServerKeyOnly: c.ServerKeyOnly, ObjectValue: c.ObjectValue,
		},
	}
	if err := checkAttributes(in, e.FeatureAttributes); err != nil {
		return nil, err
	}
	var err error
	if e.Variants, err = variants(in, n, nil, c.Variants); err != nil {
		return nil, err
	}
	for key := range p.Environments.All() {
		e.Seeds[key] = n.next()
	}
	return []domain.Event{e}, n.err
}

func checkAttributes(in *Inputs, a domain.FeatureAttributes) error {
	if !a.Kind.Known() {
		return domain.RefuseField(domain.Invalid, "kind", "%q is not a kind of feature; there are release, experiment, ops, permission", a.Kind)
	}
	if err := checkTexts(in, "description", a.Description); err != nil {
		return err
	}
	for field, list := range map[string][]string{"owners": a.Owners, "tags": a.Tags} {
		if len(list) > 100 {
			return domain.RefuseField(domain.LimitReached, field, "there are %d %s; the limit is 100", len(list), field)
		}
		for i, text := range list {
			if err := in.Limits.CheckText(fmt.Sprintf("%s[%d]", field, i), text); err != nil {
				return err
			}
		}
	}
	return nil
}

// variants checks the variants of a feature and gives new ones their ids.
func variants(in *Inputs, n *numbers, old []domain.Variant, inputs []VariantInput) ([]domain.Variant, error) {
	if len(inputs) > in.Limits.Variants {
		return nil, domain.RefuseField(domain.LimitReached, "variants", "there are %d variants; the limit is %d", len(inputs), in.Limits.Variants)
	}
	var list []domain.Variant
	weights := map[string]float64{}
	for i, input := range inputs {
		field := fmt.Sprintf("variants[%d]", i)
		if err := domain.CheckKey(field+".key", input.Key); err != nil {
			return nil, err
		}
		if input.Key == "control" {
			return nil, domain.RefuseField(domain.Invalid, field+".key", `"control" is what SDKs call the feature's own value; choose another key`)
		}
		if _, twice := weights[input.Key]; twice {
			return nil, domain.RefuseField(domain.Conflict, field+".key", "there is already a variant %q", input.Key)
		}
		if err := in.value(field+".value", input.Value); err != nil {
			return nil, err
		}
		v := domain.Variant{Key: input.Key, Value: input.Value, Weight: input.Weight}
		if i := slices.IndexFunc(old, func(o domain.Variant) bool { return o.Key == input.Key }); i >= 0 {
			v.ID = old[i].ID
		} else {
			v.ID = n.next()
		}
		weights[input.Key] = input.Weight
		list = append(list, v)
	}
	slices.SortFunc(list, func(a, b domain.Variant) int { return int(a.ID) - int(b.ID) })
	return list, checkWeights("variants", weights, list)
}

// checkWeights refuses weights that no split can have.
func checkWeights(field string, weights map[string]float64, variants []domain.Variant) error {
	sum := 0.0
	for _, key := range slices.Sorted(maps.Keys(weights)) {
		w := weights[key]
		if !slices.ContainsFunc(variants, func(v domain.Variant) bool { return v.Key == key }) {
			return domain.RefuseField(domain.Invalid, field, "there is no variant %q", key)
		}
		if !(w >= 0 && w <= 100) {
			return domain.RefuseField(domain.Invalid, field, "the weight %v of variant %q is not between 0 and 100", w, key)
		}
		sum += w
	}
	if sum > 100+1e-9 {
		return domain.RefuseField(domain.Invalid, field, "the weights add up to %v; they may not exceed 100", sum)
	}
	return nil
}

// UpdateFeature changes what it names of a feature's attributes.
type UpdateFeature struct {
	Feature       string              `json:"feature"`
	Description   *string             `json:"description"`
	Kind          *domain.FeatureKind `json:"kind"`
	Owners        *[]string           `json:"owners"`
	Tags          *[]string           `json:"tags"`
	Archived      *bool               `json:"archived"`
	ServerKeyOnly *bool               `json:"server_key_only"`
	ObjectValue   *bool               `json:"object_value"`
}

// Needs implements Command.
func (UpdateFeature) Needs() Need { return Need{Right: domain.Write} }

// Decide implements Command.
func (c UpdateFeature) Decide(p *domain.Project, in *Inputs) ([]domain.Event, error) {
	f, err := featureOf(p, c.Feature)
	if err != nil {
		return nil, err
	}
	next := f.Attributes()
	next.Description, next.Kind = or(c.Description, next.Description), or(c.Kind, next.Kind)
	next.Owners, next.Tags = or(c.Owners, next.Owners), or(c.Tags, next.Tags)
	next.Archived, next.ServerKeyOnly = or(c.Archived, next.Archived), or(c.ServerKeyOnly, next.ServerKeyOnly)
	next.ObjectValue = or(c.ObjectValue, next.ObjectValue)
	if sameAttributes(next, f.Attributes()) {
		return nil, nil
	}
	return []domain.Event{domain.FeatureUpdated{Feature: f.Key, FeatureAttributes: next}}, checkAttributes(in, next)
}

// sameAttributes takes an empty list and none for the same.
func sameAttributes(a, b domain.FeatureAttributes) bool {
	lists := slices.Equal(a.Owners, b.Owners) && slices.Equal(a.Tags, b.Tags)
	a.Owners, a.Tags, b.Owners, b.Tags = nil, nil, nil, nil
	return lists && reflect.DeepEqual(a, b)
}

// SetVariants replaces the variants of a feature. A new one has weight 0 in the
// environments there are; one that has weight anywhere cannot be left out.
type SetVariants struct {
	Feature  string         `json:"feature"`
	Variants []VariantInput `json:"variants"`
}

// Needs implements Command.
func (SetVariants) Needs() Need { return Need{Right: domain.Write} }

// Decide implements Command.
func (c SetVariants) Decide(p *domain.Project, in *Inputs) ([]domain.Event, error) {
	f, err := featureOf(p, c.Feature)
	if err != nil {
		return nil, err
	}
	n := numbersOf(p)
	next, err := variants(in, n, f.Variants, c.Variants)
	if err != nil {
		return nil, err
	}
	if slices.Equal(next, f.Variants) {
		return nil, nil
	}
	for _, v := range f.Variants {
		if slices.ContainsFunc(next, func(o domain.Variant) bool { return o.Key == v.Key }) {
			continue
		}
		if users := variantUsers(p, f.Key, v.Key); len(users) > 0 {
			return nil, domain.RefuseField(domain.Conflict, "variants", "variant %q is in use by %s; set its weight to 0 there first", v.Key, someOf(users))
		}
	}
	return []domain.Event{domain.FeatureVariantsSet{Feature: f.Key, Variants: next}}, n.err
}

// variantUsers says where a variant is served, in environments that follow the
// feature's variants.
func variantUsers(p *domain.Project, feature, variant string) []string {
	var users []string
	for _, env := range p.Environments.All() {
		if env.VariantsPins.Get(feature) == nil {
			users = append(users, variantUsersIn(env, feature, variant)...)
		}
	}
	return users
}

func variantUsersIn(env *domain.Environment, feature, variant string) []string {
	var users []string
	if env.States.Get(feature).Weights[variant] > 0 {
		users = append(users, "environment "+env.Key)
	}
	if overrides := env.Overrides.Get(feature); overrides != nil {
		for _, o := range overrides.List {
			if o.Weights[variant] > 0 {
				users = append(users, fmt.Sprintf("the override for segment %s in %s", o.Segment, env.Key))
			}
		}
	}
	for _, o := range env.Identities.All() {
		if _, own := o.Find(feature); own.Variant == variant {
			users = append(users, "an identity override in "+env.Key)
		}
	}
	return users
}

// few is how many of a list someOf names.
const few = 5

// someOf lists the first few of many.
func someOf(all []string) string {
	if len(all) <= few {
		return strings.Join(all, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(all[:few], ", "), len(all)-few)
}

// DeleteFeature removes a feature that has no overrides and no segments of its own.
type DeleteFeature struct {
	Feature string `json:"feature"`
}

// Needs implements Command.
func (DeleteFeature) Needs() Need { return Need{Right: domain.Write} }

// Decide implements Command.
func (c DeleteFeature) Decide(p *domain.Project, _ *Inputs) ([]domain.Event, error) {
	f, err := featureOf(p, c.Feature)
	if err != nil {
		return nil, err
	}
	var users []string
	for key, s := range p.Segments.All() {
		if s.Feature == f.Key {
			users = append(users, "segment "+key+", which is for this feature only")
		}
	}
	for key, env := range p.Environments.All() {
		for _, segment := range env.Overrides.Get(f.Key).Order() {
			users = append(users, fmt.Sprintf("an override for segment %s in %s", segment, key))
		}
		for _, o := range env.Identities.All() {
			if i, _ := o.Find(f.Key); i >= 0 {
				users = append(users, "an identity override in "+key)
			}
		}
	}
	if len(users) > 0 {
		return nil, domain.Refuse(domain.Conflict, "feature %q is in use by %s; remove that first", f.Key, someOf(users))
	}
	return []domain.Event{domain.FeatureDeleted{Feature: f.Key}}, nil
}

// StateInput is what a command says about a feature's state or override.
type StateInput struct {
	Enabled *bool                        `json:"enabled"`
	Value   Optional[evaluation.Value]   `json:"value,omitzero"`
	Weights Optional[map[string]float64] `json:"weights,omitzero"` // all of them: those left out become 0
}

// over lays the input over a state, and checks the outcome.
func (s StateInput) over(in *Inputs, variants []domain.Variant, enabled *bool, value *evaluation.Value, weights *map[string]float64) error {
	*enabled, *value = or(s.Enabled, *enabled), s.Value.Or(*value)
	if s.Weights.Set {
		next := map[string]float64{}
		for key, w := range s.Weights.Value {
			if w != 0 || !slices.ContainsFunc(variants, func(v domain.Variant) bool { return v.Key == key }) {
				next[key] = w
			}
		}
		*weights = next
		if len(variants) == 0 && len(next) > 0 {
			return domain.RefuseField(domain.Invalid, "weights", "the feature has no variants to give weights to")
		}
	}
	if len(*weights) == 0 {
		*weights = nil
	}
	if err := in.value("value", *value); err != nil {
		return err
	}
	if !s.Weights.Set {
		return nil // as they were, also where a variant has gone since
	}
	return checkWeights("weights", *weights, variants)
}

// SetFeatureState changes what it names of a feature's state in an environment.
type SetFeatureState struct {
	Environment string `json:"environment"`
	Feature     string `json:"feature"`
	StateInput
}

// Needs implements Command.
func (c SetFeatureState) Needs() Need { return Need{domain.Write, c.Environment} }

// Decide implements Command.
func (c SetFeatureState) Decide(p *domain.Project, in *Inputs) ([]domain.Event, error) {
	env, f, err := inEnvironment(p, c.Environment, c.Feature)
	if err != nil {
		return nil, err
	}
	now := env.States.Get(f.Key)
	next := domain.FeatureStateSet{Environment: env.Key, Feature: f.Key, Enabled: now.Enabled, Value: now.Value, Weights: now.Weights}
	if err := c.over(in, env.VariantsIn(f), &next.Enabled, &next.Value, &next.Weights); err != nil {
		return nil, err
	}
	if next.Enabled == now.Enabled && next.Value == now.Value && domain.SameWeights(next.Weights, now.Weights) {
		return nil, nil
	}
	return []domain.Event{next}, nil
}
