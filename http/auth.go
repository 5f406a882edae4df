package httpapi

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"flagledger/commands"
	"flagledger/domain"
	"flagledger/projections"
)

// minPositionWait is how long a read waits for the position it asks for.
const minPositionWait = 2 * time.Second

// request is a request of the administration: who asks, and about what.
type request struct {
	echo.Context
	server      *Server
	token       *domain.Token
	project     *domain.Project     // of the path, nil without
	environment *domain.Environment // of the path, nil without
	hash        string              // of the request, once its body was read
	why         why                 // of a DELETE that has a body

	right domain.Right // that the route asks for
	gone  uint64       // the last position of an environment of the path that is no more; 0: it is there

	seen   sights                     // shown so far and not recorded
	asOf   string                     // the past that is shown; see Access.AsOf
	traits map[string]map[string]bool // those declared sensitive, by project, once looked up
}

// admin wraps a handler of the administration: it finds out who asks and about
// what, and whether they have the right. A project of which the token may see
// nothing is answered as one that does not exist. query names the parameters
// that the handler reads, beside those that all have.
func (s *Server) admin(right domain.Right, handle func(*request) error, query ...string) echo.HandlerFunc {
	return func(c echo.Context) error {
		r, begin := &request{Context: c, server: s}, time.Now()
		h := c.Response().Header()
		h.Set("Cache-Control", "no-store")
		h.Set(echo.HeaderXRequestID, requestID(c))
		protect(h)
		defer r.logRequest(begin)
		if err := r.serve(right, handle, query); err != nil {
			c.Error(err)
		}
		return nil
	}
}

// serve lets the request through to the handler, if the token may.
func (r *request) serve(right domain.Right, handle func(*request) error, query []string) error {
	if err := r.server.awaitStart(r.Request()); err != nil {
		return err
	}
	if err := r.authenticate(); err != nil {
		return err
	}
	s := r.server
	if err := r.refuseHaste(s.tokens.take(r.token.ID, s.Now()), "the token %q makes more than %v requests a second", r.token.Name, s.TokenRate); err != nil {
		return err
	}
	waited, err := s.awaitPosition(r.Request())
	if err == nil && waited {
		err = r.authenticate() // the token may have been revoked in the meantime
	}
	if err != nil {
		return err
	}
	if err := r.locate(right); err != nil {
		if replayed, answerErr := r.replayedDelete(); replayed || answerErr != nil {
			return answerErr
		}
		return err
	}
	if err := r.checkQuery(query); err != nil {
		return err
	}
	if err := r.goBack(); err != nil {
		return err
	}
	if r.Request().Method == http.MethodDelete && r.Request().ContentLength != 0 {
		if err := r.read(&r.why); err != nil {
			return err
		}
	}
	return r.watched(handle)
}

func requestID(c echo.Context) string {
	if id := c.Request().Header.Get(echo.HeaderXRequestID); id != "" && len(id) <= 100 {
		return id
	}
	return commands.NewClientKey()
}

// authenticate finds the token. Secrets are looked up by their hash, so that
// the time it takes tells nothing about them.
func (r *request) authenticate() error {
	scheme, secret, _ := strings.Cut(r.Request().Header.Get(echo.HeaderAuthorization), " ")
	if !strings.EqualFold(scheme, "Bearer") || secret == "" {
		return domain.Refuse(domain.Unauthorized, "this needs a token: send the header Authorization: Bearer <token>")
	}
	now, from := r.server.Now(), network(r.RealIP())
	if err := r.refuseHaste(r.server.guesses.wait(from, now), "too many unknown tokens came from %s: correct the token, and wait", from); err != nil {
		return err
	}
	sum := sha256.Sum256([]byte(secret))
	r.token = r.server.Views.Token(hex.EncodeToString(sum[:]))
	if r.token == nil {
		if err := r.server.refuseUnbuilt(); err != nil {
			return err
		}
		r.server.guesses.take(from, now)
		return domain.Refuse(domain.Unauthorized, "the token is not known, or was revoked")
	}
	if r.token.Expired(now) {
		return domain.Refuse(domain.Unauthorized, "the token %q ran out on %s", r.token.Name, r.token.ExpiresAt.Format(time.RFC3339))
	}
	return nil
}

// refuseUnbuilt refuses to say that something is unknown as long as nothing is
// known: while the views are made for the first time. When they are made again
// because their file was damaged, what is in memory is served on.
func (s *Server) refuseUnbuilt() error {
	if s.Views.Position() > 0 {
		return nil
	}
	return domain.Refuse(domain.Unavailable, "nothing is known here yet: the views are being made from the log (%s)", s.Views.Progress())
}

