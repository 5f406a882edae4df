package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/tlog"

	"flagledger/domain/transparency"
	"flagledger/eventstore"
	"flagledger/eventstore/blocks"
	"flagledger/eventstore/checkpoints"
	"flagledger/eventstore/identities"
	"flagledger/eventstore/streams"
	"flagledger/migrations"
	"flagledger/projections"
)

// A finding is what the doctor says of one thing.
type finding struct {
	Check  string `json:"check"`
	Status string `json:"status"` // ok, warning, failed, skipped
	Detail string `json:"detail"`
	Advice string `json:"advice,omitempty"` // what to do
}

const (
	wellStatus    = "ok"
	warningStatus = "warning"
	failedStatus  = "failed"
	skippedStatus = "skipped"
)

// What is little space: NATS stops by itself some time before a disk is full.
const (
	littleSpace     = 1 << 30
	tooLittleSpace  = 128 << 20
	clockDifference = 5 * time.Second // of two machines

	// noMore is how long the next commit of the log may take before it is got by
	// itself, to see whether it can be read. Where it can, twice as long may pass
	// the next time, up to noLonger: the machine had other things to do.
	noMore, noLonger = 5 * time.Second, 5 * time.Minute
)

// errUnwell makes the exit status 1; all is said already.
var errUnwell = errors.New("something is wrong")

// A doctor looks at a data directory, or a cluster and the views of a process,
// and changes nothing.
type doctor struct {
	at       logPlace
	findings []finding
	patience time.Duration // see noMore
	inUse    bool          // a server runs on the data directory
	views    projections.FileInfo
	viewsErr error
	logRead  bool
	end      uint64    // of the log
	root     tlog.Hash // of the log at the position of the views, as computed from what it holds
}

func doctorCommand() *cobra.Command {
	d := &doctor{patience: noMore}
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check log, views, disk, clock and file modes, and say what to do; exit status 1 when something is wrong",
		Long: "Check log, views, disk, clock and file modes, and say what to do. It changes nothing: the embedded log is copied to the directory for temporary " +
			"files and read there. While a server runs on the data directory, the files of the log are compared with their sums, and the rest is told by its /readyz.",
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			d.examine(cmd.Context())
			return d.report(cmd.OutOrStdout(), asJSON)
		},
	}
	d.at.flags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the findings as JSON")
	return cmd
}

func (d *doctor) say(check, status, detail, advice string) {
	d.findings = append(d.findings, finding{check, status, detail, advice})
}

func (d *doctor) report(out io.Writer, asJSON bool) (err error) {
	failed := false
	for _, f := range d.findings {
		failed = failed || f.Status == failedStatus
		if asJSON {
			continue
		}
		text := fmt.Sprintf("%-8s %-6s %s\n", f.Status, f.Check, f.Detail)
		if f.Advice != "" {
			text += fmt.Sprintf("%-15s   -> %s\n", "", f.Advice)
		}
		if _, e := io.WriteString(out, text); e != nil {
			return e
		}
	}
	if asJSON {
		if err := json.NewEncoder(out).Encode(map[string]any{"ok": !failed, "findings": d.findings}); err != nil {
			return err
		}
	}
	if failed {
		return errUnwell
	}
	return nil
}

func (d *doctor) examine(ctx context.Context) {
	if !d.checkDirectory() {
		return
	}
	d.checkDisk()
	d.views, d.viewsErr = projections.Check(d.at.views(), migrations.SchemaVersion)
	d.checkServer()
	if err := d.checkLog(ctx); err != nil {
		d.say("log", failedStatus, err.Error(), adviceFor(err))
	}
	d.checkViews()
}

// adviceFor says what to do about what is wrong with the log.
func adviceFor(err error) string {
	if strings.Contains(err.Error(), "there is no log") {
		return "is it the right --data-dir or --nats-url? A first start makes a log; what is lost comes back with flagledger restore"
	}
	return "stop the server, keep a copy of the data directory, and restore the newest backup into an empty one (flagledger restore)"
}

// checkDirectory looks at the data directory and the modes of its files.
func (d *doctor) checkDirectory() bool {
	info, err := os.Stat(d.at.dataDir)
	if err != nil || !info.IsDir() {
		d.say("files", failedStatus, fmt.Sprintf("there is no data directory %s", d.at.dataDir), "give the right one with --data-dir")
		return false
	}
	open := 0
	example, files := "", 0
	err = filepath.WalkDir(d.at.dataDir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		files++
		// What is in a directory that nobody else can enter is safe.
		if path == d.at.dataDir || filepath.Dir(path) == d.at.dataDir && !entry.IsDir() {
			if info.Mode().Perm()&0o077 != 0 && runtime.GOOS != "windows" {
				open++
				example = fmt.Sprintf("%s has mode %04o", path, info.Mode().Perm())
			}
		}
		return nil
	})
	switch {
	case err != nil:
		d.say("files", failedStatus, err.Error(), "give this user the right to read the data directory, or run as the user of the server")
	case open > 0:
		d.say("files", warningStatus, fmt.Sprintf("others can get at %d files, such as: %s", open, example), fmt.Sprintf("chmod -R go= %s", d.at.dataDir))
	default:
		d.say("files", wellStatus, fmt.Sprintf("%d files in %s, for this user alone", files, d.at.dataDir), "")
	}
	return true
}

