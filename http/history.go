package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"flagledger/commands"
	"flagledger/domain"
	"flagledger/projections"
)

// pointInTime reads a point of an environment's history: "latest", a version
// number, "position:42", or a time as of RFC 3339. It returns the position, and
// what was asked for where it lies after the newest commit.
func (r *request) pointInTime(field, asked string, env projections.EnvironmentID) (uint64, error) {
	newest := r.server.Views.Position()
	if r.asOf != "" {
		newest = r.project.Position
	}
	if asked == "" || asked == "latest" {
		return newest, nil
	}
	if text, ok := strings.CutPrefix(asked, "position:"); ok {
		position, err := parseNumber(text)
		if err != nil || position == 0 {
			return 0, domain.RefuseField(domain.Malformed, field, "%q is not a position", text)
		}
		if position > newest {
			return 0, domain.RefuseField(domain.NotFound, field, "position %d is in the future; the newest is %d", position, newest)
		}
		return position, nil
	}
	if version, err := parseNumber(asked); err == nil {
		if env.ID == 0 {
			return 0, domain.RefuseField(domain.Malformed, field, "versions are those of an environment; write production@%d, a time or position:42", version)
		}
		if version == 0 {
			return 0, domain.RefuseField(domain.Malformed, field, "versions are 1, 2, 3 ...")
		}
		v, err := r.server.Views.Version(env, version)
		return v.Position, inField(field, err)
	}
	t, err := parseTime(asked)
	if err != nil {
		return 0, domain.RefuseField(domain.Malformed, field, "%q is no version, time (2026-05-03T14:02:00Z), position:42 or latest", asked)
	}
	if t.After(r.server.Now()) {
		return 0, domain.RefuseField(domain.Invalid, field, "%s is in the future", asked)
	}
	position, err := r.server.Views.PositionAt(t)
	if err == nil && position == 0 {
		err = domain.RefuseField(domain.NotFound, field, "nothing was recorded yet at %s", asked)
	}
	return position, err
}

// parseNumber reads a version or position, which has one form only.
func parseNumber(text string) (uint64, error) {
	if len(text) > 1 && text[0] == '0' {
		return 0, strconv.ErrSyntax
	}
	return strconv.ParseUint(text, 10, 64)
}

// parseTime reads a time as of RFC 3339, which has no comma before fractions of
// a second; time.Parse would take one.
func parseTime(text string) (time.Time, error) {
	if strings.Contains(text, ",") {
		return time.Time{}, strconv.ErrSyntax
	}
	return time.Parse(time.RFC3339, text)
}

// parseBound reads a time that may be left out. The first moment of all, which
// programs write for a time that was never set, is not taken for that.
func parseBound(text string) (time.Time, error) {
	t, err := parseTime(text)
	if err == nil && t.IsZero() {
		err = strconv.ErrRange
	}
	return t, err
}

// inField says which field of the request a refusal is about that names none.
func inField(field string, err error) error {
	refusal, is := errors.AsType[*domain.Error](err)
	if !is || refusal.Field != "" {
		return err
	}
	named := *refusal
	named.Field = field
	return &named
}

// goBack makes the request about the project as it was at the point in time
// that as_of names.
func (r *request) goBack() error {
	asked := r.QueryParam("as_of")
	if asked == "" || r.project == nil || !r.reads() {
		return nil
	}
	id, key := projections.EnvironmentID{Project: r.project.ID}, ""
	var position uint64
	var err error
	if r.environment != nil {
		key = r.environment.Key
		id, position, err = r.placeOf("as_of", key, asked)
	} else if env, point, is := strings.Cut(asked, "@"); is {
		_, position, err = r.placeOf("as_of", env, point)
	} else {
		position, err = r.pointInTime("as_of", asked, id)
	}
	if err != nil {
		return err
	}
	if err := r.moveTo(id, key, position); err != nil {
		return err
	}
	if !r.project.Exists() {
		return domain.RefuseField(domain.NotFound, "as_of", "the project did not exist at position %d", position)
	}
	r.asOf = asOf(position)
	r.Response().Header().Set("Flagledger-As-Of", strconv.FormatUint(position, 10))
	return nil
}

