package httpapi

import (
	"fmt"
	"net/http"

	"github.com/labstack/echo/v4"

	"flagledger/commands"
	"flagledger/domain"
)

func projectObject(p *domain.Project) domain.Object {
	return domain.Object{Kind: domain.KindProject, Key: p.Key}
}

func (s *Server) listProjects(r *request) error {
	var all domain.Map[*domain.Project]
	for _, p := range s.Views.Projects() {
		if r.seesProject(p.Key) {
			all = all.Set(p.Key, p)
		}
	}
	list, err := listOf(r, all, func(_ string, p *domain.Project) (any, bool) { return p.Get(projectObject(p)), true })
	if err != nil {
		return err
	}
	return r.show(0, list)
}

func (s *Server) createProject(r *request) error {
	var body struct {
		why
		commands.CreateProject
	}
	if err := r.read(&body); err != nil {
		return err
	}
	if err := domain.CheckKey("key", body.Key); err != nil {
		return err
	}
	r.project = &domain.Project{ID: domain.ProjectID(body.Key)}
	r.project.Key = body.Key
	result, err := r.do(body.why, domain.Object{}, body.CreateProject)
	if err != nil {
		return err
	}
	o := projectObject(result.After)
	return r.answer(http.StatusCreated, result, o, result.After.Get(o))
}

func (s *Server) getProject(r *request) error {
	o := projectObject(r.project)
	return r.show(r.project.Revision(o), r.project.Get(o))
}

func (s *Server) updateProject(r *request) error {
	var body struct {
		why
		commands.UpdateProject
	}
	if err := r.read(&body); err != nil {
		return err
	}
	o := projectObject(r.project)
	result, err := r.do(body.why, o, body.UpdateProject)
	if err != nil {
		return err
	}
	return r.answer(http.StatusOK, result, o, result.After.Get(o))
}

func (s *Server) deleteProject(r *request) error {
	result, err := r.do(r.queryWhy(), projectObject(r.project), commands.DeleteProject{})
	if err != nil {
		return err
	}
	return r.answer(http.StatusNoContent, result, domain.Object{}, nil)
}

// changeAnswer is what a list of commands led to, or would lead to.
type changeAnswer struct {
	DryRun   bool           `json:"dry_run"`
	Recorded bool           `json:"recorded"`
	Position uint64         `json:"position"`
	Changes  []objectChange `json:"changes"`
	Impact   *impact        `json:"impact,omitempty"`
	// Warnings are those of the rules that the commands set, by command.
	Warnings []domain.FieldError `json:"warnings,omitempty"`
}

// applyChange carries out several commands as one commit.
func (s *Server) applyChange(r *request) error {
	var body struct {
		why
		Commands []rawCommand `json:"commands"`
		DryRun   bool         `json:"dry_run"`
		// Sample, or impact=true in the query, asks who would get something else.
		Sample *sample `json:"impact"`
	}
	if err := r.read(&body); err != nil {
		return err
	}
	if body.Sample != nil {
		if err := body.Sample.check(); err != nil {
			return err
		}
	}
	ch, err := r.change(body.why, projectObject(r.project))
	if err != nil {
		return err
	}
	dryRun, err := r.flag("dry_run")
	if err != nil {
		return err
	}
	asksImpact, err := r.flag("impact")
	if err != nil {
		return err
	}
	ch.DryRun, ch.Listed = body.DryRun || dryRun, true
	for i, raw := range body.Commands {
		c, err := commands.DecodeCommand(raw)
		if err != nil {
			return commands.InCommand(err, i)
		}
		ch.Commands = append(ch.Commands, c)
	}
	result, err := r.doChange(ch)
	if err != nil {
		return err
	}
	changes, err := r.changesOf(result)
	if err != nil {
		return err
	}
	answer := changeAnswer{DryRun: ch.DryRun, Recorded: result.Recorded, Position: result.Position, Changes: changes}
	for i, c := range ch.Commands {
		answer.Warnings = append(answer.Warnings, adviseOnCommand(result.After, c, i)...)
	}
	if asksImpact && body.Sample == nil {
		body.Sample = new(sample)
	}
	if body.Sample != nil {
		if answer.Impact, err = r.impactOf(result, *body.Sample); err != nil {
			return err
		}
	}
	return r.answer(http.StatusOK, result, projectObject(r.project), answer)
}

// rawCommand is a command not yet read.
type rawCommand []byte

