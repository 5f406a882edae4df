package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"flagledger/commands"
	"flagledger/domain"
	"flagledger/eventstore"
	"flagledger/eventstore/access"
	"flagledger/eventstore/backup"
	"flagledger/eventstore/checkpoints"
	"flagledger/eventstore/streams"
	httpapi "flagledger/http"
	"flagledger/http/wire"
	"flagledger/migrations"
	"flagledger/projections"
)

// How long a stop may take, and how much of that requests get that are under way.
const (
	stopWithin     = 5 * time.Second
	requestsWithin = 2 * time.Second
)

const (
	day           = 24 * time.Hour
	maxAccessDays = 36_500
	maxRate       = 1e9
)

// config is what serve is told by flags and their environment defaults.
type config struct {
	listen       string
	dataDir      string
	natsURL      string
	natsCreds    string
	natsCA       string
	replicas     int
	logLevel     string
	trustProxy   bool
	bodyLimit    int64
	limits       map[string]int
	adminRate    float64
	sdkRate      float64
	guessRate    float64
	maxStreams   int
	maxConns     int
	demo         bool
	recoverAdmin bool
	acceptLost   bool
	tlsCert      string
	tlsKey       string
	accessLog    string // a httpapi.AccessPolicy
	accessDays   int
	pprof        string // address, "" for none

	signingKey     string // file, "" for the one in dataDir
	checkpointFile string // "" for none
	checkpointURL  string // "" for none
}