// whole is the project with the parts of all its environments, also in the past,
// where a request about the project alone has none of them.
func (r *request) whole() (*domain.Project, error) {
	if r.asOf == "" || r.environment != nil {
		return r.project, nil
	}
	return r.server.Views.Whole(r.project.ID, r.project.Position)
}

// pinnedIn are the environments that hold something at an old revision, as far as
// the token may see them.
func (r *request) pinnedIn(p *domain.Project, pinned func(*domain.Environment) bool) []string {
	in := []string{}
	for key, env := range p.Environments.All() {
		if pinned(env) && r.token.Allows(domain.Read, p.Key, key) {
			in = append(in, key)
		}
	}
	return in
}

// moment is an environment at a point of its history.
type moment struct {
	project     *domain.Project
	environment *domain.Environment
	Environment string    `json:"environment"`
	Version     uint64    `json:"version"`
	Position    uint64    `json:"position"`
	Digest      string    `json:"digest"`
	RecordedAt  time.Time `json:"recorded_at"` // of the version
}

// momentOf reads "[environment@]point" and goes there.
func (r *request) momentOf(field, asked string) (moment, error) {
	m := moment{Environment: r.environment.Key}
	point := asked
	if env, rest, ok := strings.Cut(asked, "@"); ok {
		m.Environment, point = env, rest
	}
	id, position, err := r.placeOf(field, m.Environment, point)
	if err != nil {
		return m, err
	}
	version, err := r.server.Views.VersionAt(id, position)
	if err != nil {
		return m, err
	}
	m.Version, m.Position, m.Digest = version.Version, version.Position, version.Digest
	if m.RecordedAt, err = r.server.Views.RecordedAt(version.Position); err != nil {
		return m, err
	}
	if m.project, err = r.server.Views.At(id, position); err != nil {
		return m, err
	}
	m.environment = m.project.Environments.Get(m.Environment)
	return m, nil
}

// contentParts are what an environment evaluates, part by part, by the name of
// the part, without the environment's: comparable between environments.
func contentParts(p *domain.Project, env *domain.Environment) (map[string]json.RawMessage, error) {
	parts := map[string]json.RawMessage{}
	c := contentOf(p, env)
	put := func(name string, part any) error {
		body, err := json.Marshal(part)
		parts[name] = body
		return err
	}
	for _, f := range c.Features {
		if err := put("feature:"+f.Feature, f); err != nil {
			return nil, err
		}
	}
	for _, s := range c.Segments {
		if err := put("segment:"+s.Key, s); err != nil {
			return nil, err
		}
	}
	for _, o := range c.Identities {
		if err := put("identity:"+o.Identity, o.IdentityOverrides); err != nil {
			return nil, err
		}
	}
	return parts, nil
}

// partChange is a part of the content that differs.
type partChange struct {
	Object      string              `json:"object"`
	Action      string              `json:"action"`
	Identity    string              `json:"identity,omitempty"` // behind a surrogate, unless erased
	Before      json.RawMessage     `json:"before"`
	After       json.RawMessage     `json:"after"`
	Differences []domain.Difference `json:"differences,omitempty"`
}

// diff compares an environment at two points of its history, or with another.
func (s *Server) diff(r *request) error {
	begin, end := r.QueryParam("from"), r.QueryParam("to")
	if first, last, both := strings.Cut(begin, ".."); both && end == "" {
		begin, end = first, last
	}
	from, err := r.momentOf("from", begin)
	if err != nil {
		return err
	}
	to, err := r.momentOf("to", end)
	if err != nil {
		return err
	}
	answer := struct {
		From    moment       `json:"from"`
		To      moment       `json:"to"`
		Changes []partChange `json:"changes"`
	}{from, to, []partChange{}}
	r.asOf = asOf(from.Position) + ".." + asOf(to.Position)
	before, err := contentParts(from.project, from.environment)
	if err != nil {
		return err
	}
	after, err := contentParts(to.project, to.environment)
	if err != nil {
		return err
	}
	for _, name := range sortedKeys(before, after) {
		c := partChange{Object: name, Action: "changed", Before: before[name], After: after[name]}
		if bytes.Equal(c.Before, c.After) {
			continue
		}
		switch {
		case c.Before == nil:
			c.Action = "created"
		case c.After == nil:
			c.Action = "deleted"
		default:
			if c.Differences, err = domain.Diff(c.Before, c.After); err != nil {
				return err
			}
			// By which edit of a segment its rules came about is no difference.
			c.Differences = slices.DeleteFunc(c.Differences, func(d domain.Difference) bool {
				return d.Path == "revision" && strings.HasPrefix(name, string(domain.KindSegment)+":")
			})
			if len(c.Differences) == 0 {
				continue // recorded by another commit, and the same
			}
		}
		if surrogate, is := strings.CutPrefix(name, string(domain.KindIdentity)+":"); is {
			at := to
			if c.After == nil {
				at = from
			}
			c.Identity = s.nameOf(environmentID(at.project, at.environment), surrogate)
		}
		answer.Changes = append(answer.Changes, c)
		r.seesPart(from.Environment, name, c.Before)
		r.seesPart(to.Environment, name, c.After)
	}
	return r.show(0, answer)
}

