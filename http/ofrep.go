package httpapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"flagledger/domain"
)

// The files ofrep*.go answer OpenFeature providers, as the OpenFeature Remote
// Evaluation Protocol 0.3.0 has it: one flag or all flags for a context, and an
// event stream that tells when to ask again. Keys, evaluation and what is hidden
// from whom are those of the SDKs (sdk*.go). What the protocol leaves open is
// settled in docs/adr/0009-ofrep.md.

// ofrep is the part of the server that OpenFeature providers talk to.
type ofrep struct {
	*sdk
	headers constantHeaders
	wait    time.Duration // how long an answer waits for the views to be as recent as the client knows the flags to be
}

// ofrepFailure is an answer without an evaluation.
type ofrepFailure struct {
	status  int
	Key     *string `json:"key,omitempty"` // the flag that was asked for, nil where all are
	Code    string  `json:"errorCode,omitempty"`
	Details string  `json:"errorDetails,omitempty"`
}

func (f *ofrepFailure) Error() string { return f.Code + ": " + f.Details }

// of is the failure of an evaluation of one flag.
func (f *ofrepFailure) of(flag string) *ofrepFailure {
	return &ofrepFailure{f.status, &flag, f.Code, f.Details}
}

// The error codes of the protocol.
const (
	codeParseError          = "PARSE_ERROR"
	codeInvalidContext      = "INVALID_CONTEXT"
	codeTargetingKeyMissing = "TARGETING_KEY_MISSING"
	codeFlagNotFound        = "FLAG_NOT_FOUND"
	codeGeneral             = "GENERAL"
)

var (
	errUnauthorized   = &ofrepFailure{status: http.StatusUnauthorized, Details: "An SDK key is needed, as Authorization: Bearer or X-API-Key; this one is missing, unknown, switched off or expired."}
	errTooManyKeys    = &ofrepFailure{status: http.StatusTooManyRequests, Details: "Too many unknown SDK keys came from this address."}
	errTooManyStreams = &ofrepFailure{status: http.StatusServiceUnavailable, Details: "Too many event streams are open."}
	errFlagNotFound   = &ofrepFailure{status: http.StatusNotFound, Code: codeFlagNotFound, Details: "There is no such flag."}
	errAnonymous      = &ofrepFailure{status: http.StatusBadRequest, Code: codeTargetingKeyMissing, Details: "The flag depends on who asks: it is split, or has a rule about the identifier."}
)

// ofrepRoutes are the routes for OpenFeature providers.
func (s *Server) ofrepRoutes() []route { return newOFREP(newSDK(s)).routes() }

func newOFREP(k *sdk) *ofrep {
	return &ofrep{sdk: k, wait: time.Second, headers: constantHeaders{[]constantHeader{
		{"Access-Control-Allow-Origin", []string{"*"}},
		{"Cache-Control", []string{"private, no-cache"}},
	}, []string{"ETag, Retry-After"}}}
}

// The beginnings of the paths.
const (
	ofrepFlags   = "/ofrep/v1/evaluate/flags"
	ofrepStreams = "/ofrep/v1/streams/"
)

func (o *ofrep) routes() []route {
	const get, post, options = http.MethodGet, http.MethodPost, http.MethodOptions
	var all []route
	for _, r := range []route{
		{post, ofrepFlags, o.keyed(o.evaluateAll)},
		{post, ofrepFlags + "/:key", o.keyed(o.evaluateOne)},
		{get, ofrepStreams + ":token", o.open(o.stream)},
	} {
		for _, path := range []string{r.path, r.path + "/"} { // as those for SDKs
			all = append(all, route{r.method, path, r.handle}, route{options, path, o.open(preflight)})
		}
	}
	return all
}

// keyed wraps a handler that needs an SDK key.
func (o *ofrep) keyed(handle func(echo.Context, sdkAccess) error) echo.HandlerFunc {
	return o.open(func(c echo.Context) error {
		at, err := o.access(c.Request().Header)
		if err != nil {
			return err
		}
		if wait := o.haste(at); wait > 0 {
			setRetryAfter(c.Response().Header(), wait)
			return &ofrepFailure{status: http.StatusTooManyRequests, Details: "The key makes more requests than it may."}
		}
		if asked, err := o.awaitPosition(c.Request()); err != nil {
			return err
		} else if asked {
			if at, err = o.access(c.Request().Header); err != nil { // as of now
				return err
			}
		}
		return handle(c, at)
	})
}