func serveCommand() *cobra.Command {
	var c config
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the server",
		Args:  arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return serve(cmd.Context(), c, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	f.StringVar(&c.listen, "listen", "127.0.0.1:8000", "address to listen on")
	f.StringVar(&c.dataDir, "data-dir", "data", "directory of the views and the embedded log")
	f.StringVar(&c.natsURL, "nats-url", "", "NATS cluster with JetStream; empty: embedded")
	f.StringVar(&c.natsCreds, "nats-creds", "", "file with the credentials of a NATS user")
	f.StringVar(&c.natsCA, "nats-ca", "", "file with the certificates to trust for tls://")
	f.IntVar(&c.replicas, "replicas", 0, "NATS servers that hold the log; 0: 1 embedded, 3 in a cluster")
	f.StringVar(&c.logLevel, "log-level", "info", "debug, info, warn or error")
	f.BoolVar(&c.trustProxy, "trust-proxy", false, "take the client's address from X-Forwarded-For")
	f.Int64Var(&c.bodyLimit, "body-limit", 1<<20, "largest request body in bytes")
	f.StringToIntVar(&c.limits, "limits", nil, "what a project may hold, where it differs from the defaults: features=20000,value-length=50000")
	f.Float64Var(&c.adminRate, "admin-rate", 1000, "requests a second that one token may make, twice as many at once; 0: any number")
	f.Float64Var(&c.sdkRate, "sdk-rate", 0, "requests a second that one SDK key may make, twice as many at once; 0: any number")
	f.Float64Var(&c.guessRate, "guess-rate", 1, "unknown tokens a second, and unknown SDK keys, that may come from one address, 20 times as many at once; 0: any number")
	f.IntVar(&c.maxStreams, "max-streams", 10_000, "event streams that may be open at a time; 0: any number")
	f.IntVar(&c.maxConns, "max-connections", 20_000, "connections that may be open at a time, further ones wait; 0: any number")
	f.StringVar(&c.tlsCert, "tls-cert", "", "certificate file, to serve HTTPS")
	f.StringVar(&c.tlsKey, "tls-key", "", "key file of the certificate")
	f.StringVar(&c.accessLog, "access-log", string(httpapi.AccessSensitive), "which reads of segment rules and identity data are recorded: off, sensitive or all")
	f.IntVar(&c.accessDays, "access-log-days", int(access.DefaultRetention/day), "for how many days they are kept")
	f.StringVar(&c.signingKey, "signing-key", "", "file of the key that signs checkpoints of the log; made where there is none (default signing.key in the data directory)")
	f.StringVar(&c.checkpointFile, "checkpoint-file", "", "file to add each signed checkpoint to, best where this machine can only add")
	f.StringVar(&c.checkpointURL, "checkpoint-url", "", "URL to POST each signed checkpoint to")
	f.StringVar(&c.pprof, "pprof", "", "address of this machine to serve profiles on, such as 127.0.0.1:6060")
	cmd.PreRunE = fromEnvironment(f)
	f.BoolVar(&c.recoverAdmin, "recover-admin", false, "for when all admin tokens are lost: make one that is valid for a day, and print it; the history shows it")
	f.BoolVar(&c.acceptLost, "accept-lost-streams", false, "for when streams beside the log are gone and there is no backup: make them again, empty; nobody is known then who was")
	f.BoolVar(&c.demo, "demo", false, "fill in a small shop, with keys that are no secret, and print requests to try")
	return cmd
}

// fromEnvironment gives each flag that is there a variable in the environment,
// which counts where the flag is not given; an empty one counts as none. The
// values do not become defaults, which the help would show.
func fromEnvironment(flags *pflag.FlagSet) func(*cobra.Command, []string) error {
	variables := map[string]string{}
	flags.VisitAll(func(f *pflag.Flag) {
		variables[f.Name] = "FLAGLEDGER_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		f.Usage += " [" + variables[f.Name] + "]"
	})
	return func(*cobra.Command, []string) error {
		for name, variable := range variables {
			value := os.Getenv(variable)
			if value == "" || flags.Changed(name) {
				continue
			}
			if err := flags.Set(name, value); err != nil {
				return usageError{fmt.Errorf("%s in the environment: %w", variable, err)}
			}
		}
		return nil
	}
}

// serve runs the server until ctx is done. What is started first is stopped
// last: views, log, HTTP.
func serve(ctx context.Context, c config, stdout, stderr io.Writer) (err error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.logLevel)); err != nil {
		return fmt.Errorf("log level %q: want debug, info, warn or error", c.logLevel)
	}
	if (c.tlsCert == "") != (c.tlsKey == "") {
		return errors.New("HTTPS needs both --tls-cert and --tls-key")
	}
	if !httpapi.AccessPolicy(c.accessLog).Known() {
		return fmt.Errorf("access log %q: want off, sensitive or all", c.accessLog)
	}
	if c.accessDays < 1 || c.accessDays > maxAccessDays {
		return fmt.Errorf("days of the access log %d: want 1 to %d", c.accessDays, maxAccessDays)
	}
	if c.replicas < 0 {
		return fmt.Errorf("replicas %d: want 0 or more", c.replicas)
	}
	if c.bodyLimit < 1 {
		return fmt.Errorf("body limit %d: want at least 1 byte", c.bodyLimit)
	}
	for name, perSecond := range map[string]float64{"admin": c.adminRate, "SDK": c.sdkRate, "guess": c.guessRate} {
		if !(perSecond >= 0 && perSecond <= maxRate) { // nor NaN
			return fmt.Errorf("%s rate %v: want 0 to %v a second", name, perSecond, float64(maxRate))
		}
	}
	if c.maxStreams < 0 || c.maxConns < 0 {
		return fmt.Errorf("%d event streams and %d connections at a time: want 0 or more", c.maxStreams, c.maxConns)
	}
	limits := domain.DefaultLimits()
	if err := limits.Set(c.limits); err != nil {
		return fmt.Errorf("limits: %w", err)
	}
	logger := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: level}))
	listener, err := net.Listen("tcp", c.listen) // before anything is made on disk
	if err != nil {
		return fmt.Errorf("listen on %s: %w", c.listen, err)
	}
	defer func() { _ = listener.Close() }() // the server has closed it, if it came to that
	if err := os.MkdirAll(c.dataDir, 0o700); err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	if err := eventstore.RequireRestored(c.dataDir); err != nil { // before views of half a log are shown
		return err
	}

	views, err := projections.Open(filepath.Join(c.dataDir, "views.db"), projections.Options{
		Schema: migrations.SchemaVersion, Encode: httpapi.EncodeFlag, Upcast: upcast, Logger: logger,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, views.Close()) }()

	counted, err := openUsage(c.dataDir, views, logger)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, counted.Close()) }()

	looks, err := openAccesses(c.dataDir, time.Duration(c.accessDays)*day, logger)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, looks.Close()) }()

	l := newLedger(c, views, counted.Store, looks.Store, logger)
	if l.copies, err = newCopies(c.checkpointFile, c.checkpointURL, logger); err != nil {
		return err
	}
	l.signed = checkpoints.New(views, checkpoints.Options{KeyFile: keyFile(c.signingKey, c.dataDir), AcceptLost: c.acceptLost, Published: l.copies.offer, Logger: logger})
	service := commands.New(l, views, l, limits, time.Now)

	metrics := prometheus.NewRegistry()
	metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	metrics.MustRegister(counted, looks, l, persons{l}, viewsProgress{views}, signed{l, l.signed})
	api := httpapi.New(httpapi.Config{
		Commands: service, Views: views, Identities: l, Transparency: signed{l, l.signed}, Usage: counted, Accesses: looks, AccessPolicy: httpapi.AccessPolicy(c.accessLog), Backup: l.backup, Ready: l.ready, Current: l.awaitCurrent, Metrics: metrics, Logger: logger,
		Version: version, Limits: limits, BodyLimit: c.bodyLimit, TrustProxy: c.trustProxy,
		TokenRate: c.adminRate, KeyRate: c.sdkRate, GuessRate: c.guessRate, MaxStreams: c.maxStreams,
	})
	if c.pprof != "" {
		profiles, err := listenPprof(c.pprof)
		if err != nil {
			return errors.Join(err, listener.Close())
		}
		defer func() { _ = profiles.Close() }()
		server := &http.Server{Handler: pprofHandler(), ReadHeaderTimeout: 10 * time.Second}
		go func() { _ = server.Serve(profiles) }() // until the listener is closed
		logger.Info("serving profiles", "url", "http://"+profiles.Addr().String()+"/debug/pprof/")
	}
	handler := http.Handler(api)
	if c.tlsCert != "" {
		handler = strictTransport(api)
	}
	server := wire.New(newHTTPServer(handler, logger), httpapi.Plain, c.maxConns)
	failed := make(chan error, 2)
	go func() {
		if c.tlsCert != "" {
			failed <- server.ServeTLS(listener, c.tlsCert, c.tlsKey)
		} else {
			failed <- server.Serve(listener.(*net.TCPListener))
		}
	}()
	running, cancel := context.WithCancel(context.WithoutCancel(ctx)) // the log is followed until the last request is answered
	defer cancel()
	ledgerDone := make(chan error, 1)
	go func() { ledgerDone <- l.run(running) }()
	go func() {
		if err := begin(running, c, l, service, listener.Addr(), stdout); err != nil && running.Err() == nil {
			failed <- err
		}
	}()
	logger.Info("listening", "address", listener.Addr().String(), "version", version, "data", c.dataDir)

	select {
	case <-ctx.Done():
		logger.Info("stopping")
	case err = <-failed:
	case err = <-ledgerDone:
		ledgerDone <- nil
	}
	api.Close() // ends the streams
	err = errors.Join(err, endRequests(server, logger))
	cancel()
	return errors.Join(err, <-ledgerDone)
}

