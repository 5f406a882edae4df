package eventstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"flagledger/eventstore/streams"
)

// restoringStream is there in a cluster, and restoringFile in a data directory,
// from before the first stream of a backup is brought back until all of it was
// verified. A log that is cut short is a valid log: nothing in it tells.
const restoringStream = Stream + "_RESTORING"

func restoringFile(dir string) string { return filepath.Join(dir, "nats", "RESTORING") }

// ErrRestoring says that a restore into this place has not ended.
var ErrRestoring = errors.New("a restore has not ended here, so that what is here is not the whole log")

// RequireRestored refuses a data directory into which a restore has not ended, with
// ErrRestoring and what to do.
func RequireRestored(dir string) error {
	_, err := os.Stat(restoringFile(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look into the data directory: %w", err)
	}
	return fmt.Errorf("data directory %s: %w: wait for it if it still runs; else delete the directory and restore again", dir, ErrRestoring)
}

// requireRestored is RequireRestored for a cluster.
func requireRestored(ctx context.Context, js jetstream.JetStream) error {
	_, err := streams.Ask(ctx, func(ctx context.Context) (jetstream.Stream, error) { return js.Stream(ctx, restoringStream) })
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("see whether a restore has ended: %w", err)
	}
	return fmt.Errorf("the cluster has the stream %s: %w: wait for it if it still runs; else delete all streams whose names begin with %s and restore again",
		restoringStream, ErrRestoring, Stream)
}

// markDir writes the mark of a data directory.
func markDir(dir string) error {
	path := restoringFile(dir)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("begin to restore: %w", err)
	}
	text := fmt.Sprintf("A restore began here at %s. While this file is here it has not ended, and what is here is not whole.\n", time.Now().UTC().Format(time.RFC3339))
	if err := errors.Join(os.WriteFile(path, []byte(text), 0o600), syncPath(path), syncPath(filepath.Dir(path)), syncPath(dir)); err != nil {
		return fmt.Errorf("begin to restore: %w", err)
	}
	return nil
}

// markCluster creates the mark of a cluster.
func markCluster(ctx context.Context, js jetstream.JetStream, replicas int) error {
	_, err := streams.Open(ctx, js, jetstream.StreamConfig{
		Name: restoringStream, Description: "A restore that began at " + time.Now().UTC().Format(time.RFC3339) + " has not ended.",
		Storage: jetstream.FileStorage, Replicas: replicas,
	})
	if err != nil {
		return fmt.Errorf("begin to restore: %w", err)
	}
	return nil
}

// restore marks a cluster and calls Options.Restore. A data directory is marked
// before its server starts.
func (s *Store) restore(ctx context.Context, o Options) error {
	if s.embedded == nil {
		if err := markCluster(ctx, s.js, s.replicas); err != nil {
			return err
		}
	}
	return o.Restore(ctx, s.js, s.replicas)
}

// FinishRestore says that what Options.Restore brought back is whole, and closes
// the store. Before that nobody else can open it.
func (s *Store) FinishRestore(ctx context.Context) error {
	if s.embedded == nil {
		_, err := streams.Ask(ctx, func(ctx context.Context) (struct{}, error) {
			err := s.js.DeleteStream(ctx, restoringStream)
			if errors.Is(err, jetstream.ErrStreamNotFound) {
				err = nil // by a try whose answer was lost
			}
			return struct{}{}, err
		})
		if err != nil {
			err = fmt.Errorf("end the restore: %w", err)
		}
		return errors.Join(err, s.Close())
	}
	if err := s.Close(); err != nil {
		return err
	}
	// What NATS takes out of a snapshot it does not sync.
	err := filepath.WalkDir(filepath.Join(s.dir, "nats"), func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return syncPath(path)
	})
	if err == nil {
		err = errors.Join(os.Remove(restoringFile(s.dir)), syncPath(filepath.Dir(restoringFile(s.dir))))
	}
	if err != nil {
		return fmt.Errorf("end the restore: %w", err)
	}
	return nil
}

// syncPath makes a file durable, or what a directory lists, where a directory can
// be synced.
func syncPath(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	mode := os.O_RDWR
	if info.IsDir() {
		if runtime.GOOS == "windows" {
			return nil
		}
		mode = os.O_RDONLY
	}
	f, err := os.OpenFile(path, mode, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