// somewhere is put behind the right that a route needs where the body tells in
// which environment, or project: who has it nowhere is refused unread.
const somewhere = " somewhere"

// locate finds the project and environment of the path.
func (r *request) locate(right domain.Right) error {
	wanted, anywhere := strings.CutSuffix(string(right), somewhere)
	right = domain.Right(wanted)
	r.right = right
	projectKey, environmentKey := r.param("project"), r.param("environment")
	if projectKey != "" {
		r.project = r.server.Views.Project(domain.ProjectID(projectKey))
		if !r.project.Exists() || !r.seesProject(projectKey) {
			return domain.RefuseField(domain.NotFound, "project", "there is no project %q", projectKey)
		}
	}
	if environmentKey != "" {
		r.environment = r.project.Environments.Get(environmentKey)
		if r.environment == nil && r.asksPast() {
			return r.findGone(environmentKey)
		}
		if r.environment == nil || !r.token.Allows(domain.Read, projectKey, environmentKey) {
			return domain.RefuseField(domain.NotFound, "environment", "there is no environment %q in project %q", environmentKey, projectKey)
		}
	}
	if right == "" {
		return nil // the handler looks itself
	}
	if anywhere {
		if r.token.AllowsSomewhere(right, projectKey) {
			return nil // here; the handler finds out where it is needed
		}
		return domain.Refuse(domain.Forbidden, "the token %q has no right to %s anything%s", r.token.Name, right, inProject(projectKey))
	}
	return r.need(commands.Need{Right: right, Environment: environmentKey}, projectKey)
}

func inProject(key string) string {
	if key == "" {
		return ""
	}
	return " in project " + key
}

func (r *request) seesProject(project string) bool {
	return r.token.Allows(domain.Read, project, "")
}

// need refuses what the token has no right to.
func (r *request) need(n commands.Need, project string) error {
	if r.token.Allows(n.Right, project, n.Environment) {
		return nil
	}
	where := "everywhere"
	if project != "" {
		where = "in project " + project
	}
	if n.Environment != "" {
		where = "in environment " + n.Environment + " of project " + project
	}
	return domain.Refuse(domain.Forbidden, "the token %q has no right to %s %s", r.token.Name, n.Right, where)
}

// checkQuery refuses parameters of the query that the route does not have, since
// they would otherwise seem to have been applied: a dry run, above all. Reads in
// a project can go back in time, and what has no body says why in the query.
func (r *request) checkQuery(known []string) error {
	switch {
	case r.Request().Method == http.MethodDelete:
		known = append(slices.Clone(known), "reason", "ticket", "override_tests")
	case r.reads() && r.project != nil && !slices.Contains(known, "by"): // of usage, which lies outside the log
		known = append(slices.Clone(known), "as_of")
	}
	for _, name := range slices.Sorted(maps.Keys(r.QueryParams())) {
		if slices.Contains(known, name) {
			if err := r.checkValues(name); err != nil {
				return err
			}
			continue
		}
		if len(known) == 0 {
			return domain.RefuseField(domain.Malformed, name, "there is no parameter %q here, nor any other", name)
		}
		return domain.RefuseField(domain.Malformed, name, "there is no parameter %q here; there are %s", name, strings.Join(known, ", "))
	}
	return nil
}

// checkValues refuses a parameter that is there twice, of which one would be left
// out, and in reads one without a value: a filter that is empty by mistake would
// find everything.
func (r *request) checkValues(name string) error {
	values := r.QueryParams()[name]
	if len(values) > 1 {
		return domain.RefuseField(domain.Malformed, name, "%s is there %d times; name it once", name, len(values))
	}
	if r.reads() && name != "cursor" && domain.Trim(values[0]) == "" {
		return domain.RefuseField(domain.Malformed, name, "%s has no value: leave it out, or say which", name)
	}
	return nil
}

// reads tells whether the request is one to read.
func (r *request) reads() bool {
	return r.Request().Method == http.MethodGet || r.Request().Method == http.MethodHead
}

// flag is a parameter of the query that is true or false, false where left out.
func (r *request) flag(name string) (bool, error) {
	switch value := r.QueryParam(name); value {
	case "true":
		return true, nil
	case "false", "":
		return false, nil
	default:
		return false, domain.RefuseField(domain.Malformed, name, "%q is neither true nor false", value)
	}
}

// param is a parameter of the path, unescaped.
func (r *request) param(name string) string {
	value := r.Param(name)
	if r.Request().URL.RawPath == "" {
		return value
	}
	if plain, err := url.PathUnescape(value); err == nil {
		return plain
	}
	return value
}

