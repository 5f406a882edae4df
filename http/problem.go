package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"flagledger/domain"
)

// statuses gives each kind of refusal its status.
var statuses = map[domain.Kind]int{
	domain.NotFound:     http.StatusNotFound,
	domain.Malformed:    http.StatusBadRequest,
	domain.Invalid:      http.StatusUnprocessableEntity,
	domain.Conflict:     http.StatusConflict,
	domain.Stale:        http.StatusPreconditionFailed,
	domain.LimitReached: http.StatusUnprocessableEntity,
	domain.Forbidden:    http.StatusForbidden,
	domain.Unauthorized: http.StatusUnauthorized,
	domain.TooLarge:     http.StatusRequestEntityTooLarge,
	domain.Unsupported:  http.StatusUnsupportedMediaType,
	domain.TooOften:     http.StatusTooManyRequests,
	domain.Unavailable:  http.StatusServiceUnavailable,
}

// problem is an RFC 9457 problem detail.
type problem struct {
	Type     string              `json:"type"`
	Title    string              `json:"title"`
	Status   int                 `json:"status"`
	Detail   string              `json:"detail,omitempty"`
	Field    string              `json:"field,omitempty"`
	Errors   []domain.FieldError `json:"errors,omitempty"`
	Revision uint64              `json:"current_revision,omitempty"`
	Request  string              `json:"request_id,omitempty"`
}

// statusGone is for the metrics: that the client did not wait for an answer.
const statusGone = 499

// handleError answers with a problem. What is not a refusal is logged, once,
// and answered without detail. An answer that has begun is broken off, so that
// nobody takes it for whole.
func (s *Server) handleError(err error, c echo.Context) {
	if errors.Is(err, context.Canceled) && c.Request().Context().Err() != nil {
		if c.Response().Committed {
			panic(http.ErrAbortHandler)
		}
		c.Response().WriteHeader(statusGone)
		return
	}
	if c.Response().Committed {
		s.Logger.ErrorContext(c.Request().Context(), "answer broken off", "method", c.Request().Method, "route", c.Path(), "error", err)
		panic(http.ErrAbortHandler)
	}
	p := problem{Type: "about:blank", Status: http.StatusInternalServerError}
	var httpErr *echo.HTTPError
	if refusal, ok := errors.AsType[*domain.Error](err); ok {
		p.Status = statuses[refusal.Kind]
		p.Type = "urn:flagledger:problem:" + strings.ReplaceAll(string(refusal.Kind), "_", "-")
		p.Detail, p.Field, p.Errors, p.Revision = refusal.Detail, refusal.Field, refusal.Errors, refusal.Revision
	} else if errors.As(err, &httpErr) {
		p.Status = httpErr.Code
		if text, ok := httpErr.Message.(string); ok {
			p.Detail = text
		}
	} else {
		s.Logger.ErrorContext(c.Request().Context(), "request failed", "method", c.Request().Method, "route", c.Path(), "error", err)
		p.Detail = "an internal error; it has been logged"
	}
	h := c.Response().Header()
	if h.Get(echo.HeaderXRequestID) == "" {
		h.Set(echo.HeaderXRequestID, requestID(c))
	}
	p.Title, p.Request = http.StatusText(p.Status), h.Get(echo.HeaderXRequestID)
	protect(h)
	h.Set(echo.HeaderContentType, "application/problem+json")
	switch p.Status {
	case http.StatusServiceUnavailable:
		h.Set("Retry-After", "2")
	case http.StatusUnauthorized:
		h.Set("WWW-Authenticate", "Bearer")
	}
	body, err := json.Marshal(p)
	if err != nil {
		s.Logger.ErrorContext(c.Request().Context(), "encode problem", "error", err)
		return
	}
	h.Set(echo.HeaderContentLength, strconv.Itoa(len(body)))
	c.Response().WriteHeader(p.Status)
	if c.Request().Method != http.MethodHead {
		_, _ = c.Response().Write(body) // the client may be gone
	}
}
