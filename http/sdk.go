package httpapi

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/labstack/echo/v4"

	"flagledger/domain"
	"flagledger/domain/evaluation"
	"flagledger/projections"
)

// The files sdk*.go answer the SDKs of Flagsmith, as its own server would: its
// paths, keys, headers, bodies and errors. What is read from a request that
// many apps send at once is read and answered without intermediate forms; the
// answers are put together from what was encoded when the environment was
// compiled (EncodeFlag).

// sdk is the part of the server that SDKs talk to.
type sdk struct {
	*Server
	headers    constantHeaders
	increments sync.Mutex // makes reading, adding and storing one step
	streams    streamTimes
}

// sdkAccess is what a request's key opens.
type sdkAccess struct {
	snapshot    *projections.Snapshot
	environment projections.EnvironmentID
	server      bool           // a server key, which is shown everything
	key         *domain.SDKKey // nil for the environment's own client key
}

// sdkError is an answer other than success, with the body that SDKs expect.
type sdkError struct {
	status int
	body   any
}

func (e *sdkError) Error() string { return fmt.Sprintf("%d %v", e.status, e.body) }

func sdkRefusal(status int, format string, args ...any) *sdkError {
	return &sdkError{status, map[string]string{"detail": fmt.Sprintf(format, args...)}}
}

var (
	errNoKey      = sdkRefusal(http.StatusForbidden, "Invalid or missing Environment key")
	errUnknownKey = sdkRefusal(http.StatusForbidden, "Invalid or missing Environment Key")
	errTooOften   = sdkRefusal(http.StatusTooManyRequests, "Request was throttled.")
	errTooMany    = sdkRefusal(http.StatusServiceUnavailable, "Too many event streams are open.")
	errNoFeature  = sdkRefusal(http.StatusNotFound, "Given feature not found")
)

// sdkRoutes are the routes for SDKs. Each is there with and without a slash at
// the end, since SDKs differ, and for the question of browsers whether they may
// ask (OPTIONS).
func (s *Server) sdkRoutes() []route { return newSDK(s).routes() }

func newSDK(s *Server) *sdk {
	return &sdk{Server: s, headers: sdkHeaders(s.Version), streams: defaultStreamTimes()}
}

func (k *sdk) routes() []route {
	const get, post, put = http.MethodGet, http.MethodPost, http.MethodPut
	var all []route
	known := map[string]bool{}
	for _, r := range []route{
		{get, "/api/v1/flags", k.keyed(k.getFlags)},
		{get, "/api/v1/identities", k.keyed(k.getIdentity)},
		{post, "/api/v1/identities", k.keyed(k.postIdentity)},
		{post, "/api/v1/bulk-identities", k.keyed(k.postIdentities)},
		{post, "/api/v1/traits", k.keyed(k.postTrait)},
		{put, "/api/v1/traits/bulk", k.keyed(k.putTraits)},
		{post, "/api/v1/traits/increment-value", k.keyed(k.incrementTrait)},
		{get, "/api/v1/environment-document", k.keyed(k.getDocument)},
		{post, "/api/v1/analytics/flags", k.keyed(k.postUsage)},
		{post, "/api/v2/analytics/flags", k.keyed(k.postEvaluations)},
		{get, "/sse/environments/:key/stream", k.open(k.stream)},
	} {
		for _, path := range []string{r.path, r.path + "/"} {
			all = append(all, route{r.method, path, r.handle})
			if !known[path] {
				known[path] = true
				all = append(all, route{http.MethodOptions, path, k.open(preflight)})
			}
		}
	}
	return all
}

// keyed wraps a handler that needs an SDK key.
func (k *sdk) keyed(handle func(echo.Context, sdkAccess) error) echo.HandlerFunc {
	return k.open(func(c echo.Context) error {
		key := c.Request().Header.Get("X-Environment-Key")
		at, err := k.access(key)
		if err != nil {
			return err
		}
		if wait := k.haste(at); wait > 0 {
			setRetryAfter(c.Response().Header(), wait)
			return errTooOften
		}
		if asked, err := k.awaitPosition(c.Request()); err != nil {
			return err
		} else if asked {
			if at, err = k.access(key); err != nil { // as of now
				return err
			}
		}
		return handle(c, at)
	})
}

