// Package backup writes the streams of Flagledger to one file and brings them
// back, with the sequences and times of their messages.
//
// A file is a zip archive: the snapshot that NATS makes of each stream, and at
// the end a manifest with what they must come to. NATS makes snapshots of a
// stream that is written to; the log is the first, so that what it refers to is
// in those that follow.
//
// There are two kinds. The file of the log has everything but the records of
// persons and the peppers of environments; nothing in it tells who anybody is.
// Those two are in the file of keys, which is to be kept apart, and not for long:
// a person who is erased is gone from the backups when the files of keys are gone
// that were made before. The log is restored without them, or with newer ones.
package backup

import (
	"archive/zip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"flagledger/eventstore"
	"flagledger/eventstore/identities"
	"flagledger/eventstore/streams"
)

// A Kind says what a file holds.
type Kind string

// The kinds of files.
const (
	Log  Kind = "log"
	Keys Kind = "keys"
)

// format is the number of the layout of the file.
const format = 1

const manifestName = "manifest.json"

// maxManifest is how large a manifest may be, in bytes: some kilobytes for each of
// a handful of streams, and much room.
const maxManifest = 16 << 20

// Manifest says what is in a file, and what the log comes to when it is replayed.
type Manifest struct {
	Format  int       `json:"format"`
	Kind    Kind      `json:"kind"`
	Created time.Time `json:"created"`
	Program string    `json:"program"` // version of Flagledger
	Streams []Stream  `json:"streams"`
	History *History  `json:"history,omitempty"` // in the file of the log
}

// History is what the log comes to.
type History struct {
	Position uint64 `json:"position"`
	Root     string `json:"root"` // of the transparency log with so many leaves, base64
	Versions int    `json:"versions"`
	Digest   string `json:"digest"` // over number, position and digest of all versions of all environments
}

// Stream is one stream in a file.
type Stream struct {
	Name   string          `json:"name"`
	Config json.RawMessage `json:"config"`
	State  json.RawMessage `json:"state"`
	Bytes  int64           `json:"bytes"`
	SHA256 string          `json:"sha256"`
}

// Messages is how many messages the stream has, and the sequence of the last.
func (s Stream) Messages() (messages, last uint64) {
	var state struct {
		Messages uint64 `json:"messages"`
		Last     uint64 `json:"last_seq"`
	}
	_ = json.Unmarshal(s.State, &state) // what is not there is 0, and refused by who needs it
	return state.Messages, state.Last
}

// names are the streams that belong into a file of the kind, the log first.
func names(ctx context.Context, js jetstream.JetStream, kind Kind) ([]string, error) {
	all, err := streams.Ask(ctx, func(ctx context.Context) (all []string, err error) {
		list := js.StreamNames(ctx)
		for name := range list.Name() {
			isKey := name == identities.PersonsStream || name == identities.PeppersStream
			if strings.HasPrefix(name, eventstore.Stream) && isKey == (kind == Keys) {
				all = append(all, name)
			}
		}
		if err := list.Err(); !errors.Is(err, jetstream.ErrEndOfData) {
			return all, err
		}
		return all, nil
	})
	if err != nil {
		return nil, fmt.Errorf("list streams: %w", err)
	}
	// The log sorts before what has its name in front, and peppers, which come to
	// be before persons do, must be fetched after them.
	slices.Sort(all)
	slices.SortStableFunc(all, func(a, b string) int {
		switch {
		case a == identities.PeppersStream:
			return 1
		case b == identities.PeppersStream:
			return -1
		}
		return 0
	})
	return all, nil
}

// Write writes a file of the kind to w. For the file of the log, replayed tells
// what it comes to as of a position.
func Write(ctx context.Context, js jetstream.JetStream, w io.Writer, kind Kind, program string, replayed func(context.Context, uint64) (History, error)) error {
	all, err := names(ctx, js, kind)
	if err != nil {
		return fmt.Errorf("back up: %w", err)
	}
	m := Manifest{Format: format, Kind: kind, Created: time.Now().UTC(), Program: program}
	archive := zip.NewWriter(w)
	for _, name := range all {
		entry, err := archive.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Store, Modified: m.Created}) // NATS compresses it
		if err != nil {
			return fmt.Errorf("back up stream %s: %w", name, err)
		}
		sum := &summed{w: entry, hash: sha256.New()}
		s, err := fetch(ctx, js.Conn(), name, sum)
		if err != nil {
			return fmt.Errorf("back up stream %s: %w", name, err)
		}
		m.Streams = append(m.Streams, Stream{name, s.Config, s.State, sum.bytes, hex.EncodeToString(sum.hash.Sum(nil))})
		if name == eventstore.Stream {
			_, last := m.Streams[len(m.Streams)-1].Messages()
			h, err := replayed(ctx, last)
			if err != nil {
				return fmt.Errorf("back up: what the log comes to at position %d: %w", last, err)
			}
			m.History = &h
		}
	}
	if kind == Log && m.History == nil {
		return errors.New("back up: there is no log")
	}
	entry, err := archive.Create(manifestName)
	if err != nil {
		return fmt.Errorf("back up: %w", err)
	}
	if err := errors.Join(json.NewEncoder(entry).Encode(m), archive.Close()); err != nil {
		return fmt.Errorf("back up: %w", err)
	}
	return nil
}

// summed writes, and knows the sum of what it wrote.
type summed struct {
	w     io.Writer
	hash  hash.Hash
	bytes int64
}

