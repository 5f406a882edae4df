package httpapi

import (
	"cmp"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/labstack/echo/v4"

	"flagledger/domain"
	"flagledger/domain/evaluation"
	"flagledger/projections"
)

// Accesses is where it is recorded who looked at rules of segments and at data
// of identities.
type Accesses interface {
	// Record records a look. It is quick: an answer may wait for it.
	Record(Access)
	// List returns looks, newest first, and the id of the one to ask on before,
	// "" at the end. The last moments may be missing.
	List(AccessQuery) (found []Access, next string, err error)
}

// Access is one look, by somebody, at something of a project.
type Access struct {
	ID          string        `json:"id"`
	Time        time.Time     `json:"time"`
	Actor       domain.Actor  `json:"actor"`
	Client      domain.Client `json:"client"`
	Route       string        `json:"route"` // "GET /admin/v1/projects/:project/segments/:segment"
	Project     string        `json:"project"`
	Environment string        `json:"environment,omitempty"`
	AsOf        string        `json:"as_of,omitempty"` // "position:42", or two with ".." between them; "": the present
	// Objects are such as "segment:beta" and "identity:production/<surrogate>", or
	// "segment:*" and "identity:*/*" where the answer held all that there is.
	Objects []string `json:"objects"`
}

// AccessQuery says which looks are wanted. Zero values want all.
type AccessQuery struct {
	Project  string    // key
	Object   string    // of the project; "segment:*" is any segment
	Actor    string    // id
	From, To time.Time // From inclusive, To exclusive
	Before   string    // id of a look: those older than it
	Limit    int
	Visible  func(project, environment string) bool
}

// AccessPolicy says which looks are recorded.
type AccessPolicy string

// The policies.
const (
	AccessOff AccessPolicy = "off"
	// AccessSensitive records looks at rules about traits that are declared
	// sensitive, and at identities of projects that declare such a trait.
	AccessSensitive AccessPolicy = "sensitive"
	AccessAll       AccessPolicy = "all"
)

// Known tells whether there is such a policy.
func (p AccessPolicy) Known() bool {
	return p == AccessOff || p == AccessSensitive || p == AccessAll
}

// sights are what a request has been shown that is to be recorded: for each
// project and environment, the objects.
type sights map[place]map[string]bool

type place struct{ project, environment string }

func (r *request) sees(project, environment string, o domain.Object) {
	at := place{project, environment}
	if r.seen == nil {
		r.seen = sights{}
	}
	if r.seen[at] == nil {
		r.seen[at] = map[string]bool{}
	}
	r.seen[at][o.String()] = true
}

// recordsAny tells whether looks are recorded at all.
func (s *Server) recordsAny() bool { return s.Accesses != nil && s.AccessPolicy != AccessOff }

// sensitive are the traits that the project now declares so.
func (r *request) sensitive(project string) map[string]bool {
	if traits, known := r.traits[project]; known {
		return traits
	}
	traits := map[string]bool{}
	for key, c := range r.server.Views.Project(domain.ProjectID(project)).Contexts.All() {
		if c.Privacy == domain.Sensitive {
			traits[key] = true
		}
	}
	if r.traits == nil {
		r.traits = map[string]map[string]bool{}
	}
	r.traits[project] = traits
	return traits
}

// mention tells whether a condition is about one of the traits.
func mention(rules []evaluation.Rule, traits map[string]bool) bool {
	for trait := range domain.TraitsOf(rules) {
		if traits[trait] {
			return true
		}
	}
	return false
}

// seesRules notes that the answer shows rules of a segment. environment is ""
// for those that all environments share.
func (r *request) seesRules(project, environment, segment string, rules ...evaluation.Rule) {
	if r.server.recordsAny() && (r.server.AccessPolicy == AccessAll || mention(rules, r.sensitive(project))) {
		r.sees(project, environment, segmentObject(segment))
	}
}

