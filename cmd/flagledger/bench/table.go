package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/prometheus/procfs"
)

// A table is what a run found, a line for each figure: what was measured, the
// figure, what it is compared with, the ratio of the two, and what was aimed at.
type table struct {
	lines [][5]string
	out   io.Writer // where each line is told as soon as it is known
}

func (t *table) add(what, got, reference, ratio, target string) {
	t.lines = append(t.lines, [5]string{what, got, reference, ratio, target})
	_, _ = fmt.Fprintf(t.out, "%s: %s (%s; %s; target %s)\n", what, got, reference, ratio, target)
}

// compared adds a line on which the figure is seen beside a reference.
func (t *table) compared(what, target string, got, reference float64, format func(float64) string) {
	t.add(what, format(got), format(reference), fmt.Sprintf("%.2f x", got/reference), target)
}

func (t *table) markdown() string {
	var b strings.Builder
	b.WriteString("| What | Flagledger | Compared with | Ratio | Target |\n|---|---|---|---|---|\n")
	for _, line := range t.lines {
		fmt.Fprintf(&b, "| %s |\n", strings.Join(line[:], " | "))
	}
	return b.String()
}

// machine says where and when something was measured.
func machine(now time.Time) string {
	model := "unknown processor"
	if fs, err := procfs.NewDefaultFS(); err == nil {
		if cpus, err := fs.CPUInfo(); err == nil && len(cpus) > 0 {
			model = cpus[0].ModelName
		}
	}
	return fmt.Sprintf("%s, %d x %s, %s, %s", now.UTC().Format(time.DateOnly), runtime.NumCPU(), model, runtime.GOOS, runtime.Version())
}

// put makes a text the one of that name in the files that are to be updated.
func (o options) put(name, text string) error {
	var errs []error
	for file := range strings.SplitSeq(o.update, ",") {
		if file != "" {
			errs = append(errs, replace(file, name, text))
		}
	}
	return errors.Join(errs...)
}

// replace puts a text between the marks of the given name in a file.
func replace(file, name, text string) error {
	old, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	begin, end := fmt.Appendf(nil, "<!-- %s -->\n", name), fmt.Appendf(nil, "<!-- end of %s -->", name)
	before, rest, ok := bytes.Cut(old, begin)
	_, after, closed := bytes.Cut(rest, end)
	if !ok || !closed {
		return fmt.Errorf("%s has no place for the table: it wants the lines %q and %q", file, bytes.TrimSpace(begin), end)
	}
	return os.WriteFile(file, bytes.Join([][]byte{before, begin, []byte(text), end, after}, nil), 0o644)
}

func micros(f float64) string { return fmt.Sprintf("%.1f us", f) }

func perSecond(f float64) string { return grouped(int(f)) + "/s" }

// grouped writes a number with commas.
func grouped(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func mebibytes(bytes int) string { return fmt.Sprintf("%.0f MiB", float64(bytes)/(1<<20)) }

// short writes a duration with three digits or so.
func short(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return fmt.Sprintf("%d us", d.Microseconds())
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%.2f ms", d.Seconds()*1e3)
	case d < time.Second:
		return fmt.Sprintf("%.0f ms", d.Seconds()*1e3)
	default:
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
}
