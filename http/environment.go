package httpapi

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"flagledger/commands"
	"flagledger/domain"
)

// optionalTime reads an RFC 3339 time or null, which is none. An empty text is
// refused: what an undo is bounded by, or a token, must not be lost by a slip.
type optionalTime struct{ time.Time }

// UnmarshalJSON implements json.Unmarshaler.
func (t *optionalTime) UnmarshalJSON(data []byte) error {
	if string(data) == "null" {
		return nil
	}
	text := strings.Trim(string(data), `"`)
	parsed, err := parseBound(text)
	if err != nil {
		return fmt.Errorf("%q is not a time as of RFC 3339, such as 2026-05-03T14:02:00Z", text)
	}
	t.Time = parsed.UTC()
	return nil
}

// shownEnvironment is an environment as it is shown.
type shownEnvironment struct {
	*domain.Environment
	Version uint64 `json:"version"` // of its evaluation content
}

// showEnvironment shows an environment as it is in the project, which may be
// that of some time ago. One that was made just now may have no version yet.
func (r *request) showEnvironment(p *domain.Project, env *domain.Environment) (shownEnvironment, error) {
	version, err := r.server.Views.VersionAt(environmentID(p, env), p.Position)
	if refusal, ok := errors.AsType[*domain.Error](err); ok && refusal.Kind == domain.NotFound {
		err = nil
	}
	return shownEnvironment{env, version.Version}, err
}

func environmentObject(key string) domain.Object {
	return domain.Object{Kind: domain.KindEnvironment, Key: key}
}

func (s *Server) listEnvironments(r *request) error {
	var failure error
	list, err := listOf(r, r.project.Environments, func(key string, env *domain.Environment) (shownEnvironment, bool) {
		shown, err := r.showEnvironment(r.project, env)
		failure = errors.Join(failure, err)
		return shown, r.token.Allows(domain.Read, r.project.Key, key)
	})
	if err := errors.Join(err, failure); err != nil {
		return err
	}
	return r.show(0, list)
}

func (s *Server) createEnvironment(r *request) error {
	var body struct {
		why
		commands.CreateEnvironment
	}
	if err := r.read(&body); err != nil {
		return err
	}
	return r.answerEnvironment(http.StatusCreated, body.why, body.Key, body.CreateEnvironment)
}

func (s *Server) cloneEnvironment(r *request) error {
	var body struct {
		why
		commands.CloneEnvironment
	}
	if err := r.read(&body, pathMember{"source", &body.Source, r.environment.Key}); err != nil {
		return err
	}
	return r.answerEnvironment(http.StatusCreated, body.why, body.Key, body.CloneEnvironment)
}

func (s *Server) getEnvironment(r *request) error {
	shown, err := r.showEnvironment(r.project, r.environment)
	if err != nil {
		return err
	}
	return r.show(r.project.Revision(environmentObject(r.environment.Key)), shown)
}

func (s *Server) updateEnvironment(r *request) error {
	var body struct {
		why
		commands.UpdateEnvironment
	}
	if err := r.read(&body, pathMember{"environment", &body.Environment, r.environment.Key}); err != nil {
		return err
	}
	return r.answerEnvironment(http.StatusOK, body.why, r.environment.Key, body.UpdateEnvironment)
}

func (r *request) answerEnvironment(status int, w why, key string, c commands.Command) error {
	o := environmentObject(key)
	r.environment = nil // a replayed answer concerns the project
	result, err := r.do(w, o, c)
	if err != nil {
		return err
	}
	env := result.After.Environments.Get(key)
	if env == nil {
		return domain.RefuseField(domain.NotFound, "environment", "there is no environment %q any more", key)
	}
	shown, err := r.showEnvironment(result.After, env)
	if err != nil {
		return err
	}
	return r.answer(status, result, o, shown)
}

func (s *Server) deleteEnvironment(r *request) error {
	result, err := r.do(r.queryWhy(), environmentObject(r.environment.Key), commands.DeleteEnvironment{Environment: r.environment.Key})
	if err != nil {
		return err
	}
	return r.answer(http.StatusNoContent, result, domain.Object{}, nil)
}

// shownKey is an SDK key as it is shown: a server key without its secret, but
// for the one time when it is created.
type shownKey struct {
	*domain.SDKKey
	Hash *string `json:"hash,omitempty"` // never set; hides that of SDKKey
	Key  string  `json:"key,omitempty"`
}

func showKey(k *domain.SDKKey) shownKey { return shownKey{SDKKey: k, Key: k.Key} }

func (s *Server) listKeys(r *request) error {
	list, err := listOf(r, r.environment.Keys, func(_ string, k *domain.SDKKey) (shownKey, bool) { return showKey(k), true })
	if err != nil {
		return err
	}
	return r.show(0, list)
}

func (s *Server) createKey(r *request) error {
	var body struct {
		why
		Name      string            `json:"name"`
		Kind      domain.SDKKeyKind `json:"kind"`
		ExpiresAt optionalTime      `json:"expires_at"`
	}
	if err := r.read(&body); err != nil {
		return err
	}
	create, secret := commands.NewSDKKey(r.environment.Key, body.Name, body.Kind, body.ExpiresAt.Time)
	result, err := r.do(body.why, domain.Object{}, create)
	if err != nil {
		return err
	}
	if result.Replayed {
		return domain.RefuseField(domain.Conflict, "Idempotency-Key", "the key was created at position %d; its secret was shown once and cannot be shown again: revoke it and create another", result.Position)
	}
	shown := showKey(result.After.Environments.Get(r.environment.Key).Keys.Get(create.ID))
	shown.Key = secret
	return r.answer(http.StatusCreated, result, r.keyObject(create.ID), shown)
}

func (r *request) keyObject(id string) domain.Object {
	return domain.Object{Kind: domain.KindSDKKey, Environment: r.environment.Key, Key: id}
}

func (s *Server) updateKey(r *request) error {
	var body struct {
		why
		commands.UpdateSDKKey
	}
	if err := r.read(&body, pathMember{"environment", &body.Environment, r.environment.Key}, pathMember{"id", &body.ID, r.param("id")}); err != nil {
		return err
	}
	o := r.keyObject(body.ID)
	result, err := r.do(body.why, o, body.UpdateSDKKey)
	if err != nil {
		return err
	}
	return r.answer(http.StatusOK, result, o, showKey(result.After.Environments.Get(r.environment.Key).Keys.Get(body.ID)))
}

func (s *Server) revokeKey(r *request) error {
	id := r.param("id")
	result, err := r.do(r.queryWhy(), r.keyObject(id), commands.RevokeSDKKey{Environment: r.environment.Key, ID: id})
	if err != nil {
		return err
	}
	return r.answer(http.StatusNoContent, result, domain.Object{}, nil)
}
