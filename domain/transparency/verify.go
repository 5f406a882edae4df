package transparency

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// maxLine is how long a line of an export may be: a message of NATS with 8 MiB,
// each byte of it escaped.
const maxLine = 64 << 20

// A Finding is where an export is not what was signed.
type Finding struct {
	// First is the first position that was altered, dropped, inserted or moved; with
	// Last after it, it is one of those from First to Last, and all that there is
	// does not tell which.
	First, Last uint64
	Detail      string
}

// Error names the position and what is wrong there.
func (f *Finding) Error() string {
	if f.Last > f.First {
		return fmt.Sprintf("positions %d to %d: %s", f.First, f.Last, f.Detail)
	}
	return fmt.Sprintf("position %d: %s", f.First, f.Detail)
}

func findingAt(position uint64, format string, args ...any) *Finding {
	return &Finding{position, position, fmt.Sprintf(format, args...)}
}

// A Report says what an export was verified to be.
type Report struct {
	Origin      string
	From, To    uint64    // positions of the first and last commit
	Size        uint64    // of the log, as of the export's checkpoint
	Root        tlog.Hash // as of To
	First, Last time.Time // when the first and last commit were recorded
	// Checkpoints is how many checkpoints of the export held; Unknown, how many
	// were not looked at because keys that are not known signed them.
	Checkpoints, Unknown int
	// Since is how many older checkpoints held, SinceSize the size of the largest.
	Since     int
	SinceSize uint64
	// SinceCommits is how many commits are the same in an older export.
	SinceCommits uint64
}

// Since is what an auditor kept from earlier. The zero value is nothing.
type Since struct {
	roots   map[uint64]Signed // by size
	largest uint64
	export  io.ReadSeeker // verified; nil: there is none
	header  Header        // of it
}

// ErrSince says that what was kept cannot be compared with.
var ErrSince = errors.New("cannot compare with what was kept from earlier")

// ReadSince reads what was kept: one or more checkpoints, one behind the other,
// or an export, which is verified first. An error wraps ErrSince, or is of
// reading.
func ReadSince(kept io.ReadSeeker, keys note.Verifiers) (Since, error) {
	var first [1]byte
	if _, err := io.ReadFull(kept, first[:]); err != nil {
		return Since{}, fmt.Errorf("%w: there is nothing in it", ErrSince)
	}
	if _, err := kept.Seek(0, io.SeekStart); err != nil {
		return Since{}, fmt.Errorf("read what was kept: %w", err)
	}
	if first[0] == '{' {
		return readOlderExport(kept, keys)
	}
	s := Since{roots: map[uint64]Signed{}}
	var unknown error
	err := eachNote(kept, func(text string) error {
		c, err := OpenCheckpoint(text, keys)
		if errors.Is(err, ErrUnknownKey) {
			unknown = err
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w: %w", ErrSince, err)
		}
		if other, twice := s.roots[c.Size]; twice && other.Root != c.Root {
			return &Finding{1, c.Size, fmt.Sprintf("two checkpoints that were kept contradict each other, at size %d one has root %s and one %s: the log was forked", c.Size, other.Root, c.Root)}
		}
		s.add(c)
		return nil
	})
	if err == nil && len(s.roots) == 0 {
		if err = fmt.Errorf("%w: there is no checkpoint in it", ErrSince); unknown != nil {
			err = fmt.Errorf("%w: %w", ErrSince, unknown)
		}
	}
	return s, err
}

func (s *Since) add(c Signed) {
	s.roots[c.Size] = c
	s.largest = max(s.largest, c.Size)
}

func readOlderExport(kept io.ReadSeeker, keys note.Verifiers) (Since, error) {
	if _, err := Verify(kept, keys, Since{}); err != nil {
		return Since{}, fmt.Errorf("%w: the older export does not hold itself: %w", ErrSince, err)
	}
	if _, err := kept.Seek(0, io.SeekStart); err != nil {
		return Since{}, fmt.Errorf("read the older export: %w", err)
	}
	s := Since{roots: map[uint64]Signed{}, export: kept}
	h, err := newLineReader(kept).header()
	if err != nil {
		return Since{}, err
	}
	c, err := OpenCheckpoint(h.Checkpoint, keys)
	if err != nil {
		return Since{}, err
	}
	s.header = h
	s.add(c)
	_, err = kept.Seek(0, io.SeekStart)
	return s, err
}