// wrongKey counts a request whose key opens nothing, and is how long its address
// has to wait after too many of them, 0 where it does not. Keys that open
// something are not held up: many apps may share an address.
func (k *sdk) wrongKey(c echo.Context) time.Duration {
	wait := k.wrong.take(network(c.RealIP()), k.Now())
	if wait > 0 {
		setRetryAfter(c.Response().Header(), wait)
	}
	return wait
}

// open wraps a handler: it sets the headers that all answers have, and answers
// refusals.
func (k *sdk) open(handle echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		k.headers.set(c)
		err := handle(c)
		if refusal, ok := errors.AsType[*sdkError](err); ok {
			if refusal == errUnknownKey && k.wrongKey(c) > 0 {
				refusal = errTooOften
			}
			return refuse(c, refusal)
		}
		return err
	}
}

func refuse(c echo.Context, refusal *sdkError) error {
	body, err := json.Marshal(refusal.body)
	if err != nil {
		return fmt.Errorf("encode refusal %v: %w", refusal, err)
	}
	if refusal.status == http.StatusRequestEntityTooLarge {
		c.Response().Header().Set("Connection", "close") // rather than read the rest
	}
	return answerJSON(c, refusal.status, body)
}

// answerJSON sends a body whole.
func answerJSON(c echo.Context, status int, body []byte) error {
	return newJSONBody(body).answer(c, status)
}

// answerValue sends what encoding/json makes of v.
func answerValue(c echo.Context, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	return answerJSON(c, http.StatusOK, body)
}

// constantHeaders are headers that are the same in all answers. Their values
// are shared, and only read.
type constantHeaders struct {
	all []constantHeader
	// exposed are the headers that a page of another origin may read, for
	// answers to such. Others do not get it: a map of more than eight headers
	// costs a request more than the headers do.
	exposed []string
}

type constantHeader struct {
	name  string
	value []string
}

// set puts the headers into the answer.
func (h constantHeaders) set(c echo.Context) {
	header := c.Response().Header()
	for _, one := range h.all {
		header[one.name] = one.value
	}
	if c.Request().Header["Origin"] != nil {
		header["Access-Control-Expose-Headers"] = h.exposed
	}
}

var (
	contentTypeJSON   = []string{"application/json"}
	contentTypeStream = []string{"text/event-stream"}
)

func sdkHeaders(version string) constantHeaders {
	return constantHeaders{[]constantHeader{
		{"Access-Control-Allow-Origin", []string{"*"}},
		{"Cache-Control", []string{"max-age=0, no-cache, no-store, must-revalidate, private"}},
		{"Expires", []string{"Thu, 01 Jan 1970 00:00:00 GMT"}},
		{"Flagsmith-Version", []string{version}},
		{"Pragma", []string{"no-cache"}},
	}, []string{"x-flagsmith-document-updated-at, ETag, Retry-After"}}
}

// preflight tells a browser that a page may send what SDKs send.
func preflight(c echo.Context) error {
	header := c.Response().Header()
	header.Set("Access-Control-Allow-Methods", "DELETE, GET, OPTIONS, PATCH, POST, PUT")
	header.Set("Access-Control-Allow-Headers", "accept, authorization, content-type, user-agent, x-csrftoken, x-requested-with, "+
		"x-environment-key, x-api-key, flagsmith-application-name, flagsmith-application-version, flagsmith-sdk-user-agent, "+
		"sentry-trace, traceparent, tracestate, baggage, cache-control, if-modified-since, if-none-match, last-event-id")
	header.Set("Access-Control-Max-Age", "86400")
	return c.NoContent(http.StatusNoContent)
}

// query is a parameter of the query. Most requests have none at all.
func query(c echo.Context, name string) string {
	if c.Request().URL.RawQuery == "" {
		return ""
	}
	return c.QueryParam(name)
}

// serverKeyPrefix is how server keys begin, and client keys do not.
const serverKeyPrefix = "ser."