func (d *doctor) checkDisk() {
	free, total, err := diskSpace(d.at.dataDir)
	if err != nil {
		d.say("disk", warningStatus, fmt.Sprintf("free space is not known: %v", err), "")
		return
	}
	detail, room := fmt.Sprintf("%d MiB of %d MiB are free", free>>20, total>>20), free
	if d.at.natsURL == "" {
		var used uint64
		_ = filepath.WalkDir(filepath.Join(d.at.dataDir, "nats"), func(_ string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return nil // what cannot be read is told of with the files
			}
			if info, err := entry.Info(); err == nil {
				used += uint64(info.Size())
			}
			return nil
		})
		// What NATS takes by default: three quarters of what it has and what is free.
		room = (used+free)/4*3 - min(used, (used+free)/4*3)
		detail = fmt.Sprintf("the log and what is beside it take %d MiB; %s, of which NATS would use %d MiB", used>>20, detail, room>>20)
	}
	const advice = "make room: NATS stops recording before the disk is full, and goes on after a restart"
	switch {
	case room < tooLittleSpace:
		d.say("disk", failedStatus, detail, advice)
	case room < littleSpace || free < total/20:
		d.say("disk", warningStatus, detail, advice)
	default:
		d.say("disk", wellStatus, detail, "")
	}
}

// checkServer finds out whether one runs here.
func (d *doctor) checkServer() {
	if holder := eventstore.InUse(d.at.dataDir); holder != "" {
		d.inUse = true
		d.say("server", wellStatus, fmt.Sprintf("%s runs on %s", holder, d.at.dataDir), "")
		return
	}
	if errors.Is(d.viewsErr, projections.ErrInUse) {
		d.inUse = true
		d.say("server", wellStatus, "a server runs on "+d.at.dataDir, "")
		return
	}
	d.say("server", wellStatus, "none runs on "+d.at.dataDir, "")
}

