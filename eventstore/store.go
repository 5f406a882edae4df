package eventstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Options say where the log is. The zero value is not enough: give Dir or URL.
type Options struct {
	// Dir is the data directory of the embedded server, which is used when URL
	// is empty. It is created where it does not exist, and locked.
	Dir string

	// URL names a NATS cluster with JetStream: one or several URLs with commas
	// between them, nats:// or tls://, with user and password where needed.
	URL string
	// CredentialsFile holds the JWT and seed of a NATS user. Optional.
	CredentialsFile string
	// CAFile holds the certificates, in PEM, to trust for tls://. Optional.
	CAFile string

	// Replicas is how many servers hold the log. 0: 1 embedded, 3 at a URL.
	Replicas int
	// StartTimeout is how long Open waits for a cluster to be ready. 0: 30 s.
	StartTimeout time.Duration
	// AppendTimeout is how long Append tries, an election of the cluster
	// included. 0: 10 s.
	AppendTimeout time.Duration
	// Prepare, if any, is called when the server is reached, before the log is
	// opened or created: to restore it, or to make sure that it is there. It gets
	// on how many servers the log is to be.
	Prepare func(ctx context.Context, js jetstream.JetStream, replicas int) error
	// Restore, if any, is called after Prepare, to bring the streams of a backup
	// back. From before it until [Store.FinishRestore], also when the process is
	// killed meanwhile, no other Open takes the place for a log: ErrRestoring.
	Restore func(ctx context.Context, js jetstream.JetStream, replicas int) error
	// CheckInterval is how often the files of an embedded server are read and
	// compared with their sums. 0: once a day.
	CheckInterval time.Duration
	// Known tells up to which position the log of an embedded server is known to
	// go: one that ends before has lost its end, and is damaged. nil: it is not known.
	Known func() uint64
	// Logger gets what goes wrong with the connection and the server. nil: nobody does.
	Logger *slog.Logger
}

// Store is the log. Its methods may be used at the same time.
type Store struct {
	embedded      *embedded // nil with a cluster
	dir           string    // of the embedded server
	address       string    // of the cluster, without secrets
	nats          *nats.Conn
	js            jetstream.JetStream
	stream        jetstream.Stream
	replicas      int
	appendTimeout time.Duration
	log           *slog.Logger
	close         func() error
}

// Open starts or connects to the server, creates the log where there is none
// and verifies that it is fit to keep history: an unfit one is an error that
// lists each property that differs. While a cluster is not ready, Open tries
// again until StartTimeout is over.
func Open(ctx context.Context, o Options) (*Store, error) {
	if (o.Dir == "") == (o.URL == "") {
		return nil, fmt.Errorf("%w: want either a data directory or the URL of a NATS cluster", errOptions)
	}
	address, err := redacted(o.URL)
	if err != nil {
		return nil, err
	}
	s := &Store{dir: o.Dir, address: address, replicas: o.Replicas, appendTimeout: o.AppendTimeout, log: o.Logger}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.appendTimeout == 0 {
		s.appendTimeout = 10 * time.Second
	}
	if s.replicas == 0 {
		s.replicas = 3
		if o.URL == "" {
			s.replicas = 1
		}
	}
	if o.StartTimeout == 0 {
		o.StartTimeout = 30 * time.Second
	}
	if o.Known == nil {
		o.Known = func() uint64 { return 0 }
	}
	s.close = sync.OnceValue(s.shutdown)

	if o.URL == "" {
		if s.embedded, err = startEmbedded(ctx, o, s.log); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, o.StartTimeout)
	defer cancel()
	pause := backoff{first: 100 * time.Millisecond, limit: time.Second}
	for {
		err := s.connect(ctx, o)
		if err == nil {
			return s, nil
		}
		if s.embedded != nil || Permanent(err) || pause.wait(ctx) != nil {
			return nil, errors.Join(err, s.Close())
		}
		s.log.Warn("log not ready, trying again", "error", err)
	}
}

// errOptions says that Open was asked for something that cannot be.
var errOptions = errors.New("open log")

// Permanent tells the errors of Open that waiting does not cure: wrong options,
// a refused login, and whatever is wrong with the stream, as found or as asked
// for. Where it is false the cluster may be there later.
func Permanent(err error) bool {
	if _, ok := errors.AsType[*prepareError](err); ok {
		return true
	}
	if apiErr, ok := errors.AsType[*jetstream.APIError](err); ok {
		// A cluster that has too few servers yet answers 400 like a bad request.
		return apiErr.ErrorCode == codeNoReplicas || apiErr.Code == statusBadRequest && apiErr.ErrorCode != codeNoPeers
	}
	return errors.Is(err, errOptions) || errors.Is(err, errNotALog) || errors.Is(err, ErrRestoring) ||
		errors.Is(err, nats.ErrAuthorization) || errors.Is(err, fs.ErrNotExist)
}

// A prepareError is one of Options.Prepare or Restore, which are not called again.
type prepareError struct{ error }

func (e *prepareError) Unwrap() error { return e.error }

