package main

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"

	"flagledger/domain"
	"flagledger/eventstore"
	"flagledger/eventstore/backup"
	"flagledger/eventstore/identities"
	httpapi "flagledger/http"
	"flagledger/migrations"
	"flagledger/projections"
)

// aDay is as long as restoring may take.
const aDay = 24 * time.Hour

func (c *client) backupCommand() *cobra.Command {
	var to, keys string
	cmd := &cobra.Command{
		Use:   "backup --to FILE [--keys FILE]",
		Short: "Write all that the server has to a file, while it runs",
		Long: "Write the log and what is kept beside it to a file. Nothing in it tells who the persons are: that is in the file of keys, which is to be kept " +
			"apart. Keep the newest file of keys only: who is erased is gone from the backups when the older ones are. Needs a token that may do everything.",
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if to == "" {
				return usageError{errors.New("there is no file to write to: give --to FILE")}
			}
			if err := requirePlaces(to, keys); err != nil {
				return usageError{err}
			}
			for _, part := range []struct {
				path string
				kind backup.Kind
			}{{to, backup.Log}, {keys, backup.Keys}} {
				if part.path == "" {
					continue
				}
				file, err := c.download(cmd.Context(), part.path, part.kind)
				if err != nil {
					return err
				}
				if err := describe(cmd.OutOrStdout(), part.path, file.Manifest); err != nil {
					return errors.Join(err, file.Close())
				}
				if err := file.Close(); err != nil {
					return fmt.Errorf("close %s: %w", part.path, err)
				}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&to, "to", "", "file to write; one that is there is replaced when the new one is whole")
	cmd.Flags().StringVar(&keys, "keys", "", "file to write the keys of persons to")
	return cmd
}

// requirePlaces refuses files that cannot be written, and one file for both: the
// second backup would replace the first.
func requirePlaces(to, keys string) error {
	for _, path := range []string{to, keys} {
		if path == "" {
			continue
		}
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			return fmt.Errorf("%s is a directory: name the file to write, such as %s", path, filepath.Join(path, "backup.zip"))
		}
		if info, err := os.Stat(filepath.Dir(path)); err != nil || !info.IsDir() {
			return fmt.Errorf("there is no directory %s to write %s into", filepath.Dir(path), filepath.Base(path))
		}
	}
	if keys != "" && sameFile(to, keys) {
		return fmt.Errorf("--to and --keys are both %s: the keys of persons belong into a file of their own, which is kept apart", to)
	}
	return nil
}

// sameFile tells whether both are one file, or would be, by whatever names and links.
func sameFile(a, b string) bool {
	infoA, errA := os.Stat(a)
	infoB, errB := os.Stat(b)
	if errA == nil && errB == nil && os.SameFile(infoA, infoB) {
		return true
	}
	dirA, errA := os.Stat(filepath.Dir(a))
	dirB, errB := os.Stat(filepath.Dir(b))
	return errA == nil && errB == nil && os.SameFile(dirA, dirB) && filepath.Base(a) == filepath.Base(b)
}

// download writes a backup to a file, which is there only when it is whole.
func (c *client) download(ctx context.Context, path string, kind backup.Kind) (*backup.File, error) {
	body, err := c.send(ctx, call{path: "/admin/v1/backup", query: url.Values{"kind": {string(kind)}}})
	if err != nil {
		return nil, err
	}
	defer func() { _ = body.Close() }()
	part := path + ".part"
	out, err := os.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("write the backup: %w", err)
	}
	_, err = io.Copy(out, body)
	if err := errors.Join(err, out.Sync(), out.Close()); err != nil {
		return nil, errors.Join(fmt.Errorf("the backup is not complete: %w", err), os.Remove(part))
	}
	file, err := backup.Open(part, kind)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("the backup is not complete: %w", err), os.Remove(part))
	}
	if err := os.Rename(part, path); err != nil {
		return nil, errors.Join(fmt.Errorf("write the backup: %w", err), file.Close(), os.Remove(part))
	}
	return file, nil
}

