package httpapi

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/labstack/echo/v4"

	"flagledger/domain/evaluation"
	"flagledger/projections"
)

// ofrepRequest is what a provider says of who asks, and the memory of one
// request, which the next one uses again.
type ofrepRequest struct {
	at        sdkAccess
	in, out   []byte
	members   []contextMember // of the context, without the targeting key
	identity  evaluation.Identity
	surrogate string             // of the identity, "" where nothing is stored of it
	stored    []evaluation.Trait // of the identity
	outcomes  []*evaluation.Outcome
}

// contextMember is one member of the context.
type contextMember struct {
	name   string
	text   string           // the value as it was sent
	value  evaluation.Value // of a scalar
	scalar bool
}

var ofrepRequests = sync.Pool{New: func() any { return new(ofrepRequest) }}

// maxPooledMembers is how many members a request may have whose memory is kept.
const maxPooledMembers = 1000

// release gives the memory back. It keeps nothing of the request alive.
func (q *ofrepRequest) release() {
	if cap(q.in) > maxPooled || cap(q.out) > maxPooled || cap(q.members) > maxPooledMembers {
		return
	}
	clear(q.members[:cap(q.members)])
	clear(q.identity.Traits)
	clear(q.outcomes)
	*q = ofrepRequest{
		in: q.in, out: q.out, members: q.members[:0], outcomes: q.outcomes[:0],
		identity: evaluation.Identity{Traits: q.identity.Traits[:0]},
	}
	ofrepRequests.Put(q)
}

// anonymous tells whether the context has no targeting key.
func (q *ofrepRequest) anonymous() bool { return q.identity.Identifier == "" }

// read reads the context of a request and finds what is known of who asks.
// Nothing is stored.
func (o *ofrep) read(r *http.Request, at sdkAccess, q *ofrepRequest) *ofrepFailure {
	text, err := readText(r, o.BodyLimit, &q.in) // whatever type it says it has: curl calls everything a form
	switch {
	case errors.Is(err, errBodyTooLarge):
		details := fmt.Sprintf("The body is larger than the limit of %d bytes.", o.BodyLimit)
		return &ofrepFailure{status: http.StatusRequestEntityTooLarge, Code: codeGeneral, Details: details}
	case errors.Is(err, errBodyEncoded):
		return &ofrepFailure{status: http.StatusUnsupportedMediaType, Code: codeGeneral, Details: "Bodies are not read compressed (Content-Encoding); send it as it is."}
	case err != nil:
		return &ofrepFailure{status: http.StatusBadRequest, Code: codeParseError, Details: "The body could not be read."}
	}
	if failure := q.parse(text, o.Limits.IdentifierLength); failure != nil {
		return failure
	}
	q.at = at
	q.identity.Key = at.identityKey(q.identity.Identifier)
	if !q.anonymous() {
		if known := o.Identities.Get(at.environment, q.identity.Identifier); known != nil {
			q.surrogate, q.stored = known.Surrogate, at.snapshot.Project.Kept(known.Traits)
			q.identity.Overrides = at.snapshot.IdentityOverrides(known.Surrogate)
		}
	}
	q.identity.Traits = append(q.identity.Traits[:0], q.stored...) // of two with one key the last counts
	if !at.takesTraits() {
		return nil
	}
	for i := range q.members {
		m := &q.members[i]
		if evaluated, _ := at.snapshot.Project.Ingest(m.name); evaluated && m.scalar {
			q.identity.Traits = append(q.identity.Traits, evaluation.Trait{Key: m.name, Value: m.value})
		}
	}
	return nil
}

// parse reads the body: the targeting key into the identity, and the other
// members of the context.
func (q *ofrepRequest) parse(text string, limit int) *ofrepFailure {
	r := newJSONReader(text)
	invalid := "The body has no context."
	if r.kind() != jsonObject {
		invalid = "The body is not an object."
		r.skip()
	} else {
		for r.enter('{'); r.next('}'); {
			if r.key() == "context" {
				invalid = q.parseContext(&r, limit)
			} else {
				r.skip()
			}
		}
	}
	r.end()
	switch {
	case r.err != nil:
		return &ofrepFailure{status: http.StatusBadRequest, Code: codeParseError, Details: "The body is not JSON: " + r.err.Error()}
	case invalid != "":
		return &ofrepFailure{status: http.StatusBadRequest, Code: codeInvalidContext, Details: invalid}
	}
	return nil
}

