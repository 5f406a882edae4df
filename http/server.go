// Package httpapi is the HTTP side of Flagledger: the Flagsmith SDK API and
// OpenFeature for apps, the administration for people and CI, and what
// operators watch. It lives in the folder http and is always imported under
// its own name, so that http is net/http in every file.
//
// Every route stands in one list in this file. A handler has three steps:
// parse, one call, answer. Errors of the administration are RFC 9457 problems,
// made in one place (problem.go) from the kinds of domain.Error.
package httpapi

import (
	"context"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"flagledger/commands"
	"flagledger/domain"
	"flagledger/domain/evaluation"
	"flagledger/projections"
)

// Identities is the store of persons, which lies outside the log. Reads never
// leave memory.
type Identities interface {
	// Get returns the identity, nil when it is not known.
	Get(environment projections.EnvironmentID, identifier string) *domain.Identity
	// Identify sets the given traits (a null value deletes one), makes the
	// identity if it is new, and returns it. It is stored soon after.
	Identify(environment projections.EnvironmentID, identifier string, traits []evaluation.Trait) *domain.Identity
	// Identifier returns the name behind a surrogate, "" for an erased one.
	Identifier(environment projections.EnvironmentID, surrogate string) string
	// List returns up to limit identities whose identifiers come after the given one.
	List(environment projections.EnvironmentID, after string, limit int) []*domain.Identity
	// Erase removes all that is stored of a person.
	Erase(ctx context.Context, environment projections.EnvironmentID, identifier string) (surrogate string, existed bool, err error)
}

// Config is what the server is made of.
type Config struct {
	Commands   *commands.Service
	Views      *projections.Views
	Identities Identities
	// Ready tells why the process cannot do its whole work, nil when it can.
	Ready func(context.Context) error
	// Current waits a little until all can be seen that the log held when the
	// process began, and tells whether it can, or cannot be waited for; nil: it can.
	Current func(context.Context) bool
	Metrics *prometheus.Registry
	Usage   Usage // nil: what SDKs report is dropped
	// Transparency signs checkpoints; nil: there are none.
	Transparency Transparency
	// Accesses is where it is recorded who looks at what; nil: nowhere.
	Accesses     Accesses
	AccessPolicy AccessPolicy     // "": AccessSensitive
	Logger       *slog.Logger     // nil: nothing is logged
	Backup       Backup           // nil: there are none
	Now          func() time.Time // nil: time.Now
	Version      string           // of Flagledger, such as 1.2.3
	Limits       domain.Limits
	// TrustProxy takes the client's address from X-Forwarded-For.
	TrustProxy bool
	// BodyLimit is the largest request body in bytes; 0: 1 MiB.
	BodyLimit int64
	// TokenRate and KeyRate are how many requests a second one token of the
	// administration and one SDK key may make in the long run, twice as many at
	// once; 0: any number.
	TokenRate, KeyRate float64
	// GuessRate is how many unknown tokens a second, and how many unknown SDK keys,
	// may come from one address in the long run, twenty times as many at once; 0:
	// any number.
	GuessRate float64
	// MaxStreams is how many event streams may be open at a time; 0: any number.
	MaxStreams int
}

// Server answers HTTP requests.
type Server struct {
	Config
	echo    *echo.Echo
	tokens  *throttle     // by id
	keys    *throttle     // by id, or the key that every browser knows
	guesses *throttle     // of tokens, by network
	wrong   *throttle     // of unknown SDK keys, by network
	streams atomic.Int64  // that are open
	closing chan struct{} // closed when streams are to end
	close   func()
}

// route is one entry of the list of routes.
type route struct {
	method, path string
	handle       echo.HandlerFunc
}

// New makes a server. It does not listen; it is an http.Handler.
func New(cfg Config) *Server {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.BodyLimit == 0 {
		cfg.BodyLimit = 1 << 20
	}
	s := &Server{
		Config: cfg, echo: echo.New(), closing: make(chan struct{}),
		tokens: newThrottle(cfg.TokenRate, 2), keys: newThrottle(cfg.KeyRate, 2), guesses: newThrottle(cfg.GuessRate, 20),
		wrong: newThrottle(cfg.GuessRate, 20),
	}
	s.close = sync.OnceFunc(func() { close(s.closing) })
	s.echo.HTTPErrorHandler = s.handleError
	s.echo.IPExtractor = echo.ExtractIPDirect()
	if cfg.TrustProxy {
		s.echo.IPExtractor = echo.ExtractIPFromXFFHeader()
	}
	if cfg.Metrics != nil {
		s.echo.Use(measure(cfg.Metrics))
		cfg.Metrics.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "flagledger_event_streams", Help: "Event streams that are open."},
			func() float64 { return float64(s.streams.Load()) }))
	}
	s.echo.Use(survive)
	for _, r := range s.routes() {
		s.echo.Add(r.method, r.path, r.handle)
		if r.method == http.MethodGet && !strings.Contains(r.path, "/stream") { // which has no end
			s.echo.HEAD(r.path, r.handle)
		}
	}
	return s
}

