package httpapi

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"flagledger/domain"
)

// exporter writes entries in one format.
type exporter interface {
	write(e shownEntry) error
	flush() error
}

// exporters makes the writer of each format, with its content type.
var exporters = map[string]struct {
	contentType string
	open        func(io.Writer) exporter
}{
	"ndjson":      {"application/x-ndjson", func(w io.Writer) exporter { return &jsonExporter{json.NewEncoder(w), plainEntry} }},
	"cloudevents": {"application/x-ndjson", func(w io.Writer) exporter { return &jsonExporter{json.NewEncoder(w), cloudEvent} }},
	"csv":         {"text/csv; charset=utf-8", newCSVExporter},
}

// exportAudit streams all entries that match, newest first. An error on the way
// ends the answer early, so that the client sees an incomplete transfer.
func (s *Server) exportAudit(r *request) error {
	format := r.QueryParam("format")
	if format == "" {
		format = "ndjson"
	}
	chosen, ok := exporters[format]
	if !ok {
		return domain.RefuseField(domain.Malformed, "format", "%q is not a format; there are ndjson, csv, cloudevents", format)
	}
	q, err := r.auditQuery()
	if err != nil {
		return err
	}
	q.Limit = maxLimit
	r.Response().Header().Set("Content-Type", chosen.contentType)
	r.Response().Header().Set("Content-Disposition", `attachment; filename="flagledger-audit.`+format+`"`)
	out := chosen.open(r.patiently())
	for {
		entries, next, err := s.Views.Audit(r.Request().Context(), q)
		if err != nil {
			return err
		}
		for _, e := range entries {
			shown, err := r.showEntry(e)
			if err != nil {
				return fmt.Errorf("export commit %d: %w", e.Position, err)
			}
			if err := out.write(shown); err != nil {
				return nil // the client is gone
			}
		}
		if err := out.flush(); err != nil {
			return nil
		}
		r.recordAccess() // page by page, for there may be many
		if next == 0 {
			return nil
		}
		r.Response().Flush()
		q.Below = next
	}
}

type jsonExporter struct {
	encoder *json.Encoder
	form    func(shownEntry) any
}

func (x *jsonExporter) write(e shownEntry) error { return x.encoder.Encode(x.form(e)) }
func (x *jsonExporter) flush() error             { return nil }

func plainEntry(e shownEntry) any { return e }

// cloudEvent is an entry as CloudEvents 1.0 has it, in JSON.
func cloudEvent(e shownEntry) any {
	kind := "commit"
	if len(e.Types) == 1 {
		kind = e.Types[0]
	}
	subject := "organisation"
	if e.Project != "" {
		subject = "projects/" + e.Project
	}
	return map[string]any{
		"specversion": "1.0", "id": e.CommitID, "source": "/flagledger/" + subject, "type": "flagledger." + kind, "subject": subject,
		"time": e.Time, "datacontenttype": "application/json", "sequence": strconv.FormatUint(e.Position, 10), "data": e,
	}
}

// csvExporter writes a line per changed object.
type csvExporter struct{ w *csv.Writer }

func newCSVExporter(w io.Writer) exporter {
	x := &csvExporter{csv.NewWriter(w)}
	_ = x.w.Write([]string{ // an error stays, and flush returns it
		"position", "recorded_at", "project", "actor_kind", "actor_id", "actor_name", "source", "reason", "ticket", "ip", "user_agent", "object", "action", "sentence", "before", "after",
	})
	return x
}

func (x *csvExporter) write(e shownEntry) error {
	for _, c := range e.Changes {
		line := []string{
			strconv.FormatUint(e.Position, 10), e.RecordedAt.Format(time.RFC3339Nano), e.Project, e.Actor.Kind, e.Actor.ID, e.Actor.Name,
			string(e.Source), e.Reason, e.Ticket, e.Client.IP, e.Client.UserAgent, c.Object, c.Action, c.Sentence, string(c.Before), string(c.After),
		}
		for i, cell := range line {
			if cell != "" && strings.ContainsRune("=+-@\t\r", rune(cell[0])) {
				line[i] = "'" + cell // spreadsheets would take it for a formula
			}
		}
		if err := x.w.Write(line); err != nil {
			return err
		}
	}
	return nil
}

func (x *csvExporter) flush() error {
	x.w.Flush()
	return x.w.Error()
}