// eachNote takes signed notes apart that stand one behind the other: each ends
// with its signatures, lines that begin with a dash.
func eachNote(r io.Reader, each func(string) error) error {
	in := bufio.NewReader(r)
	var text strings.Builder
	signed := false
	end := func() error {
		one := text.String()
		text.Reset()
		signed = false
		if strings.TrimSpace(one) == "" {
			return nil
		}
		return each(strings.TrimLeft(one, "\n"))
	}
	for {
		l, err := in.ReadString('\n')
		if text.Len()+len(l) > 1<<20 {
			return fmt.Errorf("%w: it has no checkpoints, nor is it an export", ErrSince)
		}
		signature := strings.HasPrefix(l, "— ")
		if signed && !signature {
			if err := end(); err != nil {
				return err
			}
		}
		signed = signed || signature
		text.WriteString(l)
		if errors.Is(err, io.EOF) {
			return end()
		}
		if err != nil {
			return fmt.Errorf("read the checkpoints: %w", err)
		}
	}
}

// A lineReader reads an export line by line.
type lineReader struct {
	in     *bufio.Reader
	number int // of the line read last
}

func newLineReader(r io.Reader) *lineReader { return &lineReader{in: bufio.NewReaderSize(r, 64<<10)} }

var errLine = errors.New("not a line of an export")

// read reads the next line into v; io.EOF behind the last. Only what an Exporter
// writes is a line, byte for byte: readers of JSON differ in what they make of
// members that are doubled, of another case or of escapes that stand for nothing,
// and what one of them shows must be what was verified.
func (r *lineReader) read(v interface{ asWritten() any }) error {
	r.number++
	var text []byte
	for {
		part, err := r.in.ReadSlice('\n')
		text = append(text, part...)
		if len(text) > maxLine {
			return fmt.Errorf("line %d is %w: it is longer than %d bytes", r.number, errLine, maxLine)
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if errors.Is(err, io.EOF) && len(text) == 0 {
			return io.EOF
		}
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("line %d is %w: it was cut off", r.number, errLine)
		}
		if err != nil {
			return fmt.Errorf("read the export: %w", err)
		}
		break
	}
	if err := parseLine(text, v); err != nil {
		return fmt.Errorf("line %d is %w: %w", r.number, errLine, err)
	}
	return nil
}

func parseLine(text []byte, v interface{ asWritten() any }) error {
	if len(bytes.TrimSpace(text)) == 0 {
		return errors.New("it is empty")
	}
	if err := json.Unmarshal(text, v); err != nil {
		return err
	}
	var want bytes.Buffer
	if err := newEncoder(&want).Encode(v.asWritten()); err != nil {
		return err
	}
	if bytes.Equal(text, want.Bytes()) {
		return nil
	}
	at := 0
	for at < min(len(text), want.Len()) && text[at] == want.Bytes()[at] {
		at++
	}
	return fmt.Errorf("it says more, or in another way, than an export is written: behind %d bytes comes %.40q, not %.40q; a reader of it may show what was not verified", at, text[at:], want.Bytes()[at:])
}

// header reads the first line.
func (r *lineReader) header() (Header, error) {
	var h Header
	err := r.read(&h)
	if errors.Is(err, io.EOF) {
		return h, errors.New("the export is empty")
	}
	if err == nil && h.Version != exportVersion {
		err = fmt.Errorf("the first line is not the header of an export: \"export\" is %.40q, not %q", h.Version, exportVersion)
	}
	if err == nil && (h.From < 1 || h.To < h.From || h.To > 1<<62) {
		err = fmt.Errorf("the header of the export has commits %d to %d", h.From, h.To)
	}
	return h, err
}

// A verification is under way.
type verification struct {
	keys    note.Verifiers
	since   Since
	older   *lineReader // the older export; nil: there is none
	header  Header
	final   Signed   // the checkpoint of the header
	problem *Finding // with that; told only when nothing earlier is found
	shorter *Finding // than what was kept; told likewise
	tree    Frontier // of the hashes that the export says the tree has
	// held and heldSince are the largest sizes at which a checkpoint of the export,
	// and one that was kept, were found to hold. Whoever has the key can sign anew
	// what stands in the export, but not what was kept.
	held, heldSince uint64
	report          Report
}