// connect does what is not done yet: connection, then stream.
func (s *Store) connect(ctx context.Context, o Options) error {
	if s.nats == nil {
		nc, err := nats.Connect(o.URL, s.connectOptions(o)...)
		if err != nil {
			return fmt.Errorf("connect to NATS at %s: %w", s.address, err)
		}
		s.nats = nc
	}
	if s.js == nil {
		js, err := jetstream.New(s.nats)
		if err != nil {
			return fmt.Errorf("use JetStream: %w", err)
		}
		s.js = js
	}
	if s.embedded == nil {
		if err := requireRestored(ctx, s.js); err != nil {
			return err
		}
	}
	if o.Prepare != nil {
		if err := o.Prepare(ctx, s.js, s.replicas); err != nil {
			return &prepareError{err}
		}
	}
	if o.Restore != nil {
		if err := s.restore(ctx, o); err != nil {
			return &prepareError{err}
		}
	}
	stream, err := openLog(ctx, s.js, s.replicas)
	s.stream = stream
	return err
}

func (s *Store) connectOptions(o Options) []nats.Option {
	opts := []nats.Option{
		nats.Name("flagledger"),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(250 * time.Millisecond),
		// A server that is gone without a word is left after some seconds.
		nats.PingInterval(2 * time.Second),
		nats.MaxPingsOutstanding(2),
		nats.IgnoreAuthErrorAbort(), // credentials may be rotated while we run
		// What cannot be sent fails at once instead of being sent some time later,
		// when its caller has long been told that it failed.
		nats.ReconnectBufSize(-1),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				s.log.Warn("connection to NATS lost", "error", err)
			}
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) {
			s.log.Info("connected to NATS again", "server", nc.ConnectedAddr())
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			s.log.Warn("NATS client", "error", err)
		}),
	}
	if s.embedded != nil {
		return append(opts, nats.InProcessServer(s.embedded.nats))
	}
	if o.CredentialsFile != "" {
		opts = append(opts, nats.UserCredentials(o.CredentialsFile))
	}
	if o.CAFile != "" {
		opts = append(opts, nats.RootCAs(o.CAFile))
	}
	return opts
}

// redacted is the list of URLs without user, password or token. Of what is not a
// URL it tells nothing but the place in the list, for a password may be in it.
func redacted(urls string) (string, error) {
	list := strings.Split(urls, ",")
	for i, one := range list {
		u, err := url.Parse(strings.TrimSpace(one))
		if err != nil {
			return "", fmt.Errorf("%w: number %d of the NATS URLs is not a URL", errOptions, i+1)
		}
		u.User = nil
		list[i] = u.String()
	}
	return strings.Join(list, ","), nil
}

// Close ends the connection and then the embedded server, if there is one.
// Readers should be closed before.
func (s *Store) Close() error { return s.close() }

func (s *Store) shutdown() error {
	if s.nats != nil {
		s.nats.Close()
	}
	if s.embedded != nil {
		return s.embedded.stop()
	}
	return nil
}

// Health says what keeps the log from being read and appended to, or nil.
// Without a deadline in ctx it answers within two seconds.
func (s *Store) Health(ctx context.Context) error {
	const doing = "check the log"
	if s.embedded != nil {
		if err := s.embedded.health(); err != nil {
			return &UnavailableError{Doing: doing, StorageFull: outOfStorage(err), Err: err}
		}
	}
	if !s.nats.IsConnected() {
		return &UnavailableError{Doing: doing, Err: fmt.Errorf("not connected to NATS: %s", s.nats.Status())}
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	info, err := s.stream.Info(ctx)
	if err != nil {
		return &UnavailableError{Doing: doing, Err: err}
	}
	if err := quorum(info); err != nil {
		return &UnavailableError{Doing: doing, Err: err}
	}
	return nil
}

// silence is how long a server that holds a copy may not be heard of before it
// counts as lost: some of its heartbeats, which come each second.
const silence = 5 * time.Second

// quorum tells when too few servers are left to append, which the last leader
// itself notices only after some time.
func quorum(info *jetstream.StreamInfo) error {
	if info.Cluster == nil || info.Config.Replicas < 2 {
		return nil
	}
	if info.Cluster.Leader == "" { // any server answers then, and lists itself
		return errors.New("the servers that hold the log have no leader, as when there is no majority of them")
	}
	alive := 1 // who answered
	for _, peer := range info.Cluster.Replicas {
		// One of whom the leader has never heard is told as active 0 ago.
		if !peer.Offline && peer.Active > 0 && peer.Active < silence {
			alive++
		}
	}
	if alive <= info.Config.Replicas/2 {
		return fmt.Errorf("%d of the %d servers that hold the log are there, which is no majority", alive, info.Config.Replicas)
	}
	return nil
}

// JetStream gives access to the server for what is kept beside the log, in
// streams of its own.
func (s *Store) JetStream() jetstream.JetStream { return s.js }

// Replicas is how many servers hold the log, and should hold what is kept beside it.
func (s *Store) Replicas() int { return s.replicas }