// describe prints what is in a backup.
func describe(out io.Writer, path string, m backup.Manifest) error {
	bytes, messages := int64(0), uint64(0)
	for _, s := range m.Streams {
		n, _ := s.Messages()
		bytes, messages = bytes+s.Bytes, messages+n
	}
	_, err := fmt.Fprintf(out, "%s: %s, %d streams, %d messages, %d bytes\n", path, m.Kind, len(m.Streams), messages, bytes)
	if h := m.History; h != nil && err == nil {
		_, err = fmt.Fprintf(out, "  up to position %d, root %s, %d versions\n", h.Position, h.Root, h.Versions)
	}
	return err
}

// historyOf is what the log comes to in the views, as of a position.
func historyOf(views *projections.Views, position uint64) (backup.History, error) {
	root, err := views.TreeRoot(position)
	if err != nil {
		return backup.History{}, err
	}
	versions, digest, err := views.VersionsDigest(position)
	return backup.History{Position: position, Root: base64.StdEncoding.EncodeToString(root[:]), Versions: versions, Digest: digest}, err
}

// A logPlace is where a log is: of the commands that work on it without a server.
type logPlace struct {
	dataDir, natsURL, natsCreds, natsCA string
	replicas                            int
}

func (p *logPlace) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&p.dataDir, "data-dir", "data", "directory of the views and the embedded log")
	f.StringVar(&p.natsURL, "nats-url", "", "NATS cluster with JetStream; empty: embedded")
	f.StringVar(&p.natsCreds, "nats-creds", "", "file with the credentials of a NATS user")
	f.StringVar(&p.natsCA, "nats-ca", "", "file with the certificates to trust for tls://")
	f.IntVar(&p.replicas, "replicas", 0, "NATS servers that hold the log; 0: 1 embedded, 3 in a cluster")
	cmd.PreRunE = fromEnvironment(f)
}

func (p *logPlace) options(logger *slog.Logger) eventstore.Options {
	o := eventstore.Options{URL: p.natsURL, CredentialsFile: p.natsCreds, CAFile: p.natsCA, Replicas: p.replicas, Logger: logger}
	if o.URL == "" {
		o.Dir = p.dataDir
	}
	return o
}

func (p *logPlace) views() string { return filepath.Join(p.dataDir, "views.db") }

func restoreCommand() *cobra.Command {
	var at logPlace
	var from, keys string
	cmd := &cobra.Command{
		Use:   "restore --from FILE [--keys FILE]",
		Short: "Bring a backup back, into an empty data directory or NATS cluster",
		Long: "Bring a backup back, with the positions and times of all commits, and make sure that it comes to the history that it was made of. Without the " +
			"file of keys nobody knows the persons in it. Persons whose erasure is in the log are erased again.",
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if from == "" {
				return usageError{errors.New("there is no file to restore: give --from FILE")}
			}
			return restore(cmd.Context(), at, from, keys, cmd.OutOrStdout(), quietLogger(cmd.ErrOrStderr()))
		},
	}
	at.flags(cmd)
	cmd.Flags().StringVar(&from, "from", "", "the backup")
	cmd.Flags().StringVar(&keys, "keys", "", "the file of keys of that backup, or of a later one")
	return cmd
}

// quietLogger tells what went wrong on the way.
func quietLogger(w io.Writer) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

