package httpapi

import (
	"errors"
	"strconv"
	"strings"

	"flagledger/commands"
	"flagledger/domain"
	"flagledger/projections"
)

// The past of an environment outlives it, and its key may be used again, by
// another environment with versions of its own. So a position or a time means
// the one that had the key then; a version, or nothing, the one that has it or
// had it last. The past of one that is gone is for those who have the right in
// the whole project: a grant in an environment is one in that of its key now.

// environmentAt finds the environment that has, or had last, the key at the
// position, and the last position up to that one at which it was there.
func (r *request) environmentAt(right domain.Right, field, key string, position uint64) (id projections.EnvironmentID, last uint64, err error) {
	env, last, err := r.server.Views.EnvironmentAt(r.project.ID, key, position)
	if err != nil {
		return id, 0, err
	}
	project := r.param("project")
	now := r.server.Views.Project(r.project.ID).Environments.Get(key)
	switch {
	case env == nil:
	case now != nil && now.ID == env.ID && r.token.Allows(right, project, key), r.token.AllowsThroughout(right, project):
		return projections.EnvironmentID{Project: r.project.ID, ID: env.ID}, last, nil
	}
	return id, 0, domain.RefuseField(domain.NotFound, field, "there is no environment %q in project %q", key, project)
}

// findGone makes a request about the past one about an environment that is gone,
// as it was last. The history of one tells all of it; what it answered has a time.
func (r *request) findGone(key string) error {
	id, last, err := r.environmentAt(domain.Read, "environment", key, r.server.Views.Position())
	if err != nil {
		return err
	}
	if err := r.need(commands.Need{Right: r.right}, r.project.Key); err != nil {
		return err
	}
	r.gone = last
	if err := r.moveTo(id, key, last); err != nil {
		return err
	}
	if r.right != domain.Audit && r.reads() && r.QueryParam("as_of") == "" {
		return r.refuseGone()
	}
	return nil
}

// asksPast tells whether the request can be about the past.
func (r *request) asksPast() bool { return r.reads() || strings.HasSuffix(r.Path(), "/evaluate") }

// refuseGone refuses what is about the present of an environment that has none.
func (r *request) refuseGone() error {
	return domain.RefuseField(domain.NotFound, "environment", "there is no environment %q in project %q any more; as_of reads it as it was, up to position %d", r.environment.Key, r.project.Key, r.gone)
}

// moveTo makes the request about the environment, and its project, as they were
// at the position.
func (r *request) moveTo(id projections.EnvironmentID, key string, position uint64) (err error) {
	if r.project, err = r.server.Views.At(id, position); err == nil {
		r.environment = r.project.Environments.Get(key)
	}
	return err
}

// placeOf finds the environment of a key and the position that a point in time
// means; see pointInTime.
func (r *request) placeOf(field, key, point string) (projections.EnvironmentID, uint64, error) {
	upTo := r.server.Views.Position()
	if r.asOf != "" {
		upTo = r.project.Position
	}
	id, last, err := r.environmentAt(r.right, field, key, upTo)
	if err != nil {
		return id, 0, err
	}
	position, err := r.pointInTime(field, point, id)
	if err != nil {
		return id, 0, err
	}
	if _, err := strconv.ParseUint(point, 10, 64); err == nil {
		return id, position, nil
	}
	if point == "" || point == "latest" {
		return id, min(position, last), nil
	}
	id, last, err = r.environmentAt(r.right, field, key, position)
	if refusal, is := errors.AsType[*domain.Error](err); is && refusal.Kind == domain.NotFound || err == nil && last < position {
		err = domain.RefuseField(domain.NotFound, field, "the environment did not exist at position %d", position)
	}
	return id, position, err
}