// UnmarshalJSON keeps the bytes.
func (c *rawCommand) UnmarshalJSON(data []byte) error {
	*c = append((*c)[:0], data...)
	return nil
}

func (s *Server) whoAmI(r *request) error { return r.show(0, showToken(r.token)) }

// shownToken is a token as it is shown: without its hash.
type shownToken struct {
	*domain.Token
	Hash   *string `json:"hash,omitempty"` // never set; hides that of Token
	Secret string  `json:"token,omitempty"`
}

func showToken(t *domain.Token) shownToken { return shownToken{Token: t} }

func (s *Server) organisation() *domain.Project { return s.Views.Project(domain.OrganisationID) }

func (s *Server) listTokens(r *request) error {
	list, err := listOf(r, s.organisation().Tokens, func(_ string, t *domain.Token) (shownToken, bool) { return showToken(t), true })
	if err != nil {
		return err
	}
	return r.show(0, list)
}

func (s *Server) createToken(r *request) error {
	var body struct {
		why
		Name      string         `json:"name"`
		Grants    []domain.Grant `json:"grants"`
		ExpiresAt optionalTime   `json:"expires_at"`
	}
	if err := r.read(&body); err != nil {
		return err
	}
	if err := s.checkGrants(body.Grants); err != nil {
		return err
	}
	create, secret := commands.NewToken(body.Name, body.Grants, body.ExpiresAt.Time)
	result, err := r.do(body.why, domain.Object{}, create)
	if err != nil {
		return err
	}
	if result.Replayed {
		return domain.RefuseField(domain.Conflict, "Idempotency-Key", "the token was created at position %d; its secret was shown once and cannot be shown again: revoke it and create another", result.Position)
	}
	shown := showToken(result.After.Tokens.Get(create.ID))
	shown.Secret = secret
	return r.answer(http.StatusCreated, result, domain.Object{Kind: domain.KindToken, Key: create.ID}, shown)
}

// checkGrants refuses grants for what there is not: with a slip in the name a token
// would have no right, or one in whatever is made under that name some day.
func (s *Server) checkGrants(grants []domain.Grant) error {
	for i, g := range grants {
		if g.Project == "" {
			continue
		}
		p := s.Views.Project(domain.ProjectID(g.Project))
		if !p.Exists() {
			return domain.RefuseField(domain.Invalid, fmt.Sprintf("grants[%d].project", i), "there is no project %q; create it first", g.Project)
		}
		if g.Environment != "" && p.Environments.Get(g.Environment) == nil {
			return domain.RefuseField(domain.Invalid, fmt.Sprintf("grants[%d].environment", i), "there is no environment %q in project %q; create it first", g.Environment, g.Project)
		}
	}
	return nil
}

func (s *Server) revokeToken(r *request) error {
	result, err := r.do(r.queryWhy(), domain.Object{Kind: domain.KindToken, Key: r.param("id")}, commands.RevokeToken{ID: r.param("id")})
	if err != nil {
		return err
	}
	return r.answer(http.StatusNoContent, result, domain.Object{}, nil)
}

// operations are what operators and orchestrators ask for.
func (s *Server) health(c echo.Context) error {
	return c.JSON(http.StatusOK, map[string]string{"status": "ok"})
}

func (s *Server) ready(c echo.Context) error {
	answer := struct {
		Status   string `json:"status"`
		Position uint64 `json:"position"`
		Detail   string `json:"detail,omitempty"`
	}{Status: "ok", Position: s.Views.Position()}
	if s.Ready != nil {
		if err := s.Ready(c.Request().Context()); err != nil {
			answer.Status, answer.Detail = "not ready", err.Error()
			return c.JSON(http.StatusServiceUnavailable, answer)
		}
	}
	return c.JSON(http.StatusOK, answer)
}

func (s *Server) version(c echo.Context) error {
	return c.JSON(http.StatusOK, struct {
		Version string `json:"version"`
		// What Flagsmith's server tells besides.
		ImageTag        string            `json:"image_tag"`
		Commit          string            `json:"ci_commit_sha"`
		HasEmail        bool              `json:"has_email_provider"`
		IsEnterprise    bool              `json:"is_enterprise"`
		IsSaaS          bool              `json:"is_saas"`
		SelfHosted      *struct{}         `json:"self_hosted_data"`
		PackageVersions map[string]string `json:"package_versions"`
	}{Version: s.Version, ImageTag: s.Version, Commit: "unknown", PackageVersions: map[string]string{}})
}