func restore(ctx context.Context, at logPlace, from, keys string, out io.Writer, logger *slog.Logger) (err error) {
	if err := requireNoData(at.dataDir); err != nil {
		return err
	}
	log, err := backup.Open(from, backup.Log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	var persons *backup.File
	if keys != "" {
		if persons, err = backup.Open(keys, backup.Keys); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, persons.Close()) }()
	}
	o := at.options(logger)
	o.StartTimeout = aDay
	o.Prepare = func(ctx context.Context, js jetstream.JetStream, _ int) error {
		err := backup.RequireEmpty(ctx, js)
		for ; err != nil && !errors.Is(err, backup.ErrNotEmpty) && ctx.Err() == nil; err = backup.RequireEmpty(ctx, js) {
			logger.Warn("NATS is not ready, trying again", "error", err)
			pause(ctx)
		}
		return err
	}
	o.Restore = func(ctx context.Context, js jetstream.JetStream, replicas int) error {
		if persons != nil { // before the traits, which would be orphans
			if err := persons.Restore(ctx, js, replicas); err != nil {
				return err
			}
		}
		if err := log.Restore(ctx, js, replicas); err != nil || persons != nil {
			return err
		}
		logger.Warn("restored without keys: nobody is known, and overrides of identities apply to nobody")
		return identities.CreateStreams(ctx, js, replicas) // so that they do not count as lost
	}
	store, err := eventstore.Open(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	if err := describe(out, from, log.Manifest); err != nil {
		return err
	}
	if err := verifyRestored(ctx, at, store, *log.History, persons != nil, out, logger); err != nil {
		return err
	}
	if err := store.FinishRestore(ctx); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "restored and verified: position, root and the digests of %d versions are those of the backup\n", log.History.Versions)
	return err
}

// verifyRestored makes the views of what was restored, compares them with what
// the backup says, and erases again who was erased.
func verifyRestored(ctx context.Context, at logPlace, store *eventstore.Store, want backup.History, withKeys bool, out io.Writer, logger *slog.Logger) (err error) {
	views, err := build(ctx, store, at.views(), out)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, views.Close()) }()
	found, err := historyOf(views, views.Position())
	if err != nil {
		return err
	}
	if found != want {
		return fmt.Errorf("what was restored is not what was backed up: it comes to %+v, the backup says %+v; do not use it", found, want)
	}
	if !withKeys {
		return nil
	}
	n, err := eraseAgain(ctx, store, views, logger)
	if err == nil && n > 0 {
		_, err = fmt.Fprintf(out, "%d persons whose erasure is in the log, and who came back with the keys, were erased again\n", n)
	}
	return err
}

