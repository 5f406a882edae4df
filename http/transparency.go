package httpapi

import (
	"context"
	"fmt"
	"iter"
	"net/http"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"flagledger/domain"
	"flagledger/domain/transparency"
)

// Transparency is the signed side of the log; the tree itself is in the views.
type Transparency interface {
	// Checkpoint returns one of all that is visible.
	Checkpoint(context.Context) (transparency.Signed, error)
	// Checkpoints gives those that were signed, oldest first.
	Checkpoints(context.Context) iter.Seq2[string, error]
	// Keys are those to verify with.
	Keys() []LogKey
	// Leaves gives the commits from one position to another as they stand in the
	// log, and ends with the first error of its own or of each.
	Leaves(ctx context.Context, from, to uint64, each func(transparency.Leaf) error) error
}

// LogKey is a public key that checkpoints can be verified with.
type LogKey struct {
	Vkey  string    `json:"vkey"`
	Own   bool      `json:"own"` // of the process that answers
	Until time.Time `json:"until,omitzero"`
	Size  uint64    `json:"size"` // of the largest checkpoint it has signed
}

type logKeys struct {
	Items []LogKey `json:"items"`
}

// inclusion is the proof that a commit is in the log. Hashes are in base64.
type inclusion struct {
	Position uint64   `json:"position"`
	Size     uint64   `json:"size"`
	LeafHash string   `json:"leaf_hash"`
	Root     string   `json:"root"`
	Proof    []string `json:"proof"`
}

// consistency is the proof that one log begins with another.
type consistency struct {
	From     uint64   `json:"from"`
	To       uint64   `json:"to"`
	FromRoot string   `json:"from_root"`
	ToRoot   string   `json:"to_root"`
	Proof    []string `json:"proof"`
}

// checkpoint makes one, or refuses while there can be none.
func (r *request) checkpoint() (transparency.Signed, error) {
	if r.server.Transparency == nil {
		return transparency.Signed{}, domain.Refuse(domain.Unavailable, "this process signs no checkpoints")
	}
	signed, err := r.server.Transparency.Checkpoint(r.Request().Context())
	if err != nil {
		r.server.Logger.WarnContext(r.Request().Context(), "no checkpoint", "error", err)
		return transparency.Signed{}, domain.Refuse(domain.Unavailable, "no checkpoint can be signed now; /readyz and the log of the process tell why")
	}
	return signed, nil
}

// getCheckpoint answers with the signed note itself, as C2SP has it.
func (s *Server) getCheckpoint(r *request) error {
	signed, err := r.checkpoint()
	if err != nil {
		return err
	}
	r.Response().Header().Set("Flagledger-Position", strconv.FormatUint(signed.Size, 10))
	return r.Blob(http.StatusOK, "text/plain; charset=utf-8", []byte(signed.Note))
}

// listLogKeys answers with the keys to verify checkpoints with.
func (s *Server) listLogKeys(r *request) error {
	answer := logKeys{Items: []LogKey{}}
	if s.Transparency != nil {
		answer.Items = append(answer.Items, s.Transparency.Keys()...)
	}
	return r.show(0, answer)
}

// positionParam reads a position from the query; 0 where it is left out.
func (r *request) positionParam(name string) (uint64, error) {
	text := r.QueryParam(name)
	if text == "" {
		return 0, nil
	}
	position, err := strconv.ParseUint(text, 10, 63)
	if err != nil || position == 0 {
		return 0, domain.RefuseField(domain.Malformed, name, "%.40q is not a position, which is a number from 1 on", text)
	}
	return position, nil
}

// positions reads two positions; the second is the newest where it is left out.
func (r *request) positions(first, last string) (a, b uint64, err error) {
	if a, err = r.positionParam(first); err != nil {
		return 0, 0, err
	}
	if a == 0 {
		return 0, 0, domain.RefuseField(domain.Malformed, first, "this needs %s, a position", first)
	}
	if b, err = r.positionParam(last); err != nil {
		return 0, 0, err
	}
	if b == 0 {
		b = r.server.Views.Position()
	}
	return a, b, nil
}

// proveInclusion proves that a commit is in the log.
func (s *Server) proveInclusion(r *request) error {
	position, size, err := r.positions("position", "size")
	if err != nil {
		return err
	}
	proof, err := s.Views.ProveInclusion(position, size)
	if err != nil {
		return err
	}
	leaves, err := s.Views.LeafHashes(position, 1)
	if err != nil {
		return err
	}
	root, err := s.Views.TreeRoot(size)
	if err != nil {
		return err
	}
	return r.show(0, inclusion{position, size, leaves[0].String(), root.String(), list(proof)})
}

