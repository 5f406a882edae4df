package httpapi

import (
	"net/http"

	"flagledger/commands"
	"flagledger/domain"
)

func contextObject(key string) domain.Object {
	return domain.Object{Kind: domain.KindContext, Key: key}
}

func (s *Server) listContexts(r *request) error {
	list, err := listOf(r, r.project.Contexts, func(_ string, c *domain.Context) (*domain.Context, bool) { return c, true })
	if err != nil {
		return err
	}
	return r.show(0, list)
}

func (s *Server) getContext(r *request) error {
	key := r.param("context")
	c := r.project.Contexts.Get(key)
	if c == nil {
		return domain.RefuseField(domain.NotFound, "context", "project %q does not declare a trait %q", r.project.Key, key)
	}
	return r.show(c.Changed.Position, c)
}

func (s *Server) setContext(r *request) error {
	var body struct {
		why
		commands.SetContext
	}
	if err := r.read(&body, pathMember{"key", &body.Key, r.param("context")}); err != nil {
		return err
	}
	o := contextObject(body.Key)
	result, err := r.do(body.why, o, body.SetContext)
	if err != nil {
		return err
	}
	return r.answer(http.StatusOK, result, o, result.After.Get(o))
}

func (s *Server) removeContext(r *request) error {
	c := commands.RemoveContext{Key: r.param("context")}
	result, err := r.do(r.queryWhy(), contextObject(c.Key), c)
	if err != nil {
		return err
	}
	return r.answer(http.StatusNoContent, result, domain.Object{}, nil)
}