// environmentID names the environment of the path.
func (r *request) environmentID() projections.EnvironmentID {
	return environmentID(r.project, r.environment)
}

// awaitStart holds a request back until what was recorded before the process
// began can be seen: a change decided without it, perhaps the retry of one, would
// be refused or answered for reasons that are none any more. Where that takes
// long, reads are answered with what is known.
func (s *Server) awaitStart(r *http.Request) error {
	if s.Current == nil || s.Current(r.Context()) || r.Method == http.MethodGet || r.Method == http.MethodHead {
		return nil
	}
	return domain.Refuse(domain.Unavailable, "the process is starting, its views at %s; try again", s.Views.Progress())
}

// awaitPosition holds a request back until the views show the position that it
// asks for, and tells whether it asks for one. Only those who are known are
// waited with: a stranger could hold connections for nothing.
func (s *Server) awaitPosition(r *http.Request) (asked bool, err error) {
	header := r.Header["Flagledger-Min-Position"]
	if header == nil {
		return false, nil
	}
	position, err := strconv.ParseUint(header[0], 10, 64)
	if err != nil {
		return true, domain.RefuseField(domain.Malformed, "Flagledger-Min-Position", "%q is not a position", header[0])
	}
	ctx, cancel := context.WithTimeout(r.Context(), minPositionWait)
	defer cancel()
	if err := s.Views.Wait(ctx, position); err != nil {
		return true, domain.Refuse(domain.Unavailable, "position %d is not visible here yet; this process is at %d", position, s.Views.Position())
	}
	return true, nil
}

// why is what every write says beside what it does.
type why struct {
	Reason string `json:"reason"`
	Ticket string `json:"ticket"`
	// OverrideTests lets cases of rules break, with a reason.
	OverrideTests bool `json:"override_tests"`
}

// A pathMember is a member of a command that has its value from the path.
type pathMember struct {
	name  string
	into  *string
	value string
}

// read reads the body strictly. An empty body is an empty object. The members that
// the path gives are set; a body that has another value for one is refused, for
// nobody can tell which of the two was meant.
func (r *request) read(into any, path ...pathMember) error {
	if err := r.readBody(into); err != nil {
		return err
	}
	for _, m := range path {
		if *m.into != "" && *m.into != m.value {
			return domain.RefuseField(domain.Malformed, m.name, "the path says %q and the body %q; leave it out of the body", m.value, *m.into)
		}
		*m.into = m.value
	}
	return nil
}

func (r *request) readBody(into any) error {
	if encoded(r.Request().Header) {
		return domain.RefuseField(domain.Unsupported, "Content-Encoding", "bodies are not read compressed; send it as it is")
	}
	body, err := io.ReadAll(http.MaxBytesReader(r.Response(), r.Request().Body, r.server.BodyLimit))
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return domain.Refuse(domain.TooLarge, "the body is larger than the limit of %d bytes", r.server.BodyLimit)
	}
	if err != nil {
		return domain.Refuse(domain.Malformed, "the body could not be read to its end: %v", err)
	}
	r.hash = r.hashOf(body)
	if len(body) == 0 {
		body = []byte("{}")
	}
	return commands.Decode(body, into)
}

// encoded tells whether a body is compressed. None is read, so that a small one
// cannot become a large one.
func encoded(h http.Header) bool {
	codings := h["Content-Encoding"]
	return codings != nil && !(len(codings) == 1 && strings.EqualFold(codings[0], "identity"))
}

// hashOf tells a retry of the request from another one.
func (r *request) hashOf(body []byte) string {
	return commands.Hash(r.Request().Method + " " + r.Request().URL.RequestURI() + "\n" + string(body))
}

// replayedDelete tells whether the request is a retry of one that deleted what
// its path names, and answers it as the first time.
func (r *request) replayedDelete() (bool, error) {
	if r.project == nil || r.Request().Method != http.MethodDelete || !r.token.Allows(domain.Manage, r.param("project"), r.param("environment")) {
		return false, nil
	}
	r.hash = r.hashOf(nil)
	position, err := r.ledTo()
	if err != nil || position == 0 {
		return false, err
	}
	r.Response().Header().Set("Flagledger-Position", strconv.FormatUint(position, 10))
	return true, r.NoContent(http.StatusNoContent)
}

// ledTo is the position of the commit that the request led to when it was first
// sent with its Idempotency-Key, 0 where it has not.
func (r *request) ledTo() (uint64, error) {
	key := r.Request().Header.Get("Idempotency-Key")
	if key == "" {
		return 0, nil
	}
	position, hash, err := r.server.Views.Answer(r.project.ID, key)
	if err != nil || hash != r.hash {
		return 0, err
	}
	return position, nil
}

