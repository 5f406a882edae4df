package httpapi

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"flagledger/domain"
	"flagledger/projections"
)

// auditFilters are the parameters of the query that auditQuery reads.
var auditFilters = []string{
	"project", "environment", "object", "affects", "actor", "actor_kind", "token", "type", "source", "client", "ticket", "reason",
	"change_request", "correlation_id", "q", "from", "to", "cursor", "limit",
}

// auditQuery reads the filters.
func (r *request) auditQuery() (projections.AuditQuery, error) {
	q := projections.AuditQuery{Scopes: r.scopes()}
	var err error
	if q.Limit, err = r.limit(); err != nil {
		return q, err
	}
	project := r.QueryParam("project")
	if project != "" {
		if !r.visible(project, "") || r.server.Views.Project(domain.ProjectID(project)).Position == 0 {
			return q, domain.RefuseField(domain.NotFound, "project", "there is no project %q whose history this token may read", project)
		}
		q.Project = domain.ProjectID(project)
	} else if !slices.ContainsFunc(r.token.Grants, func(g domain.Grant) bool { return r.token.Allows(domain.Audit, g.Project, g.Environment) }) {
		return q, domain.Refuse(domain.Forbidden, "the token %q has no right to the history of anything", r.token.Name)
	}
	for name, values := range r.QueryParams() {
		value := values[0]
		switch name {
		case "affects":
			var o domain.Object
			if o, err = domain.ParseObject(value); err == nil && (o.Kind != domain.KindFeature || o.Key == domain.AnyKey) {
				err = domain.RefuseField(domain.Malformed, name, "%q is not one feature; write feature:key", value)
			}
			q.Affects = o.Key
		case "reason":
			q.Reason, err = wordsOf(name, value)
		case "change_request":
			q.ChangeRequest = value
		case "correlation_id":
			q.Correlation = value
		case "token":
			if actor := r.QueryParam("actor"); actor != "" && actor != value {
				err = domain.RefuseField(domain.Malformed, name, "a token is the actor of what it did: name token or actor, or the same id as both")
			}
			q.Actor = value
		case "environment":
			q.Environment = value
		case "object":
			q.Object, err = domain.ParseObjects(value)
		case "actor":
			q.Actor = value
		case "actor_kind":
			if q.ActorKind = value; !slices.Contains(domain.ActorKinds, value) {
				err = domain.RefuseField(domain.Malformed, name, "%q is not a kind of actor; there are %s", value, strings.Join(domain.ActorKinds, ", "))
			}
		case "type":
			if q.Type = value; !slices.Contains(domain.EventTypes(), value) {
				err = domain.RefuseField(domain.Malformed, name, "%q is not a type of event; there are %s", value, strings.Join(domain.EventTypes(), ", "))
			}
		case "source":
			if q.Source = domain.Source(value); !q.Source.Known() {
				err = domain.RefuseField(domain.Malformed, name, "%q is not a source; there are %s", value, domain.KnownSources())
			}
		case "client":
			if q.Client = projections.Program(value); q.Client == "" {
				err = domain.RefuseField(domain.Malformed, name, "%q does not begin with the name of a program, such as curl", value)
			}
		case "ticket":
			q.Ticket = value
		case "q":
			q.Text, err = wordsOf(name, value)
		case "from":
			q.From, err = queryTime(name, value)
		case "to":
			q.To, err = queryTime(name, value)
		case "cursor":
			q.Below, err = r.positionCursor()
		}
		if err != nil {
			return q, err
		}
	}
	if err := checkSpan(q.From, q.To); err != nil {
		return q, err
	}
	if q.Affects != "" && q.Environment == "" {
		return q, domain.RefuseField(domain.Malformed, "environment", "the filter affects needs the filters project and environment")
	}
	if project == "" && (q.Environment != "" || q.Object.Kind != "" && q.Object.Kind != domain.KindToken) {
		return q, domain.RefuseField(domain.Malformed, "project", "the filters environment and object need the filter project")
	}
	if q.Environment != "" && !r.visible(project, q.Environment) {
		return q, domain.RefuseField(domain.NotFound, "environment", "there is no environment %q whose history this token may read", q.Environment)
	}
	if q.Object.Kind == domain.KindToken {
		q.Project = domain.OrganisationID
	}
	asked := q.Object.String()
	if q.Object, err = r.surrogateOf(project, q.Object); err != nil {
		return q, err
	}
	return q, r.knowsOf(q, asked)
}