// seesSegments notes that the answer shows segments of the path's project.
func (r *request) seesSegments(segments ...*domain.Segment) {
	for _, s := range segments {
		r.seesRules(r.project.Key, "", s.Key, s.Rules...)
	}
}

// seesIdentity notes that the answer shows data of a stored identity; the
// surrogate of one that is not stored is "".
func (r *request) seesIdentity(project, environment, surrogate string) {
	if surrogate != "" && r.server.recordsAny() && (r.server.AccessPolicy == AccessAll || len(r.sensitive(project)) > 0) {
		r.sees(project, environment, domain.Object{Kind: domain.KindIdentity, Environment: environment, Key: surrogate})
	}
}

// seesContent notes that the answer shows all that the path's environment
// evaluates.
func (r *request) seesContent(c environmentContent) {
	for _, s := range c.Segments {
		r.seesRules(r.project.Key, r.environment.Key, s.Key, s.Rules...)
	}
	for _, o := range c.Identities {
		r.seesIdentity(r.project.Key, r.environment.Key, o.Identity)
	}
}

// seesAllOf notes that the answer holds all that there is, and was, of a project.
func (r *request) seesAllOf(p *domain.Project) {
	if p.Exists() && r.server.recordsAny() && (r.server.AccessPolicy == AccessAll || len(r.sensitive(p.Key)) > 0) {
		r.sees(p.Key, "", segmentObject(domain.AnyKey))
		r.sees(p.Key, "", domain.Object{Kind: domain.KindIdentity, Environment: domain.AnyKey, Key: domain.AnyKey})
	}
}

// seesImages notes that the answer shows an object as it was or would be; those
// that are no segments and identities are passed over.
func (r *request) seesImages(project string, o domain.Object, images ...json.RawMessage) {
	switch o.Kind {
	case domain.KindSegment, domain.KindSegmentPin:
		for _, image := range images {
			var s struct{ Rules []evaluation.Rule }
			if len(image) > 0 && json.Unmarshal(image, &s) == nil {
				r.seesRules(project, o.Environment, o.Key, s.Rules...)
			}
		}
	case domain.KindIdentity:
		r.seesIdentity(project, o.Environment, o.Key)
	}
}

// seesChanges notes that the answer shows changes of objects.
func (r *request) seesChanges(project string, changes []objectChange) {
	for _, c := range changes {
		if o, err := domain.ParseObject(c.Object); err == nil && r.server.recordsAny() {
			r.seesImages(project, o, c.Before, c.After)
		}
	}
}

// seesPart notes that the answer shows a part of what an environment of the
// path's project evaluates, if the part exists; see contentParts.
func (r *request) seesPart(environment, name string, image json.RawMessage) {
	if kind, key, _ := strings.Cut(name, ":"); image != nil {
		r.seesImages(r.project.Key, domain.Object{Kind: domain.ObjectKind(kind), Environment: environment, Key: key}, image)
	}
}

// asOf words a position of the past that is looked at.
func asOf(position uint64) string { return "position:" + strconv.FormatUint(position, 10) }

// recordAccess records what the request has been shown so far.
func (r *request) recordAccess() {
	for _, at := range slices.SortedFunc(maps.Keys(r.seen), func(a, b place) int {
		return cmp.Or(cmp.Compare(a.project, b.project), cmp.Compare(a.environment, b.environment))
	}) {
		r.server.Accesses.Record(Access{
			Time: r.server.Now().UTC(), Actor: r.actor(), Client: r.client(), Route: r.Request().Method + " " + r.Path(),
			Project: at.project, Environment: at.environment, AsOf: r.asOf, Objects: slices.Sorted(maps.Keys(r.seen[at])),
		})
	}
	r.seen = nil
}

