package eventstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"flagledger/eventstore/blocks"
)

// MaxPayload is the size of the largest message the embedded server takes, in
// bytes, headers included.
const MaxPayload = 8 << 20

// An embedded server is NATS inside this process: no port, no account, one
// directory that nobody else has.
type embedded struct {
	nats    *server.Server
	lock    dirLock
	suspect atomic.Bool // not healthy when last asked

	damage   atomic.Pointer[blocks.Damage] // of the files, as found while the server runs
	checking context.CancelFunc
	checked  sync.WaitGroup
}

// startEmbedded locks the data directory, sees that no restore into it was cut
// short, that the files of the streams are as they were written and that the log
// goes to where it is known to, and starts a server on them. From then on it looks
// at the files again and again, in such intervals.
func startEmbedded(ctx context.Context, o Options, log *slog.Logger) (*embedded, error) {
	dir := o.Dir
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	if err = RequireRestored(dir); err == nil && o.Restore != nil {
		err = markDir(dir)
	}
	if err != nil {
		return nil, errors.Join(err, lock.unlock())
	}
	if err := removeProbes(filepath.Join(dir, "nats", "jetstream")); err != nil {
		return nil, errors.Join(err, lock.unlock())
	}
	if err := prepareFiles(ctx, dir, o.Known(), log); err != nil {
		return nil, errors.Join(fmt.Errorf("open the log in %s: %w", dir, err), lock.unlock())
	}
	s, err := server.NewServer(&server.Options{
		ServerName: "flagledger",
		DontListen: true,
		NoSigs:     true,
		MaxPayload: MaxPayload,
		JetStream:  true,
		StoreDir:   filepath.Join(dir, "nats"),
		// Without it an acknowledged commit, and even the stream, can be gone
		// after a power cut: the default is to sync every two minutes.
		SyncAlways:             true,
		DisableJetStreamBanner: true,
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("configure embedded NATS: %w", err), lock.unlock())
	}
	e := &embedded{nats: s, lock: lock}
	logger := &natsLogger{log: log}
	s.SetLoggerV2(logger, false, false, false) // Start already logs
	s.Start()
	// Start returns nothing; a failure shows up only in the log and in what is
	// not running afterwards.
	if !s.ReadyForConnections(30*time.Second) || !s.JetStreamEnabled() {
		reason := "not ready"
		if fatal := logger.fatal.Load(); fatal != nil {
			reason = *fatal
		}
		return nil, errors.Join(fmt.Errorf("start embedded NATS in %s: %s", dir, reason), e.stop())
	}
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	e.checking = cancel
	e.checked.Go(func() { e.keepChecking(running, dir, o.CheckInterval, o.Known, log) })
	return e, nil
}

// removeProbes removes what a server leaves that is killed while it tries, at its
// start, whether it can write: the next one would take it for an account, and
// never be healthy.
func removeProbes(dir string) error {
	probes, err := filepath.Glob(filepath.Join(dir, "_test_*"))
	for _, probe := range probes {
		err = errors.Join(err, os.RemoveAll(probe))
	}
	if err != nil {
		return fmt.Errorf("clear up after a start of NATS that was cut short: %w", err)
	}
	return nil
}

// stop ends the server, which writes its index, and only then lets others in.
func (e *embedded) stop() error {
	if e.checking != nil {
		e.checking()
		e.checked.Wait()
	}
	e.nats.Shutdown()
	e.nats.WaitForShutdown()
	return e.lock.unlock()
}

// health says why the server cannot record anything now, or nil. After a full
// disk or a failed write NATS stays this way until it is started anew.
//
// A stream that is being created is a folder before it is a stream, which NATS
// takes for one that could not be recovered: so what is wrong is asked again.
func (e *embedded) health() error {
	if damage := e.damage.Load(); damage != nil {
		return damage
	}
	h := e.nats.Healthz(&server.HealthzOptions{})
	for again := 0; h.Error != "" && again < 5; again++ {
		time.Sleep(50 * time.Millisecond)
		h = e.nats.Healthz(&server.HealthzOptions{})
	}
	e.suspect.Store(h.Error != "")
	if h.Error != "" {
		return fmt.Errorf("embedded NATS: %s; restart when the cause is removed", h.Error)
	}
	return nil
}

// A natsLogger passes what the server logs on to slog. Its notices are details
// of a part, hence debug for the whole.
type natsLogger struct {
	log   *slog.Logger
	fatal atomic.Pointer[string]
}

func (l *natsLogger) write(level slog.Level, format string, args []any) {
	if l.log.Enabled(context.Background(), level) {
		l.log.Log(context.Background(), level, "nats: "+fmt.Sprintf(format, args...))
	}
}

func (l *natsLogger) Noticef(format string, args ...any) { l.write(slog.LevelDebug, format, args) }
func (l *natsLogger) Warnf(format string, args ...any)   { l.write(slog.LevelWarn, format, args) }
func (l *natsLogger) Errorf(format string, args ...any)  { l.write(slog.LevelError, format, args) }
func (l *natsLogger) Debugf(format string, args ...any)  { l.write(slog.LevelDebug, format, args) }
func (l *natsLogger) Tracef(format string, args ...any)  { l.write(slog.LevelDebug, format, args) }

// Fatalf is where the server says why it does not start. Unlike its own logger
// this one does not end the process.
func (l *natsLogger) Fatalf(format string, args ...any) {
	l.fatal.Store(new(fmt.Sprintf(format, args...)))
	l.write(slog.LevelError, format, args)
}