// requireNoData refuses a data directory that is in use.
func requireNoData(dir string) error {
	if err := eventstore.RequireRestored(dir); err != nil {
		return err
	}
	for _, name := range []string{"nats", "views.db"} {
		_, err := os.Stat(filepath.Join(dir, name))
		if err == nil {
			return fmt.Errorf("the data directory %s is not empty: it has %s; restore into an empty one", dir, name)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("look into the data directory: %w", err)
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	return nil
}

// eraseAgain erases the persons whose erasure the log tells of and who are there
// all the same, and returns how many those were.
func eraseAgain(ctx context.Context, store *eventstore.Store, views *projections.Views, logger *slog.Logger) (n int, err error) {
	persons, err := identities.Open(ctx, store.JetStream(), identities.Options{Replicas: store.Replicas(), Logger: logger})
	if err != nil {
		return 0, fmt.Errorf("open identity store: %w", err)
	}
	defer func() { err = errors.Join(err, persons.Close(ctx)) }()
	err = store.Load(ctx, 1, func(m eventstore.Message) error {
		rec, err := m.Decode()
		if err != nil {
			return err
		}
		for _, event := range rec.Events {
			e, ok := event.(domain.IdentityErased)
			if !ok {
				continue
			}
			for _, env := range views.Project(rec.Project).Environments.All() { // surrogates are unique
				existed, err := persons.EraseSurrogate(ctx, identities.EnvironmentToken(rec.Project, env.ID), e.Identity)
				if err != nil {
					return err
				}
				if existed {
					n++
				}
			}
		}
		return nil
	})
	return n, err
}

// decodedAhead is how many commits loadAhead has ready.
const decodedAhead = 16

// loadAhead calls apply for each commit of the log. The next ones are read and
// decoded meanwhile.
func loadAhead(ctx context.Context, store *eventstore.Store, apply func(domain.Recorded) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ahead, loaded := make(chan domain.Recorded, decodedAhead), make(chan error, 1)
	go func() {
		defer close(ahead)
		loaded <- store.Load(ctx, 1, func(m eventstore.Message) error {
			rec, err := m.Decode()
			if err != nil {
				return err
			}
			select {
			case ahead <- rec:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	var failed error
	for rec := range ahead { // to its end: who closes the store does it behind that
		if failed == nil {
			if failed = apply(rec); failed != nil {
				cancel()
			}
		}
	}
	return cmp.Or(failed, <-loaded)
}

// build makes the views from the whole log, into a file that does not exist.
func build(ctx context.Context, store *eventstore.Store, path string, out io.Writer) (*projections.Views, error) {
	views, err := projections.Open(path, projections.Options{Schema: migrations.SchemaVersion, Encode: httpapi.EncodeFlag, Upcast: upcast})
	if err != nil {
		return nil, err
	}
	end, err := store.LastPosition(ctx)
	if err != nil {
		return nil, errors.Join(err, views.Close())
	}
	if end > manyCommits {
		defer collectLess(catchingUp)()
	}
	begun, told := time.Now(), time.Now()
	err = loadAhead(ctx, store, func(rec domain.Recorded) error {
		if err := views.Apply(rec, end-min(rec.Position, end)); err != nil {
			return err
		}
		if time.Since(told) >= time.Second {
			told = time.Now()
			_, err = fmt.Fprintf(out, "views: %s\n", views.Progress())
		}
		return err
	})
	if err == nil {
		took := time.Since(begun)
		_, err = fmt.Fprintf(out, "views: %d commits in %v, %.0f commits/s\n", views.Position(), took.Round(time.Millisecond), float64(views.Position())/took.Seconds())
	}
	if err != nil {
		return nil, errors.Join(err, views.Close())
	}
	return views, nil
}

func rebuildCommand() *cobra.Command {
	var at logPlace
	cmd := &cobra.Command{
		Use:   "rebuild",
		Short: "Make the views again from the log, while no server runs on the data directory",
		Args:  arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return rebuild(cmd.Context(), at, cmd.OutOrStdout(), quietLogger(cmd.ErrOrStderr()))
		},
	}
	at.flags(cmd)
	return cmd
}

// rebuild makes a new file beside the one that is there, and puts it in its
// place when it is complete.
func rebuild(ctx context.Context, at logPlace, out io.Writer, logger *slog.Logger) (err error) {
	if _, err := projections.Check(at.views(), migrations.SchemaVersion); errors.Is(err, projections.ErrInUse) {
		return fmt.Errorf("rebuild: stop the server first: %w", err)
	}
	if err := os.MkdirAll(at.dataDir, 0o700); err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	store, err := eventstore.Open(ctx, requireLog(at.options(logger)))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	fresh := at.views() + ".new"
	if err := os.Remove(fresh); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("rebuild: %w", err)
	}
	views, err := build(ctx, store, fresh, out)
	if err != nil {
		return err
	}
	h, err := historyOf(views, views.Position())
	if err := errors.Join(err, views.Close()); err != nil {
		return err
	}
	if err := os.Rename(fresh, at.views()); err != nil {
		return fmt.Errorf("rebuild: %w", err)
	}
	_, err = fmt.Fprintf(out, "%s: position %d, root %s, %d versions\n", at.views(), h.Position, h.Root, h.Versions)
	return err
}

// requireLog makes opening fail where there is no log, instead of creating one.
func requireLog(o eventstore.Options) eventstore.Options {
	o.Prepare = func(ctx context.Context, js jetstream.JetStream, _ int) error {
		if _, err := js.Stream(ctx, eventstore.Stream); err != nil {
			return fmt.Errorf("there is no log: %w", err)
		}
		return nil
	}
	return o
}