// watched wraps a handler so that what its answer has shown is recorded, also
// of an answer that broke off, and of a refusal what it tells of.
func (r *request) watched(handle func(*request) error) (err error) {
	defer func() { // also when the handler cuts the connection, by a panic
		if err != nil && !r.Response().Committed {
			r.seen = nil // what the answer would have shown
			if refusal, is := errors.AsType[*domain.Error](err); is && r.project != nil {
				for _, s := range refusal.Shows {
					r.seesImages(r.project.Key, s.Object, s.Image)
				}
			}
		}
		r.recordAccess()
	}()
	return handle(r)
}

// actor is who asks, as he is recorded.
func (r *request) actor() domain.Actor {
	return domain.Actor{Kind: "token", ID: r.token.ID, Name: r.token.Name, Token: r.token.ID}
}

// client is where the request comes from, as it is recorded.
func (r *request) client() domain.Client {
	return domain.Client{
		IP: r.RealIP(), UserAgent: shorten(r.Request().UserAgent(), 200), RequestID: r.Response().Header().Get(echo.HeaderXRequestID),
	}
}

// listAccess shows who looked at what, to those who may read the history of it.
func (s *Server) listAccess(r *request) error {
	q, err := r.accessQuery()
	if err != nil {
		return err
	}
	list := page[Access]{Items: []Access{}}
	if s.Accesses != nil {
		found, next, err := s.Accesses.List(q)
		if err != nil {
			return err
		}
		list.Items = append(list.Items, found...)
		if next != "" {
			list.Next = cursorOf(next)
		}
	}
	return r.show(0, list)
}

// accessFilters are the parameters of the query that accessQuery reads.
var accessFilters = []string{"project", "object", "actor", "from", "to", "cursor", "limit"}

// accessQuery reads the filters.
func (r *request) accessQuery() (q AccessQuery, err error) {
	q.Visible = r.visible
	q.Project = r.QueryParam("project")
	if q.Project != "" {
		if !r.visible(q.Project, "") || r.server.Views.Project(domain.ProjectID(q.Project)).Position == 0 {
			return q, domain.RefuseField(domain.NotFound, "project", "there is no project %q whose history this token may read", q.Project)
		}
	} else if !slices.ContainsFunc(r.token.Grants, func(g domain.Grant) bool { return r.token.Allows(domain.Audit, g.Project, g.Environment) }) {
		return q, domain.Refuse(domain.Forbidden, "the token %q has no right to the history of anything", r.token.Name)
	}
	if q.Limit, err = r.limit(); err != nil {
		return q, err
	}
	for name, values := range r.QueryParams() {
		switch value := values[0]; name {
		case "object":
			var o domain.Object
			if o, err = domain.ParseObjects(value); err == nil && o.Kind != domain.KindSegment && o.Kind != domain.KindIdentity {
				err = domain.RefuseField(domain.Malformed, name, "%q is neither a segment nor an identity; write segment:key or identity:environment/identifier", value)
			}
			if err == nil {
				o, err = r.surrogateOf(q.Project, o)
			}
			q.Object = o.String()
		case "actor":
			q.Actor = value
		case "from":
			q.From, err = queryTime(name, value)
		case "to":
			q.To, err = queryTime(name, value)
		case "cursor":
			if q.Before, err = r.cursor(); err == nil && value != "" && uuid.Validate(q.Before) != nil {
				err = domain.RefuseField(domain.Malformed, name, "%q is not a cursor of this list", value)
			}
		}
		if err != nil {
			return q, err
		}
	}
	if err := checkSpan(q.From, q.To); err != nil {
		return q, err
	}
	if q.Object != "" && q.Project == "" {
		return q, domain.RefuseField(domain.Malformed, "project", "the filter object needs the filter project")
	}
	if o, err := domain.ParseObject(q.Object); err == nil && o.Kind == domain.KindSegment && o.Key != domain.AnyKey { // of identities, those without overrides are in no history
		return q, r.knowsOf(projections.AuditQuery{Project: domain.ProjectID(q.Project), Object: o, Scopes: r.scopes()}, q.Object)
	}
	return q, nil
}
