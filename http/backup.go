package httpapi

import (
	"context"
	"io"
	"net/http"
	"time"

	"flagledger/domain"
)

// A Backup writes all that is needed to start anew elsewhere: of kind "log", or
// "keys", without which nobody can tell the persons in it.
type Backup func(ctx context.Context, w io.Writer, kind string) error

// backup streams a backup. When it fails on the way the connection is cut, so
// that nobody takes for whole what is not.
func (s *Server) backup(r *request) error {
	kind := r.QueryParam("kind")
	if kind == "" {
		kind = "log"
	}
	if kind != "log" && kind != "keys" {
		return domain.RefuseField(domain.Malformed, "kind", "%q is not a kind of backup; there are log and keys", kind)
	}
	if s.Backup == nil {
		return domain.Refuse(domain.Unavailable, "this server makes no backups")
	}
	h := r.Response().Header()
	h.Set("Content-Type", "application/zip")
	h.Set("Content-Disposition", `attachment; filename="flagledger-`+kind+`.zip"`)
	h.Set("Cache-Control", "no-store")
	for _, p := range s.Views.Projects() {
		r.seesAllOf(p)
	}
	r.recordAccess()
	err := s.Backup(r.Request().Context(), r.patiently(), kind)
	if err != nil && r.Response().Committed {
		s.Logger.ErrorContext(r.Request().Context(), "a backup was broken off", "kind", kind, "error", err)
		panic(http.ErrAbortHandler)
	}
	if err != nil {
		h.Del("Content-Disposition")
	}
	return err
}

// patiently writes the answer for as long as the client goes on reading.
func (r *request) patiently() io.Writer {
	return patientWriter{r.Response(), http.NewResponseController(r.Response())}
}

// patientWriter gives each write a minute; the whole takes as long as it takes.
type patientWriter struct {
	io.Writer
	control *http.ResponseController
}

func (w patientWriter) Write(b []byte) (int, error) {
	_ = w.control.SetWriteDeadline(time.Now().Add(time.Minute)) // a slow reader is dropped
	return w.Writer.Write(b)
}