func (s *summed) Write(b []byte) (int, error) {
	_, _ = s.hash.Write(b) // never fails
	s.bytes += int64(len(b))
	return s.w.Write(b)
}

// A File is a whole file of the kind that was asked for.
type File struct {
	Manifest
	file    *os.File
	entries map[string]*zip.File
}

// Open reads the whole file and refuses one that was cut or altered, or that is
// of another kind or made by a later program.
func Open(path string, kind Kind) (*File, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open backup: %w", err)
	}
	f := &File{file: file, entries: map[string]*zip.File{}}
	if err := f.check(kind); err != nil {
		return nil, errors.Join(fmt.Errorf("backup %s: %w", path, err), file.Close())
	}
	return f, nil
}

func (f *File) check(kind Kind) error {
	info, err := f.file.Stat()
	if err != nil {
		return err
	}
	archive, err := zip.NewReader(f.file, info.Size())
	if err != nil {
		return fmt.Errorf("it is cut or altered, or no backup: %w", err)
	}
	for _, entry := range archive.File {
		f.entries[entry.Name] = entry
	}
	manifest := f.entries[manifestName]
	if manifest == nil {
		return errors.New("it is no backup of Flagledger: it has no manifest")
	}
	if err := f.read(manifest, func(r io.Reader) error {
		text, err := io.ReadAll(io.LimitReader(r, maxManifest+1)) // to its checksum
		if err == nil && len(text) > maxManifest {
			err = fmt.Errorf("it is larger than %d bytes", maxManifest)
		}
		if err != nil {
			return err
		}
		return json.Unmarshal(text, &f.Manifest)
	}); err != nil {
		return fmt.Errorf("its manifest is cut or altered: %w", err)
	}
	if f.Format != format {
		return fmt.Errorf("it has the format %d; this program knows %d, and it was made by version %s", f.Format, format, f.Program)
	}
	if f.Kind != kind {
		return fmt.Errorf("it is one of kind %q, not %q", f.Kind, kind)
	}
	if kind == Log && (f.History == nil || len(f.Streams) == 0 || f.Streams[0].Name != eventstore.Stream) {
		return errors.New("there is no log in it")
	}
	for _, s := range f.Streams {
		entry := f.entries[s.Name]
		if entry == nil {
			return fmt.Errorf("stream %s is missing in it", s.Name)
		}
		// What is stored as it is cannot be more than the file is.
		if entry.Method != zip.Store || s.Bytes < 0 || entry.UncompressedSize64 != uint64(s.Bytes) || s.Bytes > info.Size() {
			return fmt.Errorf("stream %s is altered: it is not stored as the %d bytes that the manifest says", s.Name, s.Bytes)
		}
		sum := &summed{w: io.Discard, hash: sha256.New()}
		err := f.read(entry, func(r io.Reader) error {
			_, err := io.Copy(sum, io.LimitReader(r, s.Bytes+1))
			return err
		})
		if err != nil {
			return fmt.Errorf("stream %s is cut or altered: %w", s.Name, err)
		}
		if found := hex.EncodeToString(sum.hash.Sum(nil)); found != s.SHA256 || sum.bytes != s.Bytes {
			return fmt.Errorf("stream %s is altered: it has %d bytes of SHA-256 %s, the manifest says %d of %s", s.Name, sum.bytes, found, s.Bytes, s.SHA256)
		}
	}
	return nil
}

func (f *File) read(entry *zip.File, do func(io.Reader) error) error {
	r, err := entry.Open()
	if err != nil {
		return err
	}
	return errors.Join(do(r), r.Close())
}

// Close closes the file.
func (f *File) Close() error { return f.file.Close() }

// ErrNotEmpty says that there are streams of Flagledger already.
var ErrNotEmpty = errors.New("the place to restore to is not empty")

// RequireEmpty refuses a place that already has streams of Flagledger, with
// ErrNotEmpty.
func RequireEmpty(ctx context.Context, js jetstream.JetStream) error {
	for _, kind := range []Kind{Log, Keys} {
		there, err := names(ctx, js, kind)
		if err != nil {
			return err
		}
		if len(there) > 0 {
			return fmt.Errorf("%w: it has the stream %s", ErrNotEmpty, there[0])
		}
	}
	return nil
}

// Restore creates the streams of the file, each on so many servers, and makes
// sure that they have the messages they had.
func (f *File) Restore(ctx context.Context, js jetstream.JetStream, replicas int) error {
	for _, s := range f.Streams {
		err := f.read(f.entries[s.Name], func(r io.Reader) error {
			return put(ctx, js.Conn(), s.Name, snapshot{s.Config, s.State}, replicas, r)
		})
		if err != nil {
			return fmt.Errorf("restore stream %s: %w", s.Name, err)
		}
		stream, err := streams.Ask(ctx, func(ctx context.Context) (jetstream.Stream, error) { return js.Stream(ctx, s.Name) })
		if err != nil {
			return fmt.Errorf("restore stream %s: %w", s.Name, err)
		}
		messages, last := s.Messages()
		// Messages whose time is over may end right away.
		if st := stream.CachedInfo().State; st.LastSeq != last || st.Msgs != messages && stream.CachedInfo().Config.MaxAge == 0 {
			return fmt.Errorf("restore stream %s: it has %d messages up to %d; the backup has %d up to %d", s.Name, st.Msgs, st.LastSeq, messages, last)
		}
	}
	return nil
}