// open wraps a handler: it sets the headers that all answers have, and answers
// failures.
func (o *ofrep) open(handle echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		header := c.Response().Header()
		o.headers.set(c)
		err := handle(c)
		failure, ok := errors.AsType[*ofrepFailure](err)
		if !ok {
			return err
		}
		if failure == errUnauthorized && o.wrongKey(c) > 0 {
			failure = errTooManyKeys
		}
		switch failure.status {
		case http.StatusUnauthorized:
			header.Set("WWW-Authenticate", "Bearer")
		case http.StatusRequestEntityTooLarge:
			header.Set("Connection", "close") // rather than read the rest
		}
		body, err := json.Marshal(failure)
		if err != nil {
			return fmt.Errorf("encode failure %v: %w", failure, err)
		}
		return answerJSON(c, failure.status, body)
	}
}

// access finds what the key of a request opens. Where there is a bearer token it
// counts; an Authorization of another scheme is for somebody on the way here.
func (o *ofrep) access(header http.Header) (sdkAccess, error) {
	key := header.Get("X-Api-Key") // as net/http spells it, or it would be made anew
	if scheme, token, ok := strings.Cut(header.Get("Authorization"), " "); ok && strings.EqualFold(scheme, "Bearer") {
		key = strings.TrimSpace(token)
	}
	at, err := o.sdk.access(key)
	if _, refused := errors.AsType[*domain.Error](err); refused {
		return at, err
	}
	if err != nil {
		return at, errUnauthorized
	}
	return at, nil
}

// evaluateOne answers with one flag.
func (o *ofrep) evaluateOne(c echo.Context, at sdkAccess) error {
	key := (&request{Context: c}).param("key")
	q := ofrepRequests.Get().(*ofrepRequest)
	defer q.release()
	if failure := o.read(c.Request(), at, q); failure != nil {
		return failure.of(key)
	}
	flag := at.snapshot.Evaluation.Flag(key)
	if flag == nil {
		return errFlagNotFound.of(key)
	}
	outcome := at.snapshot.Evaluation.EvaluateFlag(flag, &q.identity)
	if at.hides(outcome) {
		return errFlagNotFound.of(key)
	}
	if q.anonymous() && q.dependsOnWho(flag) {
		return errAnonymous.of(key)
	}
	at.snapshot.Tally.Count(outcome)
	q.out = q.appendFlag(q.out[:0], outcome)
	q.out = append(q.appendVersion(append(q.out, ',')), "}}"...)
	return answerJSON(c, http.StatusOK, q.out)
}

// evaluateAll answers with all flags, or that they are those that the client
// has. That is found out before anything is evaluated.
func (o *ofrep) evaluateAll(c echo.Context, at sdkAccess) error {
	if err := o.catchUp(c, &at); err != nil {
		return err
	}
	q := ofrepRequests.Get().(*ofrepRequest)
	defer q.release()
	if failure := o.read(c.Request(), at, q); failure != nil {
		return failure
	}
	stream := streamAddress(at)
	etag := q.etag(stream)
	c.Response().Header()["Etag"] = []string{etag}
	if lists(c.Request().Header["If-None-Match"], etag) {
		return c.NoContent(http.StatusNotModified)
	}
	q.outcomes = at.snapshot.Evaluation.Evaluate(q.outcomes[:0], &q.identity)
	q.out = q.appendFlags(q.out[:0])
	q.out = append(q.appendVersion(append(q.out, `,"metadata":{`...)), '}')
	if stream != "" {
		q.out = appendString(append(q.out, `,"eventStreams":[{"type":"sse","endpoint":{"requestUri":`...), stream)
		q.out = append(q.out, `}}]`...)
	}
	q.out = append(q.out, '}')
	return answerJSON(c, http.StatusOK, q.out)
}