// proveConsistency proves that the log begins with what it was.
func (s *Server) proveConsistency(r *request) error {
	from, to, err := r.positions("from", "to")
	if err != nil {
		return err
	}
	proof, err := s.Views.ProveConsistency(from, to)
	if err != nil {
		return err
	}
	fromRoot, err := s.Views.TreeRoot(from)
	if err != nil {
		return err
	}
	toRoot, err := s.Views.TreeRoot(to)
	if err != nil {
		return err
	}
	return r.show(0, consistency{from, to, fromRoot.String(), toRoot.String(), list(proof)})
}

// list is never null in JSON.
func list(hashes []tlog.Hash) []string {
	all := make([]string, len(hashes))
	for i, h := range hashes {
		all[i] = h.String()
	}
	return all
}

// hashesAhead is how many leaf hashes an export reads at once.
const hashesAhead = 1000

// exportLog streams commits as they stand in the log, with what is needed to
// verify them without a server. An error on the way ends the answer early, and
// the export without its last line.
func (s *Server) exportLog(r *request) error {
	from, err := r.positionParam("from")
	if err != nil {
		return err
	}
	to, err := r.positionParam("to")
	if err != nil {
		return err
	}
	signed, err := r.checkpoint()
	if err != nil {
		return err
	}
	if from == 0 {
		from = 1
	}
	if to == 0 {
		to = signed.Size
	}
	if to > signed.Size {
		return domain.RefuseField(domain.NotFound, "to", "the log has %d commits here, not %d", signed.Size, to)
	}
	if from > to {
		return domain.RefuseField(domain.Malformed, "from", "there is nothing from position %d to %d", from, to)
	}
	h := transparency.Header{From: from, To: to, Checkpoint: signed.Note}
	if h.Before, err = s.Views.Frontier(from - 1); err != nil {
		return err
	}
	if to < signed.Size {
		if h.Consistency, err = s.Views.ProveConsistency(to, signed.Size); err != nil {
			return err
		}
	}
	ctx := r.Request().Context()
	next, stop := iter.Pull2(s.Transparency.Checkpoints(ctx))
	defer stop()
	between := &betweenLeaves{next: next}
	if err := between.advance(from); err != nil { // before the answer begins, so that it can still be refused
		return unavailableNow(r, err)
	}

	r.Response().Header().Set("Content-Type", "application/x-ndjson")
	r.Response().Header().Set("Content-Disposition", `attachment; filename="flagledger-log.ndjson"`)
	x, err := transparency.NewExporter(r.patiently(), h)
	if err != nil {
		return nil // the client is gone
	}
	var hashes []tlog.Hash
	shown := map[string]bool{} // subjects of projects
	r.asOf = asOf(from) + ".." + asOf(to)
	err = s.Transparency.Leaves(ctx, from, to, func(leaf transparency.Leaf) error {
		if len(hashes) == 0 {
			if hashes, err = s.Views.LeafHashes(leaf.Position, hashesAhead); err != nil {
				return err
			}
		}
		if !shown[leaf.Subject] {
			shown[leaf.Subject] = true
			r.seesAllOf(s.Views.Project(leaf.Subject[strings.LastIndexByte(leaf.Subject, '.')+1:]))
			r.recordAccess() // now, for it may take long
		}
		if err := x.Leaf(leaf, hashes[0]); err != nil {
			return err
		}
		hashes = hashes[1:]
		return between.write(x, leaf.Position)
	})
	if err == nil {
		err = x.End()
	}
	if err != nil && ctx.Err() == nil {
		s.Logger.WarnContext(ctx, "an export of the log was cut off", "from", from, "to", to, "error", err)
		// Ended without its last line, and as a failed transfer where the protocol can say so.
		panic(http.ErrAbortHandler)
	}
	return nil
}

// unavailableNow refuses what the streams beside the views cannot give.
func unavailableNow(r *request, err error) error {
	r.server.Logger.WarnContext(r.Request().Context(), "read the checkpoints", "error", err)
	return domain.Refuse(domain.Unavailable, "the checkpoints cannot be read now; try again")
}

// betweenLeaves merges the checkpoints that were signed into an export.
type betweenLeaves struct {
	next   func() (string, error, bool)
	signed string // the next to write, "" at the end
	size   uint64
}

// advance goes to the next one of at least that size. Those of several processes
// do not come quite in the order of their sizes; what comes late is left out.
func (b *betweenLeaves) advance(size uint64) error {
	for {
		signed, err, more := b.next()
		if !more {
			b.signed = ""
			return nil
		}
		if err != nil {
			return err
		}
		c, err := transparency.ReadUnverified(signed)
		if err != nil {
			continue // no checkpoint; who follows the stream has said so
		}
		if c.Size >= size {
			b.signed, b.size = signed, c.Size
			return nil
		}
	}
}

// write writes those of the size.
func (b *betweenLeaves) write(x *transparency.Exporter, size uint64) error {
	for b.signed != "" && b.size <= size {
		if b.size == size {
			if err := x.Checkpoint(b.signed); err != nil {
				return err
			}
		}
		if err := b.advance(size); err != nil {
			return fmt.Errorf("read the checkpoints: %w", err)
		}
	}
	return nil
}
