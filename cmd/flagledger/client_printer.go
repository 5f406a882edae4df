package main

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/mattn/go-isatty"

	"flagledger/domain"
)

// A printer writes answers as text, in colours where somebody looks at it. What
// it writes of an answer cannot steer a terminal: a reason or a name may come
// from anybody. The first error stays, and flush returns it.
type printer struct {
	w      *bufio.Writer
	colour bool
	err    error // of what was to be written
}

// A colour is what selects it on a terminal.
type colour string

const (
	plain colour = ""
	bold  colour = "\x1b[1m"
	red   colour = "\x1b[31m"
	green colour = "\x1b[32m"
)

func newPrinter(w io.Writer) *printer {
	return &printer{w: bufio.NewWriter(w), colour: onTerminal(w) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
}

// onTerminal tells whether a stream is a terminal.
func onTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && isatty.IsTerminal(f.Fd())
}

// clean writes what would steer a terminal, or end the line, as Go does.
func clean(s string) string {
	if strings.IndexFunc(s, steers) < 0 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if steers(r) {
			fmt.Fprintf(&b, "\\u%04x", r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

func steers(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) }

// line writes a line.
func (p *printer) line(c colour, format string, args ...any) {
	text := clean(fmt.Sprintf(format, args...))
	if p.colour && c != plain {
		text = string(c) + text + "\x1b[0m"
	}
	_, _ = p.w.WriteString(text + "\n")
}

// table writes rows below a header, in columns. Each line is indented.
func (p *printer) table(indent string, header []string, rows [][]string) {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, row := range append([][]string{header}, rows...) {
		cells := make([]string, len(row))
		for i, cell := range row {
			cells[i] = clean(cell)
		}
		_, _ = fmt.Fprintln(w, strings.Join(cells, "\t")) // into memory
	}
	_ = w.Flush()
	c := bold
	for line := range strings.Lines(b.String()) {
		p.line(c, "%s", strings.TrimRight(indent+line, " \n"))
		c = plain
	}
}

// raw writes an answer as it came.
func (p *printer) raw(answer []byte) { _, _ = p.w.Write(append(bytes.TrimRight(answer, "\n"), '\n')) }

func (p *printer) flush() error {
	if err := cmp.Or(p.err, p.w.Flush()); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

// diff is in what two images of an object differ; of an object that came or
// went, all that it has.
func (p *printer) diff(before, after json.RawMessage) []domain.Difference {
	all, err := domain.Diff(orEmpty(before), orEmpty(after))
	p.err = cmp.Or(p.err, err)
	return all
}

func orEmpty(image json.RawMessage) json.RawMessage {
	if len(image) == 0 || string(image) == "null" {
		return json.RawMessage("{}")
	}
	return image
}

// differences writes a line for each difference.
func (p *printer) differences(all []domain.Difference) {
	for _, d := range all {
		c := plain
		switch d.Op {
		case domain.OpAdded:
			c = green
		case domain.OpRemoved:
			c = red
		}
		p.line(c, "  %s", difference(d))
	}
}

// difference words one difference; + is added, - removed, ~ changed, > moved.
func difference(d domain.Difference) string {
	switch {
	case d.Op == domain.OpAdded:
		return fmt.Sprintf("+ %s: %s", d.Path, d.To)
	case d.Op == domain.OpRemoved:
		return fmt.Sprintf("- %s: %s", d.Path, d.From)
	case d.Op == domain.OpMoved && d.From != nil:
		return fmt.Sprintf("> %s: from %s, place %d, to place %d", d.Path, d.From, d.FromPlace, d.ToPlace)
	case d.Op == domain.OpMoved:
		return fmt.Sprintf("> %s: place %d to %d", d.Path, d.FromPlace, d.ToPlace)
	}
	return fmt.Sprintf("~ %s: %s to %s", d.Path, orNone(d.From), orNone(d.To))
}

func orNone(value json.RawMessage) string {
	if len(value) == 0 {
		return "none"
	}
	return string(value)
}

// when writes a time to the second. To ask for exactly what a commit led to, its
// position is the better name.
func when(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// onOff words a state.
func onOff(enabled bool) string {
	if enabled {
		return "on"
	}
	return "off"
}

// actorName is what people call an actor.
func actorName(a domain.Actor) string {
	if a.Name != "" {
		return a.Name
	}
	return a.Kind + " " + a.ID
}