func sortedKeys[V any](maps ...map[string]V) []string {
	var keys []string
	for _, m := range maps {
		for key := range m {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// planAnswer is what a rollback or undo did, or would do.
type planAnswer struct {
	changeAnswer
	PlanHash string   `json:"plan_hash"`
	Warnings []string `json:"warnings"`
	// Broken are the cases of segments and features that would not hold any more:
	// it is refused unless they are overridden.
	Broken []domain.FieldError `json:"broken_tests,omitempty"`
}

// anyPlan as a plan hash says that the plan was not looked at.
const anyPlan = "any"

// carryOut previews a plan or carries it out. The hash of the plan that was
// looked at must come with the execution; "any" goes ahead unseen.
func (r *request) carryOut(w why, planner commands.Planner, dryRun bool, hash string, sample sample, execute func(hash string) commands.Command) (planAnswer, commands.Result, error) {
	var answer planAnswer
	if err := sample.check(); err != nil {
		return answer, commands.Result{}, err
	}
	if !dryRun {
		if domain.Trim(w.Reason) == "" {
			return answer, commands.Result{}, domain.RefuseField(domain.Invalid, "reason", "this needs a reason")
		}
		if hash == "" {
			return answer, commands.Result{}, domain.RefuseField(domain.Invalid, "plan_hash", "look at the plan first, with \"dry_run\": true, and send the plan_hash that it answers; \"any\" goes ahead without looking")
		}
	}
	plan, err := r.plan(planner, dryRun)
	if err != nil {
		return answer, commands.Result{}, err
	}
	if hash == anyPlan {
		hash = ""
	}
	object := projectObject(r.project)
	if r.environment != nil {
		object = environmentObject(r.environment.Key)
	}
	ch, err := r.change(w, object, execute(hash))
	if err != nil {
		return answer, commands.Result{}, err
	}
	ch.DryRun, ch.ShowBroken, ch.Source = dryRun, dryRun, domain.SourceRollback
	result, err := r.doChange(ch)
	if err != nil {
		return answer, result, err
	}
	changes, err := r.changesOf(result)
	if err != nil {
		return answer, result, err
	}
	answer = planAnswer{changeAnswer{DryRun: dryRun, Recorded: result.Recorded, Position: result.Position, Changes: changes}, plan.Hash, plan.Warnings, result.Broken}
	if dryRun {
		answer.Impact, err = r.impactOf(result, sample)
	}
	return answer, result, err
}

// plan works the plan out; that of a retried request as it was the first time.
func (r *request) plan(planner commands.Planner, dryRun bool) (commands.Plan, error) {
	p := r.project
	if !dryRun {
		position, err := r.ledTo()
		if err == nil && position > 0 {
			p, err = r.server.Views.Whole(p.ID, position-1)
		}
		if err != nil {
			return commands.Plan{}, err
		}
	}
	return r.server.Commands.Preview(r.Request().Context(), p, planner)
}

// rollback makes the content of the environment what it was at a version, time
// or position.
func (s *Server) rollback(r *request) error {
	var body struct {
		why
		Version        *uint64  `json:"version"`
		To             string   `json:"to"` // a time, position:42 or version
		Features       []string `json:"features"`
		Segments       []string `json:"segments"`
		RestoreDeleted bool     `json:"restore_deleted"`
		DryRun         bool     `json:"dry_run"`
		PlanHash       string   `json:"plan_hash"`
		Sample         sample   `json:"impact"`
	}
	if err := r.read(&body); err != nil {
		return err
	}
	id := r.environmentID()
	switch {
	case body.Version != nil && body.To != "":
		return domain.RefuseField(domain.Malformed, "to", "name either a version or a point in time, not both")
	case body.Version == nil && body.To == "":
		return domain.RefuseField(domain.Invalid, "version", "name the version to go back to, 1 to %d, or a point in time as \"to\"", s.Views.CurrentVersion(id))
	}
	field := "to"
	if body.Version != nil {
		field, body.To = "version", strconv.FormatUint(*body.Version, 10)
	}
	position, err := r.pointInTime(field, body.To, id)
	if err != nil {
		return err
	}
	version, err := s.Views.VersionAt(id, position)
	if err != nil {
		return err
	}
	c := commands.Rollback{
		Environment: r.environment.Key, Version: version.Version,
		Features: body.Features, Segments: body.Segments, RestoreDeleted: body.RestoreDeleted,
	}
	plan, result, err := r.carryOut(body.why, c, body.DryRun, body.PlanHash, body.Sample, func(hash string) commands.Command {
		c.PlanHash = hash
		return c
	})
	if err != nil {
		return err
	}
	now, err := s.Views.VersionAt(id, result.Position)
	if err != nil {
		return err
	}
	answer := struct {
		planAnswer
		To      uint64 `json:"to_version"`
		Version uint64 `json:"version"` // the newest one, after the rollback
	}{plan, version.Version, now.Version}
	return r.answer(http.StatusOK, result, environmentObject(r.environment.Key), answer)
}

// undo takes back what some commits did.
func (s *Server) undo(r *request) error {
	var body struct {
		why
		Position      *uint64      `json:"position"`
		Actor         *string      `json:"actor"`
		Token         *string      `json:"token"`
		ChangeRequest *string      `json:"change_request"`
		CorrelationID *string      `json:"correlation_id"`
		From          optionalTime `json:"from"`
		To            optionalTime `json:"to"`
		Except        []string     `json:"except"`
		DryRun        bool         `json:"dry_run"`
		PlanHash      string       `json:"plan_hash"`
		Sample        sample       `json:"impact"`
	}
	if err := r.read(&body); err != nil {
		return err
	}
	if err := checkSpan(body.From.Time, body.To.Time); err != nil {
		return err
	}
	c := commands.Undo{
		Selection: domain.Selection{From: body.From.Time, To: body.To.Time}, Except: body.Except,
		Manage: r.token.Allows(domain.Manage, r.project.Key, ""),
	}
	if body.Position != nil {
		if c.Selection.Position = *body.Position; c.Selection.Position == 0 {
			return domain.RefuseField(domain.Malformed, "position", "positions are 1, 2, 3 ...")
		}
	}
	for _, given := range []struct {
		field string
		value *string
		into  *string
	}{
		{"actor", body.Actor, &c.Selection.Actor}, {"token", body.Token, &c.Selection.Actor}, // a token is the actor of what it did
		{"change_request", body.ChangeRequest, &c.Selection.ChangeRequest}, {"correlation_id", body.CorrelationID, &c.Selection.CorrelationID},
	} {
		switch {
		case given.value == nil:
			continue
		case domain.Trim(*given.value) == "": // which would select more, not less
			return domain.RefuseField(domain.Malformed, given.field, "%s is empty: leave it out, or say which", given.field)
		case *given.into != "" && *given.into != *given.value:
			return domain.RefuseField(domain.Malformed, given.field, "a token is the actor of what it did: name token or actor, or the same id as both")
		}
		*given.into = *given.value
	}
	plan, result, err := r.carryOut(body.why, c, body.DryRun, body.PlanHash, body.Sample, func(hash string) commands.Command {
		c.PlanHash = hash
		return c
	})
	if err != nil {
		return err
	}
	return r.answer(http.StatusOK, result, projectObject(r.project), plan)
}