// surrogateOf is the object with the surrogate of the identity whose identifier
// it has for a key, where one is stored and the token may read its history. A
// surrogate remains what it is, also that of somebody who is erased.
func (r *request) surrogateOf(project string, o domain.Object) (domain.Object, error) {
	env := r.server.Views.Project(domain.ProjectID(project)).Environments.Get(o.Environment)
	if o.Kind != domain.KindIdentity || o.Key == domain.AnyKey || env == nil || !r.visible(project, o.Environment) {
		return o, nil
	}
	id := projections.EnvironmentID{Project: domain.ProjectID(project), ID: env.ID}
	stored := r.server.Identities.Get(id, o.Key)
	if stored == nil || r.server.Identities.Identifier(id, o.Key) != "" {
		return o, nil
	}
	past, _, err := r.server.Views.Audit(r.Request().Context(), projections.AuditQuery{Project: id.Project, Object: o, Limit: 1})
	if err == nil && len(past) == 0 {
		o.Key = stored.Surrogate
	}
	return o, err
}

// wordsOf are words to look for, of which there must be one.
func wordsOf(name, text string) (string, error) {
	if !projections.HasWords(text) {
		return "", domain.RefuseField(domain.Malformed, name, "%q has no word to look for: one has two letters or digits at least", text)
	}
	return text, nil
}

// knowsOf refuses filters by what the history has nothing about: such a filter
// is a slip of the pen, and no answer to it would say so. object is the filter
// as it was asked for.
func (r *request) knowsOf(q projections.AuditQuery, object string) error {
	knows := func(field string, about projections.AuditQuery, of string) error {
		about.Project, about.Scopes, about.Limit = q.Project, q.Scopes, 1
		entries, _, err := r.server.Views.Audit(r.Request().Context(), about)
		if err == nil && len(entries) == 0 {
			err = domain.RefuseField(domain.NotFound, field, "the history has nothing about %s", of)
		}
		return err
	}
	if q.Environment != "" {
		if err := knows("environment", projections.AuditQuery{Environment: q.Environment}, "environment "+strconv.Quote(q.Environment)); err != nil {
			return err
		}
	}
	if q.Affects != "" {
		if err := knows("affects", projections.AuditQuery{Object: featureObject(q.Affects)}, "feature "+strconv.Quote(q.Affects)); err != nil {
			return err
		}
	}
	o := q.Object
	if o.Kind == "" || o.Key == domain.AnyKey && strings.Trim(o.Environment, domain.AnyKey) == "" {
		return nil // there are such kinds, though perhaps no object of one
	}
	of := "object " + strconv.Quote(object)
	if o.Kind == domain.KindIdentity && o.Key != domain.AnyKey {
		of += "; an identity is named by its identifier, or its surrogate once it is erased, and is in the history where something was set for it"
	}
	return knows("object", projections.AuditQuery{Object: o}, of)
}

func (r *request) positionCursor() (uint64, error) {
	plain, err := r.cursor()
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(plain, 10, 64)
	if err != nil || n == 0 {
		return 0, domain.RefuseField(domain.Malformed, "cursor", "%q is not a cursor of this list", r.QueryParam("cursor"))
	}
	return n, nil
}

// checkSpan refuses a time in which nothing can lie.
func checkSpan(from, to time.Time) error {
	if !from.IsZero() && !to.IsZero() && !from.Before(to) {
		return domain.RefuseField(domain.Malformed, "from", "%s is not before %s, the end of the time", from.Format(time.RFC3339), to.Format(time.RFC3339))
	}
	return nil
}

func queryTime(name, value string) (time.Time, error) {
	t, err := parseBound(value)
	if err != nil {
		return t, domain.RefuseField(domain.Malformed, name, "%q is not a time as of RFC 3339, such as 2026-05-03T14:02:00Z", value)
	}
	return t, nil
}
