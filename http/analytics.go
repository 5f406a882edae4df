package httpapi

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"flagledger/domain"
	"flagledger/projections"
)

// Usage counts how often flags are used. What the server evaluates itself is
// counted by the snapshots (projections.Tally).
type Usage interface {
	// Report says that SDKs evaluated the feature count times, 1 or more. It is
	// quick: it is called while a request waits.
	Report(environment projections.EnvironmentID, feature string, count int64)
	// Counts returns how often the feature was evaluated in the hours that begin
	// at from or later, and before to. The last seconds may be missing.
	Counts(environment projections.EnvironmentID, feature string, from, to time.Time) ([]UsageCount, error)
}

// UsageCount is how often something was the outcome within an hour.
type UsageCount struct {
	Hour    time.Time // its beginning
	Source  string    // "sdk": reported by SDKs; "server": evaluated here
	Outcome string    // what decided: "environment", "segment:<key>" or "identity"; "" for SDKs, which do not tell
	Variant string    // "" where there is none
	N       uint64
}

const (
	// usageRange is what is shown when the request does not say from when on.
	usageRange = 30 * 24 * time.Hour
	// maxUsageHours and maxUsageDays are how much is shown at once, in hours
	// with by=hour and else in days.
	maxUsageHours = 31 * 24
	maxUsageDays  = 400

	day = 24 * time.Hour
)

// usageQuery says what to show of the use of a feature. Hours and days are those of UTC.
type usageQuery struct {
	from, to time.Time
	step     time.Duration // of the buckets; 0: there is one for all
	outcome  bool          // whether outcomes are told apart
}

// usageQuery reads the query.
func (r *request) usageQuery() (q usageQuery, by []string, err error) {
	by = []string{"outcome"}
	q.to = r.server.Now()
	for name, values := range r.QueryParams() {
		switch value := values[0]; name {
		case "from":
			q.from, err = queryTime(name, value)
		case "to":
			q.to, err = queryTime(name, value)
		case "by":
			by = strings.Split(value, ",")
		}
		if err != nil {
			return q, nil, err
		}
	}
	for _, one := range by {
		step := q.step
		switch one {
		case "outcome":
			q.outcome = true
		case "source": // always
		case "hour":
			q.step = time.Hour
		case "day":
			q.step = day
		default:
			return q, nil, domain.RefuseField(domain.Malformed, "by", "usage is not counted by %q; there are outcome, source, hour, day, and several with commas in between", one)
		}
		if step > 0 && step != q.step {
			return q, nil, domain.RefuseField(domain.Malformed, "by", "usage is shown by hour or by day, not both")
		}
	}
	return q, by, q.fit()
}

// fit makes the range one of whole buckets, and refuses what is too much.
func (q *usageQuery) fit() error {
	if q.from.IsZero() {
		q.from = q.to.Add(-usageRange)
	}
	bucket := max(q.step, time.Hour)
	q.from = q.from.UTC().Truncate(bucket)
	if to := q.to.UTC().Truncate(bucket); to.Before(q.to) {
		q.to = to.Add(bucket)
	} else {
		q.to = to
	}
	length := q.to.Sub(q.from)
	switch {
	case length <= 0:
		return domain.RefuseField(domain.Malformed, "from", "from must be before to, which is %s", q.to.Format(time.RFC3339))
	case q.step == time.Hour && length > maxUsageHours*time.Hour:
		return domain.RefuseField(domain.Malformed, "from", "by hour, at most %d days are shown at once; ask by day", maxUsageHours/24)
	case length > (maxUsageDays+1)*day: // with parts of days at both ends
		return domain.RefuseField(domain.Malformed, "from", "at most %d days are shown at once", maxUsageDays)
	}
	return nil
}

// shownUsage is how often a feature was evaluated in an environment. What apps
// evaluate remotely, their SDKs may report besides; so there is no sum of the
// two sources.
type shownUsage struct {
	Feature string            `json:"feature"`
	From    time.Time         `json:"from"` // a full hour or day
	To      time.Time         `json:"to"`   // likewise, not included
	By      []string          `json:"by"`
	Totals  map[string]uint64 `json:"totals"` // by source
	Items   []shownUsageItem  `json:"items"`  // those above 0
}

// shownUsageItem is how often something was the outcome in a bucket of time.
type shownUsageItem struct {
	Time    *time.Time `json:"time,omitempty"` // the bucket's beginning, by hour and by day
	Source  string     `json:"source"`
	Outcome string     `json:"outcome,omitempty"`
	Variant string     `json:"variant,omitempty"`
	Count   uint64     `json:"count"`
}

func (s *Server) featureUsage(r *request) error {
	f, err := r.feature(r.project)
	if err != nil {
		return err
	}
	q, by, err := r.usageQuery()
	if err != nil {
		return err
	}
	var counts []UsageCount
	if s.Usage != nil {
		if counts, err = s.Usage.Counts(r.environmentID(), f.Key, q.from, q.to); err != nil {
			return err
		}
	}
	shown := shownUsage{Feature: f.Key, From: q.from, To: q.to, By: by, Totals: map[string]uint64{"sdk": 0, "server": 0}}
	for _, c := range counts {
		shown.Totals[c.Source] += c.N
	}
	shown.Items = q.group(counts)
	return r.show(0, shown)
}

// group adds up what is not told apart: the earliest first, and then the most
// frequent.
func (q usageQuery) group(counts []UsageCount) []shownUsageItem {
	sums := map[UsageCount]uint64{}
	for _, c := range counts {
		bucket := UsageCount{Source: c.Source}
		if q.step > 0 {
			bucket.Hour = c.Hour.UTC().Truncate(q.step)
		}
		if q.outcome {
			bucket.Outcome, bucket.Variant = c.Outcome, c.Variant
		}
		sums[bucket] += c.N
	}
	items := make([]shownUsageItem, 0, len(sums))
	for b, n := range sums {
		item := shownUsageItem{Source: b.Source, Outcome: b.Outcome, Variant: b.Variant, Count: n}
		if q.step > 0 {
			item.Time = &b.Hour
		}
		items = append(items, item)
	}
	slices.SortFunc(items, func(a, b shownUsageItem) int {
		byTime := 0
		if q.step > 0 {
			byTime = a.Time.Compare(*b.Time)
		}
		return cmp.Or(byTime, cmp.Compare(a.Source, b.Source), cmp.Compare(b.Count, a.Count), cmp.Compare(a.Outcome, b.Outcome), cmp.Compare(a.Variant, b.Variant))
	})
	return items
}