// newHTTPServer makes a server that nobody can keep waiting. Streams and exports
// have deadlines of their own, for each part.
func newHTTPServer(handler http.Handler, logger *slog.Logger) *http.Server {
	return &http.Server{
		Handler: handler, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second, WriteTimeout: 60 * time.Second,
		IdleTimeout: 120 * time.Second, MaxHeaderBytes: 64 << 10, TLSConfig: &tls.Config{MinVersion: tls.VersionTLS12},
		ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}
}

// strictTransport has browsers come back over HTTPS only, for a year (RFC 6797).
func strictTransport(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Strict-Transport-Security", "max-age=31536000")
		next.ServeHTTP(w, r)
	})
}

// endRequests lets requests end that are under way, and cuts off what does not
// end in time, such as a client that says nothing.
func endRequests(server *wire.Server, logger *slog.Logger) error {
	ctx, cancel := context.WithTimeout(context.Background(), requestsWithin)
	defer cancel()
	err := server.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		logger.Info("connections are cut off that did not end", "within", requestsWithin)
		err = server.Close()
	}
	if err != nil {
		return fmt.Errorf("end requests: %w", err)
	}
	return nil
}

// begin waits until the views have caught up with the log, and then does what a
// first start needs: a token, and the demo where it is asked for. Then the
// process is ready. What fails because the log is away is tried again.
func begin(ctx context.Context, c config, l *ledger, service *commands.Service, addr net.Addr, stdout io.Writer) error {
	if err := patiently(ctx, l.log, func() error { return l.caughtUp(ctx) }); err != nil {
		return err
	}
	close(l.current)
	if err := firstToken(ctx, l, service, os.Getenv("FLAGLEDGER_ADMIN_TOKEN"), stdout); err != nil {
		return err
	}
	if c.recoverAdmin {
		if err := recoverAdmin(ctx, l, service, stdout); err != nil {
			return err
		}
	}
	if c.demo {
		if err := patiently(ctx, l.log, func() error { return runDemo(ctx, service, l, "http://"+addr.String(), stdout) }); err != nil {
			return err
		}
	}
	l.begun()
	streams.Persist(ctx, l.log, "complete erasures", l.views.Position, func() error { return l.completeErasures(ctx) })
	l.sweep(ctx)
	return nil
}

