package httpapi

import (
	"math"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"flagledger/domain"
)

// throttle limits how often each of many may do something: a token bucket for
// each. A nil throttle limits nothing.
//
// A bucket that was not used for as long as it takes to fill is as good as a new
// one. So it is enough to remember those used in the current and in the last
// such time; the others go, and nothing has to look for them.
type throttle struct {
	limit rate.Limit
	burst int
	fill  time.Duration // from empty to full

	mu           sync.Mutex
	recent, last map[string]*rate.Limiter
	turned       time.Time // when recent was begun
}

// maxBuckets is how many buckets a throttle remembers of one such time. Where
// there are more, the oldest go early, and those whose they were begin anew.
const maxBuckets = 100_000

// newThrottle allows so many times a second, in the long run, and what comes to
// seconds of that at once. It is nil where perSecond is 0.
func newThrottle(perSecond, seconds float64) *throttle {
	if perSecond <= 0 {
		return nil
	}
	burst := math.Max(1, math.Ceil(perSecond*seconds))
	return &throttle{
		limit: rate.Limit(perSecond), burst: int(burst), fill: time.Duration(burst / perSecond * float64(time.Second)),
		recent: map[string]*rate.Limiter{},
	}
}

// bucket is that of a key.
func (t *throttle) bucket(key string, now time.Time) *rate.Limiter {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now.Sub(t.turned) > t.fill || len(t.recent) >= maxBuckets {
		t.last, t.recent, t.turned = t.recent, map[string]*rate.Limiter{}, now
	}
	b := t.recent[key]
	if b == nil {
		if b = t.last[key]; b == nil {
			b = rate.NewLimiter(t.limit, t.burst)
		}
		t.recent[key] = b
	}
	return b
}

// wait is how long the key has to wait, 0 where it does not.
func (t *throttle) wait(key string, now time.Time) time.Duration {
	if t == nil {
		return 0
	}
	if missing := 1 - t.bucket(key, now).TokensAt(now); missing > 0 {
		return time.Duration(missing / float64(t.limit) * float64(time.Second))
	}
	return 0
}

// take counts one time, and returns how long the key has to wait with it
// instead, 0 where it does not.
func (t *throttle) take(key string, now time.Time) time.Duration {
	if t == nil || t.bucket(key, now).AllowN(now, 1) {
		return 0
	}
	return t.wait(key, now)
}

// setRetryAfter tells when to come again, in whole seconds.
func setRetryAfter(h http.Header, wait time.Duration) {
	h.Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
}

// refuseHaste refuses, or does not, what comes too soon.
func (r *request) refuseHaste(wait time.Duration, format string, args ...any) error {
	if wait <= 0 {
		return nil
	}
	setRetryAfter(r.Response().Header(), wait)
	return domain.Refuse(domain.TooOften, format, args...)
}

// network is what stands for a client's address: of IPv6 the half that its owner
// does not choose.
func network(address string) string {
	ip, err := netip.ParseAddr(address)
	if err != nil || !ip.Is6() || ip.Is4In6() {
		return address
	}
	prefix, err := ip.WithZone("").Prefix(64)
	if err != nil {
		return address
	}
	return prefix.String()
}