// Verify reads an export and holds it against the checkpoints in it and against
// what was kept from earlier. A *Finding says that the log is not what was signed
// and where; any other error, that it cannot be told. Memory does not grow with
// the export.
func Verify(export io.Reader, keys note.Verifiers, since Since) (Report, error) {
	in := newLineReader(export)
	h, err := in.header()
	if errors.Is(err, errLine) {
		return Report{}, &Finding{1, 1, err.Error()}
	}
	if err != nil {
		return Report{}, err
	}
	v := &verification{keys: keys, since: since, header: h, report: Report{From: h.From, To: h.To}}
	if err := v.begin(); err != nil {
		return Report{}, err
	}
	for v.tree.Size() < h.To {
		var l line
		err := in.read(&l)
		if next := v.tree.Size() + 1; errors.Is(err, io.EOF) {
			return Report{}, &Finding{next, h.To, fmt.Sprintf("dropped: the export ends behind position %d, but has to reach %d", next-1, h.To)}
		} else if errors.Is(err, errLine) {
			return Report{}, findingAt(next, "%v", err)
		}
		if err == nil {
			err = v.line(l)
		}
		if err != nil {
			return Report{}, err
		}
	}
	if err := v.checkpointsAtEnd(in); err != nil {
		return Report{}, err
	}
	if err := v.end(); err != nil {
		return Report{}, err
	}
	return v.report, nil
}

// begin looks at the header.
func (v *verification) begin() error {
	h := v.header
	var err error
	if v.tree, err = NewFrontier(h.From-1, h.Before); err != nil {
		return fmt.Errorf("the header of the export does not fit its first position %d: %w", h.From, err)
	}
	v.final, err = OpenCheckpoint(h.Checkpoint, v.keys)
	if err == nil && v.final.Size < h.To {
		err = fmt.Errorf("the checkpoint of the export covers %d commits, not %d", v.final.Size, h.To)
	}
	if err != nil {
		v.problem = &Finding{h.From, h.To, err.Error()}
	}
	v.report.Origin, v.report.Size = v.final.Origin, v.final.Size
	v.held = h.From - 1
	for _, size := range slices.Sorted(maps.Keys(v.since.roots)) {
		c := v.since.roots[size]
		switch {
		case v.problem == nil && c.Origin != v.final.Origin:
			return &Finding{1, 1, fmt.Sprintf("the export is of log %s, what was kept of %s: the log was replaced, or altered from its first commit on", v.final.Origin, c.Origin)}
		case v.problem == nil && size > v.final.Size:
			v.shorter = &Finding{v.final.Size + 1, size, fmt.Sprintf("dropped: the log of the export ends at position %d, but the checkpoint that was kept covers %d", v.final.Size, size)}
		case size > h.To:
			return fmt.Errorf("%w: it covers %d commits, and the export ends at %d; export to position %[2]d or further", ErrSince, size, h.To)
		case size < h.From-1 && size == v.since.largest:
			return fmt.Errorf("%w: it covers %d commits, and the export begins at position %d; export from position %d or before", ErrSince, size, h.From, size+1)
		}
	}
	if v.since.export != nil {
		v.older = newLineReader(v.since.export)
		if _, err := v.older.header(); err != nil {
			return err
		}
	}
	return v.compareSince()
}

// line looks at a line between the header and the last commit.
func (v *verification) line(l line) error {
	next := v.tree.Size() + 1
	switch {
	case l.Checkpoint != "" && l.Position == 0 && l.End == 0:
		return v.checkpoint(l.Checkpoint)
	case l.End != 0 || l.Checkpoint != "":
		return &Finding{next, v.header.To, fmt.Sprintf("dropped: the last line of the export comes behind position %d", next-1)}
	case l.Position > next:
		return &Finding{next, next, fmt.Sprintf("dropped or moved: behind position %d comes %d", next-1, l.Position)}
	case l.Position < next:
		return findingAt(next, "inserted or moved: behind position %d comes %d", next-1, l.Position)
	}
	leaf := l.leaf()
	own, recorded, err := parseLeaf(leaf)
	if err != nil {
		return findingAt(next, "altered: the leaf is none: %v", err)
	}
	if own != next {
		return findingAt(next, "altered, inserted or moved: the commit that stands here says of itself that it is at position %d", own)
	}
	if found := tlog.RecordHash(leaf); found != l.Hash {
		return findingAt(next, "altered, or another commit was put in its place: its hash is %s, in the tree it has %s", found, l.Hash)
	}
	if next == v.header.From {
		v.report.First = recorded
	}
	v.report.Last = recorded
	if err := v.compareOlder(next, l.Hash); err != nil {
		return err
	}
	v.tree.Append(l.Hash)
	return v.compareSince()
}