// access finds what an SDK key opens. A server key is looked up by its hash, so
// that the time it takes tells nothing about it; the hash itself is no key.
func (k *sdk) access(key string) (sdkAccess, error) {
	if key == "" {
		return sdkAccess{}, errNoKey
	}
	server := strings.HasPrefix(key, serverKeyPrefix)
	if server {
		sum := sha256.Sum256([]byte(key))
		key = hex.EncodeToString(sum[:])
	}
	snapshot, found := k.Views.SnapshotByKey(key)
	if snapshot == nil || found.Server != server || (found.Key != nil && !found.Key.Usable(k.Now())) {
		if err := k.refuseUnbuilt(); err != nil {
			return sdkAccess{}, err
		}
		return sdkAccess{}, errUnknownKey
	}
	return sdkAccess{snapshot, found.Environment, server, found.Key}, nil
}

// haste counts a request of the key, and is how long it has to wait instead, 0
// where it does not.
func (k *sdk) haste(at sdkAccess) time.Duration {
	if k.keys == nil {
		return 0
	}
	id := at.snapshot.Environment.ClientKey
	if at.key != nil {
		id = at.key.ID
	}
	return k.keys.take(id, k.Now())
}

// hides tells whether the key is not shown an outcome.
func (at sdkAccess) hides(o *evaluation.Outcome) bool {
	return (o.Flag.ServerKeyOnly && !at.server) || (!o.Enabled && at.hidesDisabled())
}

// shown leaves out the outcomes that the key is not shown, in place.
func (at sdkAccess) shown(outcomes []*evaluation.Outcome) []*evaluation.Outcome {
	hidesDisabled, shown := at.hidesDisabled(), outcomes[:0]
	if !hidesDisabled && (at.server || !at.snapshot.Evaluation.HasServerKeyOnly()) {
		return outcomes // which are not looked at one by one, mostly
	}
	for _, o := range outcomes {
		if (at.server || !o.Flag.ServerKeyOnly) && (o.Enabled || !hidesDisabled) {
			shown = append(shown, o)
		}
	}
	return shown
}

func (at sdkAccess) hidesDisabled() bool {
	if own := at.snapshot.Environment.HideDisabledFlags; own != nil {
		return *own
	}
	return at.snapshot.Project.HideDisabledFlags
}

// flag finds a flag by its name, nil if there is none. SDKs exist that know
// names only in lower case.
func (at sdkAccess) flag(name string) *evaluation.Flag {
	if f := at.snapshot.Evaluation.Flag(name); f != nil {
		return f
	}
	return at.snapshot.Evaluation.Flag(at.snapshot.Project.Folded.Get(strings.ToLower(name)))
}

// identityKey is what the identity is hashed by, in splits: its identifier
// together with the environment's key, "" for short, or the identifier alone,
// so that an identity is on the same side in all environments.
func (at sdkAccess) identityKey(identifier string) string {
	if at.snapshot.Environment.CompositeIdentityHashing {
		return ""
	}
	return identifier
}

// setUpdated tells how recent the answer is, for SDKs to compare with what a
// stream tells them.
func (at sdkAccess) setUpdated(c echo.Context) {
	updated := at.snapshot.Keep("updated", func(s *projections.Snapshot) any { return []string{string(appendSeconds(nil, s.Updated))} })
	c.Response().Header()["X-Flagsmith-Document-Updated-At"] = updated.([]string)
}

// appendSeconds writes a time as SDKs compare it: seconds since 1970 with a
// fraction. It is the largest 64-bit float that is not after the microsecond,
// because SDKs also compare it with the exact time in the environment document,
// and one that came out greater would make them fetch it again for nothing.
func appendSeconds(b []byte, t time.Time) []byte {
	micros := float64(t.UnixMicro()) // exact until the year 2255
	seconds := micros / 1e6
	if math.FMA(seconds, 1e6, -micros) > 0 {
		seconds = math.Nextafter(seconds, 0)
	}
	return strconv.AppendFloat(b, seconds, 'f', -1, 64)
}
