package httpapi

import (
	"net/http"
	"strconv"
	"time"

	"flagledger/commands"
	"flagledger/domain"
	"flagledger/domain/evaluation"
	"flagledger/projections"
)

func (r *request) overridesObject() domain.Object {
	return domain.Object{Kind: domain.KindSegmentOverrides, Environment: r.environment.Key, Key: r.param("feature")}
}

func (s *Server) setSegmentOverride(r *request) error {
	var body struct {
		why
		commands.SetSegmentOverride
	}
	err := r.read(&body, pathMember{"environment", &body.Environment, r.environment.Key},
		pathMember{"feature", &body.Feature, r.param("feature")}, pathMember{"segment", &body.Segment, r.param("segment")})
	if err != nil {
		return err
	}
	o := r.overridesObject()
	result, err := r.do(body.why, o, body.SetSegmentOverride)
	if err != nil {
		return err
	}
	return r.answerState(http.StatusOK, result, o)
}

func (s *Server) removeSegmentOverride(r *request) error {
	c := commands.RemoveSegmentOverride{Environment: r.environment.Key, Feature: r.param("feature"), Segment: r.param("segment")}
	result, err := r.do(r.queryWhy(), r.overridesObject(), c)
	if err != nil {
		return err
	}
	return r.answer(http.StatusNoContent, result, r.overridesObject(), nil)
}

func (s *Server) orderSegmentOverrides(r *request) error {
	var body struct {
		why
		commands.OrderSegmentOverrides
	}
	if err := r.read(&body, pathMember{"environment", &body.Environment, r.environment.Key}, pathMember{"feature", &body.Feature, r.param("feature")}); err != nil {
		return err
	}
	o := r.overridesObject()
	result, err := r.do(body.why, o, body.OrderSegmentOverrides)
	if err != nil {
		return err
	}
	return r.answerState(http.StatusOK, result, o)
}

// shownIdentity is an identity as the administration shows it.
type shownIdentity struct {
	Identifier string                      `json:"identifier"`
	Surrogate  string                      `json:"surrogate"` // what the log calls it
	Traits     map[string]evaluation.Value `json:"traits"`
	Overrides  []domain.IdentityOverride   `json:"overrides"`
	Created    time.Time                   `json:"created"`
	Updated    time.Time                   `json:"updated"`
}

func showIdentity(p *domain.Project, env *domain.Environment, id *domain.Identity) shownIdentity {
	shown := shownIdentity{
		Identifier: id.Identifier, Surrogate: id.Surrogate, Traits: map[string]evaluation.Value{}, Overrides: []domain.IdentityOverride{},
		Created: id.Created, Updated: id.Updated,
	}
	for _, t := range p.Kept(id.Traits) {
		shown.Traits[t.Key] = t.Value
	}
	if o := env.Identities.Get(id.Surrogate); o != nil {
		shown.Overrides = o.List
	}
	return shown
}

func environmentID(p *domain.Project, env *domain.Environment) projections.EnvironmentID {
	return projections.EnvironmentID{Project: p.ID, ID: env.ID}
}

// identity is the identity of the path.
func (r *request) identity() (*domain.Identity, error) {
	id := r.server.Identities.Get(r.environmentID(), r.param("identifier"))
	if id == nil {
		return nil, domain.RefuseField(domain.NotFound, "identifier", "there is no such identity in environment %q", r.environment.Key)
	}
	return id, nil
}

func (s *Server) listIdentities(r *request) error {
	limit, err := r.limit()
	if err != nil {
		return err
	}
	after, err := r.cursor()
	if err != nil {
		return err
	}
	list := page[shownIdentity]{Items: []shownIdentity{}}
	all := s.Identities.List(r.environmentID(), after, limit+1)
	for _, id := range all[:min(limit, len(all))] {
		list.Items = append(list.Items, showIdentity(r.project, r.environment, id))
		r.seesIdentity(r.project.Key, r.environment.Key, id.Surrogate)
	}
	if len(all) > limit {
		list.Next = cursorOf(list.Items[limit-1].Identifier)
	}
	return r.show(0, list)
}

func (s *Server) getIdentity(r *request) error {
	id, err := r.identity()
	if err != nil {
		return err
	}
	r.seesIdentity(r.project.Key, r.environment.Key, id.Surrogate)
	return r.show(0, showIdentity(r.project, r.environment, id))
}

// eraseIdentity records the erasure and then erases. After a failure in between
// it can be asked for again.
func (s *Server) eraseIdentity(r *request) error {
	id, err := r.identity()
	if err != nil {
		if replayed, answerErr := r.replayedDelete(); replayed || answerErr != nil {
			return answerErr
		}
		return err
	}
	result, err := r.do(r.queryWhy(), domain.Object{}, commands.EraseIdentity{Environment: r.environment.Key, Surrogate: id.Surrogate})
	if err != nil {
		return err
	}
	if _, _, err := s.Identities.Erase(r.Request().Context(), r.environmentID(), id.Identifier); err != nil {
		return domain.Refuse(domain.Unavailable, "the erasure is recorded at position %s but not carried out yet: %v; ask again", strconv.FormatUint(result.Position, 10), err)
	}
	return r.answer(http.StatusNoContent, result, domain.Object{}, nil)
}

func (s *Server) setIdentityOverride(r *request) error {
	var body struct {
		why
		commands.SetIdentityOverride
	}
	err := r.read(&body, pathMember{"environment", &body.Environment, r.environment.Key},
		pathMember{"feature", &body.Feature, r.param("feature")}, pathMember{"identifier", &body.Identifier, r.param("identifier")})
	if err != nil {
		return err
	}
	result, err := r.do(body.why, r.identityObject(), body.SetIdentityOverride)
	if err != nil {
		return err
	}
	o := r.identityObject()
	_, own := result.After.Environments.Get(r.environment.Key).Identities.Get(o.Key).Find(body.Feature)
	if result.Replayed && own.Feature == "" { // the log knows nobody by name
		return domain.RefuseField(domain.NotFound, "identifier", "the override was set at position %d; the person has been erased since, so that the first answer cannot be given again", result.Position)
	}
	return r.answer(http.StatusOK, result, o, own)
}

// identityObject is the object of the identity of the path; it has no key while
// the identity is not known.
func (r *request) identityObject() domain.Object {
	o := domain.Object{Kind: domain.KindIdentity, Environment: r.environment.Key}
	if id := r.server.Identities.Get(r.environmentID(), r.param("identifier")); id != nil {
		o.Key = id.Surrogate
	}
	return o
}

func (s *Server) removeIdentityOverride(r *request) error {
	c := commands.RemoveIdentityOverride{Environment: r.environment.Key, Feature: r.param("feature"), Identifier: r.param("identifier")}
	result, err := r.do(r.queryWhy(), r.identityObject(), c)
	if err != nil {
		return err
	}
	return r.answer(http.StatusNoContent, result, r.identityObject(), nil)
}