func (q *ofrepRequest) parseContext(r *jsonReader, limit int) (invalid string) {
	q.members, q.identity.Identifier = q.members[:0], ""
	if r.kind() != jsonObject {
		r.skip()
		return "The context is not an object."
	}
	for r.enter('{'); r.next('}'); {
		m := contextMember{name: r.key()}
		kind, start := r.kind(), r.at
		switch kind {
		case jsonObject, jsonArray:
			r.skip()
		default:
			m.value, m.scalar = r.scalar(), true
		}
		if m.name != "targetingKey" {
			m.text = r.source[start:r.at]
			q.members = append(q.members, m)
			continue
		}
		text, is := m.value.AsString()
		q.identity.Identifier, invalid = text, ""
		switch {
		case !is && kind != jsonNull:
			invalid = "The targeting key is not a string."
		case strings.IndexByte(text, 0) >= 0:
			invalid = "The targeting key has a null character."
		case len(text) > limit && utf8.RuneCountInString(text) > limit:
			invalid = fmt.Sprintf("The targeting key is longer than the limit of %d characters.", limit)
		}
	}
	return invalid
}

// etag names the answer to a request about all flags: by the snapshot and by a
// hash of all else that it depends on. The whole context counts, also what no
// rule can see.
func (q *ofrepRequest) etag(stream string) string {
	b := strconv.AppendBool(q.out[:0], q.at.server)
	b = appendString(b, stream)
	b = appendString(b, q.identity.Identifier)
	b = appendString(b, q.surrogate)
	for _, t := range q.stored {
		b = t.Value.AppendJSON(appendString(b, t.Key))
	}
	slices.SortStableFunc(q.members, func(a, b contextMember) int { return strings.Compare(a.name, b.name) })
	b = append(b, '{')
	for _, m := range q.members {
		b = append(appendString(b, m.name), m.text...)
	}
	q.out = b
	sum := sha256.Sum256(b)
	return fmt.Sprintf(`"%s-%x"`, revision(q.at.environment, q.at.snapshot), sum[:16])
}

// revision names a snapshot for clients: in ETags, and in the events that tell
// of it.
func revision(id projections.EnvironmentID, s *projections.Snapshot) string {
	return fmt.Sprintf("%d-%d", id.ID, s.Position)
}

// catchUp holds the answer to an event back until the snapshot is as recent as
// the event said, for a short time: the event may be from another process, which
// was faster.
func (o *ofrep) catchUp(c echo.Context, at *sdkAccess) error {
	if c.Request().URL.RawQuery == "" {
		return nil
	}
	wanted := parseFreshness(c.QueryParams(), at.environment)
	if wanted.isMetBy(at.snapshot) {
		return nil
	}
	patience := time.NewTimer(o.wait)
	defer patience.Stop()
	for !wanted.isMetBy(at.snapshot) {
		select {
		case <-at.snapshot.Superseded():
			if at.snapshot = o.Views.Snapshot(at.environment); at.snapshot == nil {
				return errUnauthorized // the environment is gone, and its keys with it
			}
		case <-patience.C:
			return nil
		case <-c.Request().Context().Done():
			return nil
		}
	}
	return nil
}

// freshness is what an event said of the snapshot that it told of.
type freshness struct {
	position uint64
	updated  time.Time
}

func (f freshness) isMetBy(s *projections.Snapshot) bool {
	return s.Position >= f.position && !s.Updated.Before(f.updated)
}

// parseFreshness reads the hints of a query. One that cannot be read is none.
func parseFreshness(query url.Values, id projections.EnvironmentID) (f freshness) {
	environment, position, _ := strings.Cut(query.Get("flagConfigEtag"), "-")
	if n, err := strconv.ParseUint(position, 10, 64); err == nil && environment == strconv.Itoa(int(id.ID)) {
		f.position = n
	}
	modified := query.Get("flagConfigLastModified")
	if seconds, err := strconv.ParseInt(modified, 10, 64); err == nil {
		f.updated = time.Unix(seconds, 0)
	} else {
		f.updated, _ = time.Parse(time.RFC3339, modified)
	}
	return f
}
