package httpapi

import (
	"net/http"
	"slices"

	"flagledger/commands"
	"flagledger/domain"
	"flagledger/domain/evaluation"
)

func featureObject(key string) domain.Object {
	return domain.Object{Kind: domain.KindFeature, Key: key}
}

func (s *Server) listFeatures(r *request) error {
	tag, kind := r.QueryParam("tag"), r.QueryParam("kind")
	if kind != "" && !domain.FeatureKind(kind).Known() {
		return domain.RefuseField(domain.Malformed, "kind", "%q is not a kind of feature; there are release, experiment, ops, permission", kind)
	}
	archived, err := r.flag("archived")
	if err != nil {
		return err
	}
	either := r.QueryParam("archived") == ""
	list, err := listOf(r, r.project.Features, func(_ string, f *domain.Feature) (*domain.Feature, bool) {
		return f, (tag == "" || slices.Contains(f.Tags, tag)) && (kind == "" || string(f.Kind) == kind) &&
			(either || f.Archived == archived)
	})
	if err != nil {
		return err
	}
	return r.show(0, list)
}

func (s *Server) createFeature(r *request) error {
	var body struct {
		why
		commands.CreateFeature
	}
	if err := r.read(&body); err != nil {
		return err
	}
	return r.answerFeature(http.StatusCreated, body.why, body.Key, body.CreateFeature)
}

func (s *Server) getFeature(r *request) error {
	f, err := r.feature(r.project)
	if err != nil {
		return err
	}
	p, err := r.whole()
	if err != nil {
		return err
	}
	return r.show(f.Changed.Position, struct {
		*domain.Feature
		VariantsPinnedIn []string `json:"variants_pinned_in"` // environments that hold older variants
	}{f, r.pinnedIn(p, func(env *domain.Environment) bool { return env.VariantsPins.Get(f.Key) != nil })})
}

// feature is the feature of the path.
func (r *request) feature(p *domain.Project) (*domain.Feature, error) {
	key := r.param("feature")
	if f := p.Features.Get(key); f != nil {
		return f, nil
	}
	return nil, domain.RefuseField(domain.NotFound, "feature", "there is no feature %q in project %q", key, p.Key)
}

// updateFeature changes attributes and, where given, the variants.
func (s *Server) updateFeature(r *request) error {
	var body struct {
		why
		commands.UpdateFeature
		Variants *[]commands.VariantInput `json:"variants"`
	}
	if err := r.read(&body, pathMember{"feature", &body.Feature, r.param("feature")}); err != nil {
		return err
	}
	cmds := []commands.Command{body.UpdateFeature}
	if body.Variants != nil {
		cmds = append(cmds, commands.SetVariants{Feature: body.Feature, Variants: *body.Variants})
	}
	return r.answerFeature(http.StatusOK, body.why, body.Feature, cmds...)
}

func (r *request) answerFeature(status int, w why, key string, cmds ...commands.Command) error {
	o := featureObject(key)
	result, err := r.do(w, o, cmds...)
	if err != nil {
		return err
	}
	return r.answer(status, result, o, result.After.Get(o))
}

func (s *Server) deleteFeature(r *request) error {
	key := r.param("feature")
	result, err := r.do(r.queryWhy(), featureObject(key), commands.DeleteFeature{Feature: key})
	if err != nil {
		return err
	}
	return r.answer(http.StatusNoContent, result, domain.Object{}, nil)
}

// shownState is a feature as it is in an environment.
type shownState struct {
	Feature  string             `json:"feature"`
	Enabled  bool               `json:"enabled"`
	Value    evaluation.Value   `json:"value"`
	Weights  map[string]float64 `json:"weights,omitempty"`
	Variants []domain.Variant   `json:"variants,omitempty"`
	// VariantsPinned tells that the environment holds older variants.
	VariantsPinned   bool            `json:"variants_pinned,omitempty"`
	SegmentOverrides []shownOverride `json:"segment_overrides"` // strongest first
	Changed          domain.Stamp    `json:"changed"`
}

// shownOverride is a segment override, with the revision of the segment's rules
// that the environment holds where that is an old one.
type shownOverride struct {
	domain.SegmentOverride
	PinnedRevision int `json:"pinned_revision,omitempty"`
}

func showState(env *domain.Environment, f *domain.Feature) shownState {
	state := env.States.Get(f.Key)
	shown := shownState{
		Feature: f.Key, Enabled: state.Enabled, Value: state.Value, Weights: state.Weights, Variants: env.VariantsIn(f),
		VariantsPinned: env.VariantsPins.Get(f.Key) != nil, SegmentOverrides: []shownOverride{}, Changed: state.Changed,
	}
	if o := env.Overrides.Get(f.Key); o != nil {
		for _, override := range o.List {
			one := shownOverride{SegmentOverride: override}
			if pin := env.SegmentPins.Get(override.Segment); pin != nil {
				one.PinnedRevision = pin.Revision
			}
			shown.SegmentOverrides = append(shown.SegmentOverrides, one)
		}
	}
	return shown
}

func (s *Server) listStates(r *request) error {
	list, err := listOf(r, r.project.Features, func(_ string, f *domain.Feature) (shownState, bool) { return showState(r.environment, f), true })
	if err != nil {
		return err
	}
	return r.show(0, list)
}

func (s *Server) getState(r *request) error {
	f, err := r.feature(r.project)
	if err != nil {
		return err
	}
	return r.show(r.environment.States.Get(f.Key).Changed.Position, showState(r.environment, f))
}

func (s *Server) updateState(r *request) error {
	var body struct {
		why
		commands.SetFeatureState
	}
	if err := r.read(&body, pathMember{"environment", &body.Environment, r.environment.Key}, pathMember{"feature", &body.Feature, r.param("feature")}); err != nil {
		return err
	}
	o := domain.Object{Kind: domain.KindFeatureState, Environment: body.Environment, Key: body.Feature}
	result, err := r.do(body.why, o, body.SetFeatureState)
	if err != nil {
		return err
	}
	return r.answerState(http.StatusOK, result, o)
}

// answerState answers with the feature as it is in the environment of the path.
func (r *request) answerState(status int, result commands.Result, o domain.Object) error {
	f, err := r.feature(result.After)
	if err != nil {
		return err
	}
	return r.answer(status, result, o, showState(result.After.Environments.Get(r.environment.Key), f))
}

func (s *Server) unpinVariants(r *request) error {
	c := commands.UnpinVariants{Environment: r.environment.Key, Feature: r.param("feature")}
	o := domain.Object{Kind: domain.KindVariantsPin, Environment: r.environment.Key, Key: c.Feature}
	result, err := r.do(r.queryWhy(), o, c)
	if err != nil {
		return err
	}
	return r.answer(http.StatusNoContent, result, o, nil)
}
