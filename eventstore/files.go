package eventstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"flagledger/eventstore/access"
	"flagledger/eventstore/blocks"
	"flagledger/eventstore/identities"
	"flagledger/eventstore/usage"
)

// dispensable are the streams that may lose their end: of counts and of looks.
// What an embedded server cuts off them is logged.
var dispensable = []string{usage.Stream, access.Stream}

// secrets are the streams whose deleted messages must not be found in any file.
var secrets = []string{identities.PersonsStream, identities.PeppersStream}

// CheckFiles reads the files of all streams in a data directory, and compares
// them with their sums: with [*blocks.Damage] as the error they are not what was
// written. Damage of a stream that can be done without is no error, and told to
// minor. The log is known to go to a position at least, such as that of the views,
// which have nothing that was not recorded. The directory may be in use. Into which
// a restore has not ended: ErrRestoring.
func CheckFiles(ctx context.Context, dir string, known uint64, minor func(*blocks.Damage)) error {
	if err := RequireRestored(dir); err != nil {
		return err
	}
	if err := checkLogFiles(ctx, dir, known); err != nil {
		return err
	}
	return eachBeside(dir, minor, func(_, path string) error { return blocks.Check(ctx, path) })
}

func checkLogFiles(ctx context.Context, dir string, known uint64) error {
	return blocks.CheckLog(ctx, blocks.Dir(filepath.Join(dir, "nats"), Stream), known)
}

// eachBeside visits the folders of our streams beside the log in a data directory.
func eachBeside(dir string, minor func(*blocks.Damage), visit func(name, path string) error) error {
	parent := filepath.Dir(blocks.Dir(filepath.Join(dir, "nats"), Stream))
	entries, err := os.ReadDir(parent)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list the streams: %w", err)
	}
	for _, entry := range entries {
		name := entry.Name()
		if !entry.IsDir() || !strings.HasPrefix(name, Stream+"_") {
			continue
		}
		err := visit(name, filepath.Join(parent, name))
		if damage, ok := errors.AsType[*blocks.Damage](err); ok && slices.Contains(dispensable, name) {
			minor(damage)
		} else if err != nil {
			return err
		}
	}
	return nil
}

// prepareFiles does what must be done before a server opens the files. One that
// was not stopped would cut off a damaged one at the damage, with all that
// follows, so then there is to be none. And what is deleted and should have been
// overwritten, when a server was killed, is overwritten now.
func prepareFiles(ctx context.Context, dir string, known uint64, log *slog.Logger) error {
	if err := checkLogFiles(ctx, dir, known); err != nil {
		return err
	}
	minor := func(damage *blocks.Damage) {
		log.Error("a stream is damaged that can be done without; NATS may cut it off there", "error", damage)
	}
	return eachBeside(dir, minor, func(name, path string) error {
		if !slices.Contains(secrets, name) {
			return blocks.Check(ctx, path)
		}
		n, err := blocks.Scrub(ctx, path)
		if n > 0 {
			log.Info("messages are overwritten that had only been deleted", "stream", name, "messages", n)
		}
		return err
	})
}

const checkInterval = 24 * time.Hour

// keepChecking looks at the files until the context ends, or they are damaged.
func (e *embedded) keepChecking(ctx context.Context, dir string, interval time.Duration, known func() uint64, log *slog.Logger) {
	if interval <= 0 {
		interval = checkInterval
	}
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		err := CheckFiles(ctx, dir, known(), func(damage *blocks.Damage) {
			log.Error("a stream is damaged that can be done without", "error", damage)
		})
		if damage, ok := errors.AsType[*blocks.Damage](err); ok {
			e.damage.Store(damage)
			log.Error("the files of the log are damaged; what to do is in docs/operations.md", "error", damage)
			return
		}
		if err != nil && ctx.Err() == nil {
			log.Warn("the files of the log could not be checked", "error", err)
		}
	}
}