// ServeHTTP answers a request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.echo.ServeHTTP(w, r) }

// Plain tells of a path whether requests for it are answered from memory, in one
// piece, so that wire can serve them. Event streams are not.
func Plain(path string) bool {
	return strings.HasPrefix(path, "/api/") || strings.HasPrefix(path, ofrepFlags)
}

// The beginnings of the administration's paths.
const (
	pathProject     = "/admin/v1/projects/:project"
	pathEnvironment = pathProject + "/environments/:environment"
)

// Close ends the event streams, which would otherwise keep a shutdown waiting.
func (s *Server) Close() { s.close() }

// routes is the list of all routes. What a right is asked for is checked before
// the handler runs, in the environment or project of the path; the rights that
// commands need are checked besides.
func (s *Server) routes() []route {
	const get, post, put, patch, del = http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete
	const p, e = pathProject, pathEnvironment
	paged := []string{"limit", "cursor"}
	all := []route{
		{get, "/healthz", protected(s.health)},
		{get, "/readyz", protected(s.ready)},
		{get, "/version", protected(s.version)},
		{get, "/metrics", protected(s.metrics())},

		// As Flagsmith's server has them.
		{get, "/health", protected(s.ready)},
		{get, "/health/", protected(s.ready)},
		{get, "/health/readiness/", protected(s.ready)},
		{get, "/health/liveness/", protected(s.health)},
		{get, "/healthcheck", protected(s.ready)},
		{get, "/version/", protected(s.version)},

		{get, "/admin/v1/projects", s.admin("", s.listProjects, paged...)},
		{post, "/admin/v1/projects", s.admin(domain.Manage+somewhere, s.createProject)},
		{get, p, s.admin(domain.Read, s.getProject)},
		{patch, p, s.admin(domain.Manage, s.updateProject)},
		{del, p, s.admin(domain.Manage, s.deleteProject)},
		{post, p + "/changes", s.admin(domain.Write+somewhere, s.applyChange, "dry_run", "impact")},
		{post, p + "/undo", s.admin(domain.Write, s.undo)},

		{get, p + "/environments", s.admin(domain.Read, s.listEnvironments, paged...)},
		{post, p + "/environments", s.admin(domain.Manage, s.createEnvironment)},
		{get, e, s.admin(domain.Read, s.getEnvironment)},
		{patch, e, s.admin(domain.Manage, s.updateEnvironment)},
		{del, e, s.admin(domain.Manage, s.deleteEnvironment)},
		{post, e + "/clone", s.admin(domain.Manage, s.cloneEnvironment)},
		{get, e + "/keys", s.admin(domain.Manage, s.listKeys, paged...)},
		{post, e + "/keys", s.admin(domain.Manage, s.createKey)},
		{patch, e + "/keys/:id", s.admin(domain.Manage, s.updateKey)},
		{del, e + "/keys/:id", s.admin(domain.Manage, s.revokeKey)},

		{get, p + "/features", s.admin(domain.Read, s.listFeatures, append(paged, "tag", "kind", "archived")...)},
		{post, p + "/features", s.admin(domain.Write, s.createFeature)},
		{get, p + "/features/:feature", s.admin(domain.Read, s.getFeature)},
		{patch, p + "/features/:feature", s.admin(domain.Write, s.updateFeature)},
		{del, p + "/features/:feature", s.admin(domain.Write, s.deleteFeature)},

		{get, p + "/segments", s.admin(domain.Read, s.listSegments, append(paged, "feature")...)},
		{post, p + "/segments", s.admin(domain.Write, s.createSegment)},
		{get, p + "/segments/:segment", s.admin(domain.Read, s.getSegment)},
		{patch, p + "/segments/:segment", s.admin(domain.Write, s.updateSegment)},
		{del, p + "/segments/:segment", s.admin(domain.Write, s.deleteSegment)},
		{get, p + "/segments/:segment/tests", s.admin(domain.Read, s.getSegmentTests)},
		{put, p + "/segments/:segment/tests", s.admin(domain.Write, s.setSegmentTests)},
		{get, p + "/features/:feature/tests", s.admin(domain.Read, s.getFeatureTests)},
		{put, p + "/features/:feature/tests", s.admin(domain.Write, s.setFeatureTests)},
		{get, p + "/segments/:segment/usages", s.admin(domain.Read, s.segmentUsages)},

		{get, p + "/contexts", s.admin(domain.Read, s.listContexts, paged...)},
		{get, p + "/contexts/:context", s.admin(domain.Read, s.getContext)},
		{put, p + "/contexts/:context", s.admin(domain.Write, s.setContext)},
		{del, p + "/contexts/:context", s.admin(domain.Write, s.removeContext)},

		{get, e + "/features", s.admin(domain.Read, s.listStates, paged...)},
		{get, e + "/features/:feature", s.admin(domain.Read, s.getState)},
		{patch, e + "/features/:feature", s.admin(domain.Write, s.updateState)},
		{get, e + "/features/:feature/analytics", s.admin(domain.Read, s.featureUsage, "from", "to", "by")},
		{put, e + "/features/:feature/segment-overrides", s.admin(domain.Write, s.orderSegmentOverrides)},
		{put, e + "/features/:feature/segment-overrides/:segment", s.admin(domain.Write, s.setSegmentOverride)},
		{del, e + "/features/:feature/segment-overrides/:segment", s.admin(domain.Write, s.removeSegmentOverride)},
		{put, e + "/features/:feature/identity-overrides/:identifier", s.admin(domain.Write, s.setIdentityOverride)},
		{del, e + "/features/:feature/identity-overrides/:identifier", s.admin(domain.Write, s.removeIdentityOverride)},
		{get, e + "/identities", s.admin(domain.Read, s.listIdentities, paged...)},
		{get, e + "/identities/:identifier", s.admin(domain.Read, s.getIdentity)},
		{del, e + "/identities/:identifier", s.admin(domain.Manage, s.eraseIdentity)},

		{get, e + "/pins", s.admin(domain.Read, s.listPins)},
		{del, e + "/pins/segments/:segment", s.admin(domain.Write, s.unpinSegment)},
		{del, e + "/pins/variants/:feature", s.admin(domain.Write, s.unpinVariants)},
		{get, e + "/versions", s.admin(domain.Audit, s.listVersions, paged...)},
		{get, e + "/versions/:version", s.admin(domain.Audit, s.getVersion)},
		{get, e + "/diff", s.admin(domain.Audit, s.diff, "from", "to")},
		{post, e + "/rollback", s.admin(domain.Write, s.rollback)},
		{post, e + "/evaluate", s.admin(domain.Read, s.evaluate)},
		{get, e + "/features/:feature/blame", s.admin(domain.Audit, s.featureBlame)},

		{get, "/admin/v1/audit", s.admin("", s.listAudit, auditFilters...)},
		{get, "/admin/v1/audit/export", s.admin("", s.exportAudit, append(auditFilters, "format")...)},
		{get, "/admin/v1/audit/:position", s.admin("", s.getAudit)},
		{get, "/admin/v1/log/checkpoint", s.admin(domain.Audit, s.getCheckpoint)},
		{get, "/admin/v1/log/keys", s.admin(domain.Audit, s.listLogKeys)},
		{get, "/admin/v1/log/proof/inclusion", s.admin(domain.Audit, s.proveInclusion, "position", "size")},
		{get, "/admin/v1/log/proof/consistency", s.admin(domain.Audit, s.proveConsistency, "from", "to")},
		{get, "/admin/v1/log/export", s.admin(domain.Audit, s.exportLog, "from", "to")},
		{get, "/admin/v1/access-log", s.admin("", s.listAccess, accessFilters...)},
		{get, "/admin/v1/tokens", s.admin(domain.Manage, s.listTokens, paged...)},
		{post, "/admin/v1/tokens", s.admin(domain.Manage, s.createToken)},
		{del, "/admin/v1/tokens/:id", s.admin(domain.Manage, s.revokeToken)},
		{get, "/admin/v1/backup", s.admin(domain.Manage, s.backup, "kind")},
		{get, "/admin/v1/whoami", s.admin("", s.whoAmI)},
	}
	return slices.Concat(all, s.sdkRoutes(), s.ofrepRoutes())
}

// metrics serves what Prometheus collects.
func (s *Server) metrics() echo.HandlerFunc {
	return echo.WrapHandler(promhttp.HandlerFor(s.Metrics, promhttp.HandlerOpts{}))
}