// queryWhy reads why of a request without a body.
func (r *request) queryWhy() why {
	w := r.why // a body is as good
	if reason := r.QueryParam("reason"); reason != "" {
		w.Reason = reason
	}
	if ticket := r.QueryParam("ticket"); ticket != "" {
		w.Ticket = ticket
	}
	w.OverrideTests = w.OverrideTests || r.QueryParam("override_tests") == "true"
	return w
}

// ifMatch is the revision that the request expects, 0 for any.
func (r *request) ifMatch() (uint64, error) {
	asked := r.Request().Header.Get("If-Match")
	if asked == "" || asked == "*" {
		return 0, nil
	}
	revision, err := strconv.ParseUint(strings.Trim(strings.TrimPrefix(asked, "W/"), `"`), 10, 64)
	if err != nil || revision == 0 {
		return 0, domain.RefuseField(domain.Malformed, "If-Match", "%s is not an ETag of this server, such as \"42\"", asked)
	}
	return revision, nil
}

// change makes the change that the request asks for, about an object that
// If-Match may refer to.
func (r *request) change(w why, object domain.Object, cmds ...commands.Command) (commands.Change, error) {
	revision, err := r.ifMatch()
	if err != nil {
		return commands.Change{}, err
	}
	if object.Kind == "" {
		revision = 0 // there is nothing yet that it could be the revision of
	}
	if r.hash == "" {
		r.hash = r.hashOf(nil)
	}
	ch := commands.Change{
		Commands: cmds, Reason: w.Reason, Ticket: w.Ticket, OverrideTests: w.OverrideTests, Source: domain.SourceAPI,
		Actor: r.actor(), Client: r.client(),
		CorrelationID:  shorten(r.Request().Header.Get("Correlation-Id"), 200),
		IdempotencyKey: r.Request().Header.Get("Idempotency-Key"), RequestHash: r.hash,
		IfMatch: revision, Object: object,
	}
	switch source := domain.Source(r.Request().Header.Get("Flagledger-Source")); source {
	case domain.SourceCLI, domain.SourceConsole, domain.SourceImport:
		ch.Source = source
	}
	if r.project != nil {
		ch.Project = r.project.Key
	}
	return ch, nil
}

func shorten(s string, n int) string {
	if len(s) > n {
		return strings.ToValidUTF8(s[:n], "")
	}
	return s
}

// do carries a change out, if the token may.
func (r *request) do(w why, object domain.Object, cmds ...commands.Command) (commands.Result, error) {
	ch, err := r.change(w, object, cmds...)
	if err != nil {
		return commands.Result{}, err
	}
	return r.doChange(ch)
}

func (r *request) doChange(ch commands.Change) (commands.Result, error) {
	for _, c := range ch.Commands {
		if err := r.need(c.Needs(), ch.Project); err != nil {
			return commands.Result{}, err
		}
	}
	result, err := r.server.Commands.Do(r.Request().Context(), ch)
	if err != nil {
		return result, err
	}
	if result.Replayed {
		if result.After, err = r.past(result.Position); err != nil {
			return result, err
		}
	}
	r.Response().Header().Set("Flagledger-Position", strconv.FormatUint(result.Position, 10))
	return result, nil
}

// past is the state that the first answer to a retried request was made from.
func (r *request) past(position uint64) (*domain.Project, error) {
	id := projections.EnvironmentID{Project: domain.OrganisationID}
	if r.project != nil {
		id.Project = r.project.ID
	}
	if r.environment != nil {
		id.ID = r.environment.ID
	}
	return r.server.Views.At(id, position)
}

// answer sends a resource as it is after a change. status is that of a change
// that can be seen; one that cannot yet is accepted.
func (r *request) answer(status int, result commands.Result, object domain.Object, body any) error {
	if revision := result.After.Revision(object); revision > 0 {
		r.setRevision(revision)
	}
	if result.Recorded && !result.Visible && !result.Replayed {
		status = http.StatusAccepted
	}
	if !result.Recorded && status == http.StatusCreated {
		status = http.StatusOK
	}
	if body == nil {
		return r.NoContent(status)
	}
	return r.JSON(status, body)
}

// show sends a resource as it is.
func (r *request) show(revision uint64, body any) error {
	if revision > 0 {
		r.setRevision(revision)
	}
	r.Response().Header().Set("Flagledger-Position", strconv.FormatUint(r.server.Views.Position(), 10))
	return r.JSON(http.StatusOK, body)
}

func (r *request) setRevision(revision uint64) {
	r.Response().Header().Set("ETag", `"`+strconv.FormatUint(revision, 10)+`"`)
}
