package httpapi

import (
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/labstack/echo/v4"
)

// protect keeps browsers, and what is in between, from making more of an answer
// than it is. Answers to apps have headers of their own.
func protect(h http.Header) {
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Referrer-Policy", "no-referrer")
	if h.Get("Cache-Control") == "" {
		h.Set("Cache-Control", "no-store")
	}
}

// protected wraps a handler whose answer is to be protected.
func protected(handle echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		protect(c.Response().Header())
		return handle(c)
	}
}

// survive is middleware that makes an error of a panic, with where it came from,
// for the log.
func survive(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) (err error) {
		defer func() {
			switch v := recover(); v {
			case nil:
			case http.ErrAbortHandler:
				panic(v)
			default:
				err = fmt.Errorf("panic: %v\n%s", v, debug.Stack())
			}
		}()
		return next(c)
	}
}

// logRequest notes a request of the administration: those that may change
// something for everybody who reads the log, the others for who looks closer.
// Its path and query are left out, which name persons.
func (r *request) logRequest(begin time.Time) {
	level, token := slog.LevelDebug, ""
	if r.token != nil {
		token = r.token.ID
		if !r.reads() {
			level = slog.LevelInfo
		}
	}
	r.server.Logger.LogAttrs(r.Request().Context(), level, "request",
		slog.String("method", r.Request().Method), slog.String("route", r.Path()), slog.Int("status", r.Response().Status),
		slog.Duration("took", time.Since(begin)), slog.String("request_id", r.Response().Header().Get(echo.HeaderXRequestID)),
		slog.String("token", token), slog.String("ip", r.RealIP()))
}