// patiently does what needs the log, again and again while that is away.
func patiently(ctx context.Context, log *slog.Logger, do func() error) error {
	for {
		err := do()
		refusal, ok := errors.AsType[*domain.Error](err)
		if !ok || refusal.Kind != domain.Unavailable || ctx.Err() != nil {
			return err
		}
		log.Warn("the start waits for the log", "error", err)
		pause(ctx)
	}
}

// minSecret is how short a token given to the first start may be.
const minSecret = 20

// firstToken makes a token that may do everything, where there has never been a
// token, and prints it, this once. Of several processes that start together one
// makes it.
func firstToken(ctx context.Context, l *ledger, service *commands.Service, secret string, stdout io.Writer) error {
	if l.views.Project(domain.OrganisationID).Position > 0 {
		return nil
	}
	create, made := commands.NewToken("first admin", []domain.Grant{{Role: domain.Admin}}, time.Time{})
	if secret != "" && len(secret) < minSecret {
		return fmt.Errorf("FLAGLEDGER_ADMIN_TOKEN has %d characters; it may do everything, so use at least %d random ones", len(secret), minSecret)
	}
	if secret != "" {
		create, _ = create.WithSecret(secret)
	}
	create.First = true
	var result commands.Result
	err := patiently(ctx, l.log, func() (err error) {
		result, err = service.Do(ctx, commands.Change{
			Commands: []commands.Command{create}, Source: domain.SourceSystem, Actor: domain.Actor{Kind: "system", ID: "start", Name: "Flagledger"},
			Reason: "first start",
		})
		return err
	})
	if err != nil {
		return fmt.Errorf("make the first token: %w", err)
	}
	// Ours may be there without this attempt having recorded it: an earlier one got no answer.
	if secret == "" && result.After.Tokens.Get(create.ID) != nil {
		_, err = fmt.Fprintf(stdout, "admin token: %s\n(it is shown this once; keep it)\n", made)
	}
	return err
}

// recoverAdmin makes a token that may do everything for a day, and prints it.
// Whoever may start the program on its data may do so; the history tells.
func recoverAdmin(ctx context.Context, l *ledger, service *commands.Service, stdout io.Writer) error {
	create, made := commands.NewToken("recovered admin", []domain.Grant{{Role: domain.Admin}}, time.Now().Add(day))
	err := patiently(ctx, l.log, func() error {
		_, err := service.Do(ctx, commands.Change{
			Commands: []commands.Command{create}, Source: domain.SourceSystem, Actor: domain.Actor{Kind: "system", ID: "start", Name: "Flagledger"},
			Reason: "recovery: the program was started with --recover-admin",
		})
		return err
	})
	if err != nil {
		return fmt.Errorf("make a token to recover with: %w", err)
	}
	_, err = fmt.Fprintf(stdout, "admin token for a day: %s\n(it is shown this once; make another with it, and start without --recover-admin)\n", made)
	return err
}

// backup implements httpapi.Backup.
func (l *ledger) backup(ctx context.Context, w io.Writer, kind string) error {
	o := l.opened.Load()
	if o == nil {
		return domain.Refuse(domain.Unavailable, "the log has not been reached yet, so that there is nothing to back up; try again")
	}
	return backup.Write(ctx, o.store.JetStream(), w, backup.Kind(kind), version, func(ctx context.Context, position uint64) (backup.History, error) {
		if err := l.views.Wait(ctx, position); err != nil {
			return backup.History{}, err
		}
		return historyOf(l.views, position)
	})
}

// upcast brings a recorded event to the current version of its type.
func upcast(e domain.RawEvent) (domain.RawEvent, error) {
	name, data, err := migrations.Upcast(e.Type, e.Data)
	return domain.RawEvent{Type: name, Data: data}, err
}