// checkLog reads the whole log.
func (d *doctor) checkLog(ctx context.Context) (err error) {
	at := d.at
	if at.natsURL == "" {
		source := filepath.Join(at.dataDir, "nats")
		if _, err := os.Stat(source); err != nil {
			return fmt.Errorf("there is no log in %s", at.dataDir)
		}
		if err := d.checkFiles(ctx); err != nil {
			return err
		}
		if d.inUse {
			d.say("log", skippedStatus, "commits cannot be replayed, nor compared with the views, while the server runs",
				"ask the server for /readyz; or stop it and ask again; or check a backup (flagledger backup)")
			d.say("clock", skippedStatus, "it is compared with the newest commit when no server runs", "")
			return nil
		}
		scratch, copied := os.MkdirTemp("", "flagledger-doctor-")
		if copied == nil {
			defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
			copied = os.CopyFS(filepath.Join(scratch, "nats"), os.DirFS(source))
		}
		if copied != nil {
			d.say("log", skippedStatus, fmt.Sprintf("there is no room for a copy: %v", copied), "set TMPDIR to a directory with as much room as "+source+" takes")
			return nil
		}
		at.dataDir = scratch
	}
	o := requireLog(at.options(slog.New(slog.DiscardHandler)))
	o.StartTimeout = 10 * time.Second
	store, err := eventstore.Open(ctx, o)
	if errors.Is(err, jetstream.ErrStreamNotFound) && at.natsURL == "" && hasBlocks(d.at.dataDir) {
		d.say("log", warningStatus, "the commits are there, but NATS cannot read the description of their stream (meta.inf)",
			"look at the disk, keep a copy of the data directory, and start the server: it makes the description again, and goes on with all commits")
		o.Prepare = nil
		store, err = eventstore.Open(ctx, o)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	var newest time.Time
	var tree transparency.Frontier
	for {
		reading, cancel := context.WithCancel(ctx)
		stuck := time.AfterFunc(d.patience, cancel) // a server does not deliver what it cannot read, and does not say so
		err = store.Load(reading, d.end+1, func(m eventstore.Message) error {
			stuck.Reset(d.patience)
			rec, err := m.Decode()
			if err != nil {
				return err
			}
			if rec.RecordedAt.Before(newest) {
				return fmt.Errorf("position %d was recorded at %s, before position %d", rec.Position, rec.RecordedAt.Format(time.RFC3339Nano), rec.Position-1)
			}
			newest, d.end = rec.RecordedAt, rec.Position
			tree.Append(rec.LeafHash)
			if rec.Position == d.views.Position {
				d.root = tree.Root()
			}
			return nil
		})
		stuck.Stop()
		late := reading.Err() != nil && ctx.Err() == nil
		cancel()
		if err == nil {
			break
		}
		if !late {
			return err
		}
		if _, unreadable := store.Get(ctx, d.end+1); unreadable != nil {
			err = unreadable
		} else if d.patience *= 2; d.patience <= noLonger {
			continue
		}
		return fmt.Errorf("position %d cannot be read: %w", d.end+1, err)
	}
	d.logRead = true
	d.say("log", wellStatus, fmt.Sprintf("%d commits without a gap, root %s", d.end, tree.Root()), "")
	d.checkBeside(ctx, store.JetStream())
	if ahead := time.Until(newest); ahead > clockDifference {
		d.say("clock", failedStatus, fmt.Sprintf("it is %v behind the newest commit, of %s", ahead.Round(time.Second), newest.Format(time.RFC3339)), "set the clock of this machine (NTP)")
	} else if d.end > 0 {
		d.say("clock", wellStatus, fmt.Sprintf("the newest commit is of %s", newest.Format(time.RFC3339)), "")
	}
	return nil
}

// hasBlocks tells whether there are files with commits.
func hasBlocks(dataDir string) bool {
	found, err := filepath.Glob(filepath.Join(blocks.Dir(filepath.Join(dataDir, "nats"), eventstore.Stream), "msgs", "*.blk"))
	return err == nil && len(found) > 0
}

// checkFiles compares the files of the embedded log with their sums, whether a
// server runs or not.
func (d *doctor) checkFiles(ctx context.Context) error {
	minor := ""
	err := eventstore.CheckFiles(ctx, d.at.dataDir, d.views.Position, func(damage *blocks.Damage) { minor = damage.Error() })
	switch {
	case err != nil:
		return err
	case minor != "":
		d.say("sums", warningStatus, minor, "nothing: it holds counts or looks, and what cannot be read of them is lost. But look at the disk")
	default:
		d.say("sums", wellStatus, "the files of the log and of what is beside it are as they were written", "")
	}
	return nil
}

// checkBeside looks at the streams beside the log.
func (d *doctor) checkBeside(ctx context.Context, js jetstream.JetStream) {
	var names, there []string
	list := js.ListStreams(ctx)
	for info := range list.Info() {
		names = append(names, info.Config.Name)
		if info.Config.Name != eventstore.Stream && strings.HasPrefix(info.Config.Name, eventstore.Stream) {
			there = append(there, fmt.Sprintf("%s %d", strings.ToLower(strings.TrimPrefix(info.Config.Name, eventstore.Stream+"_")), info.State.Msgs))
		}
	}
	if err := list.Err(); err != nil && !errors.Is(err, jetstream.ErrEndOfData) {
		d.say("beside", failedStatus, fmt.Sprintf("the streams beside the log cannot be read: %v", err), adviceFor(err))
		return
	}
	for _, name := range []string{identities.PeppersStream, identities.PersonsStream, identities.TraitsStream, checkpoints.Stream} {
		if d.end == 0 || slices.Contains(names, name) {
			continue
		}
		if name == checkpoints.Stream { // made before the first key is
			if _, err := os.Stat(keyFile("", d.at.dataDir)); err != nil {
				continue
			}
		}
		d.say("beside", failedStatus, (&streams.LostError{Stream: name}).Error(),
			"restore the newest backup; where there is none, flagledger serve --accept-lost-streams makes it again, empty: what it told is not known any more")
	}
	d.say("beside", wellStatus, "messages in the streams beside the log: "+strings.Join(there, ", "), "")
}

// checkViews verifies the file of the views, and that it is of this log.
func (d *doctor) checkViews() {
	const again = "flagledger rebuild, or just start the server: it makes them again from the log"
	v, err := d.views, d.viewsErr
	switch {
	case errors.Is(err, fs.ErrNotExist):
		d.say("views", warningStatus, "there are none", again)
	case errors.Is(err, projections.ErrInUse):
		d.say("views", skippedStatus, "they cannot be read while the server runs", "ask the server for /readyz; it verifies them at its start and once a day")
	case err != nil:
		d.say("views", failedStatus, err.Error(), again)
	case v.Schema != migrations.SchemaVersion:
		d.say("views", warningStatus, fmt.Sprintf("they have schema %d, this program has %d", v.Schema, migrations.SchemaVersion), again)
	case !d.logRead:
		d.say("views", wellStatus, fmt.Sprintf("whole, at position %d; not compared with the log", v.Position), "")
	case v.Position > d.end:
		d.say("views", failedStatus, fmt.Sprintf("they are at position %d, and the log ends at %d: it is another log, or an older copy", v.Position, d.end),
			"find out which of the two is right before you start the server; flagledger rebuild makes views of this log")
	case v.Position > 0 && v.Root != d.root:
		d.say("views", failedStatus, fmt.Sprintf("the transparency log has the root %s at position %d in them, and %s in the log: the log was altered, or it is another one", v.Root, v.Position, d.root),
			"do not go on: compare both with a checkpoint kept elsewhere, and with a backup")
	case v.Position < d.end:
		d.say("views", wellStatus, fmt.Sprintf("whole, at position %d of %d, with the root of the log; the server will catch up", v.Position, d.end), "")
	default:
		d.say("views", wellStatus, fmt.Sprintf("whole, at position %d, with the root of the log", v.Position), "")
	}
}