// checkpoint looks at one that was signed when the last commit read was the newest.
func (v *verification) checkpoint(signed string) error {
	c, err := OpenCheckpoint(signed, v.keys)
	size := v.tree.Size()
	switch {
	case errors.Is(err, ErrUnknownKey):
		v.report.Unknown++
		return nil
	case err != nil:
		return findingAt(size, "behind this commit stands a checkpoint that was altered: %v", err)
	case c.Size > size:
		return &Finding{size + 1, c.Size, fmt.Sprintf("dropped or moved: behind position %d stands the checkpoint of %d", size, c.Size)}
	case c.Size < size:
		return findingAt(size, "inserted or moved: behind this commit stands the checkpoint of position %d", c.Size)
	case v.problem == nil && c.Origin != v.final.Origin:
		return findingAt(size, "behind this commit stands a checkpoint of another log, %s", c.Origin)
	case c.Root != v.tree.Root():
		return v.differs(c, max(v.held, v.heldSince), "a checkpoint of the export")
	}
	v.held = size
	v.report.Checkpoints++
	return nil
}

// differs says that a checkpoint does not vouch for what was read, and that
// another one did up to a size.
func (v *verification) differs(c Signed, held uint64, which string) error {
	return &Finding{min(held+1, c.Size), c.Size, fmt.Sprintf("altered, dropped, inserted or moved: these commits have root %s at position %d, %s has %s", v.tree.Root(), c.Size, which, c.Root)}
}

// compareSince holds what was read against what was kept at this size.
func (v *verification) compareSince() error {
	c, kept := v.since.roots[v.tree.Size()]
	if !kept {
		return nil
	}
	if c.Root != v.tree.Root() {
		return v.differs(c, v.heldSince, "the checkpoint that was kept")
	}
	v.heldSince = c.Size
	v.report.Since++
	v.report.SinceSize = c.Size
	return nil
}

// compareOlder holds a commit against the older export.
func (v *verification) compareOlder(position uint64, hash tlog.Hash) error {
	if v.older == nil || position < v.since.header.From || position > v.since.header.To {
		return nil
	}
	for {
		var l line
		if err := v.older.read(&l); err != nil {
			return fmt.Errorf("%w: read the older export again: %w", ErrSince, err)
		}
		if l.Position < position {
			continue
		}
		if l.Position != position || l.Hash != hash {
			return findingAt(position, "altered, dropped, inserted or moved: the older export has another commit here, of hash %s instead of %s", l.Hash, hash)
		}
		v.report.SinceCommits++
		return nil
	}
}

// checkpointsAtEnd reads what stands behind the last commit.
func (v *verification) checkpointsAtEnd(in *lineReader) error {
	to := v.header.To
	for {
		var l line
		err := in.read(&l)
		switch {
		case errors.Is(err, io.EOF):
			return findingAt(to, "the export was cut behind this commit: its last line is missing")
		case errors.Is(err, errLine):
			return findingAt(to, "behind this commit: %v", err)
		case err != nil:
			return err
		case l.Checkpoint != "" && l.Position == 0 && l.End == 0:
			if err := v.checkpoint(l.Checkpoint); err != nil {
				return err
			}
			continue
		case l.Position != 0 || l.End != to:
			return findingAt(to+1, "inserted: the export has to end behind position %d, and goes on", to)
		}
		if err := in.read(&l); errors.Is(err, errLine) {
			return findingAt(to+1, "inserted: behind the end of the export, %v", err)
		} else if !errors.Is(err, io.EOF) {
			return findingAt(to+1, "inserted: line %d stands behind the end of the export", in.number)
		}
		return nil
	}
}

// end holds the whole against the checkpoint of the header.
func (v *verification) end() error {
	if v.problem != nil {
		v.problem.First = min(max(v.problem.First, v.held+1, v.heldSince+1), v.problem.Last)
		v.problem.Detail = "nothing that is known here vouches for them: " + v.problem.Detail
		return v.problem
	}
	root := v.tree.Root()
	v.report.Root = root
	if v.header.To == v.final.Size {
		if root != v.final.Root {
			return v.differs(v.final, max(v.held, v.heldSince), "the checkpoint of the export")
		}
		if len(v.header.Consistency) > 0 {
			return &Finding{v.header.From, v.header.To, fmt.Sprintf("inserted: line 1, the header, has a proof of consistency (%d hashes), where the checkpoint is of these very commits and there is nothing to prove", len(v.header.Consistency))}
		}
	} else if err := tlog.CheckTree(v.header.Consistency, int64(v.final.Size), v.final.Root, int64(v.header.To), root); err != nil {
		return &Finding{min(max(v.held, v.heldSince)+1, v.header.To), v.header.To, fmt.Sprintf("altered, dropped, inserted or moved: the log of the export's checkpoint does not begin with these commits, or the proof that it does was altered: %v", err)}
	}
	if v.shorter != nil {
		return v.shorter
	}
	v.report.Checkpoints++
	return nil
}
