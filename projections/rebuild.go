package projections

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"

	"flagledger/domain"
)

const (
	// verifyEvery is how often Watch verifies the file without a reason.
	verifyEvery = 24 * time.Hour
	// trust is for how long a verified file is not verified again, whatever fails:
	// then it is not the file.
	trust = time.Minute
	// progressEvery is how often it is logged how far the views have come.
	progressEvery = 5 * time.Second
)

// view reads the file, once it has all that is visible now. It must not be
// called by who is reading already, since the writer may have to wait for him.
func (v *Views) view(read func(*bbolt.Tx) error) error {
	if v.building.Load() {
		return v.refuseBuilding()
	}
	if err := v.writer.wait(v.Position()); err != nil && !v.building.Load() {
		v.log.Warn("the past cannot be read", "error", err)
		return domain.Refuse(domain.Unavailable, "the history cannot be read here now: what was recorded last has not been written to its file yet; try again")
	}
	return v.viewWritten(read)
}

// viewWritten reads the file as it is. While it is made again there is nothing to
// read, and when it turns out to be damaged the reader is told so, and Watch.
func (v *Views) viewWritten(read func(*bbolt.Tx) error) error {
	if v.building.Load() {
		return v.refuseBuilding()
	}
	err := guard(func() error { return v.db.Load().View(read) })
	if err == nil {
		return nil
	}
	if errors.Is(err, bbolterrors.ErrDatabaseNotOpen) { // Rebuild was faster
		return v.refuseBuilding()
	}
	if _, refused := errors.AsType[*domain.Error](err); refused {
		return err
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	v.suspectDamage() // also what can be read may be what nobody wrote
	v.log.Error("reading the views failed", "error", err)
	return domain.Refuse(domain.Unavailable, "the history cannot be read here now: its file is being checked, and made again if it is damaged")
}

func (v *Views) refuseBuilding() error {
	return domain.Refuse(domain.Unavailable, "the history cannot be read here now: the views are being made from the log (%s)", v.Progress())
}

func (v *Views) suspectDamage() {
	select {
	case v.suspect <- struct{}{}:
	default: // somebody else did
	}
}

// Watch verifies the file each day, and when reading it has failed. It returns
// what is wrong with it, or nil when ctx is done. After an error Apply must not
// be called before Rebuild.
func (v *Views) Watch(ctx context.Context) error {
	daily := time.NewTicker(verifyEvery)
	defer daily.Stop()
	var verified time.Time
	for {
		select {
		case <-daily.C:
		case <-v.suspect:
			if time.Since(verified) < trust {
				continue
			}
		case <-ctx.Done():
			return nil
		}
		err := verify(ctx, v.db.Load())
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, errDamaged) {
			return err
		}
		if err != nil {
			v.log.Warn("the views could not be verified", "error", err)
		}
		verified = time.Now()
	}
}

// Rebuild sets a damaged file aside and begins another, from position 0 of the
// log. Until that has come to where the views are, readers of the present keep
// what is in memory, which was made when the file was whole, and readers of the
// past are refused.
func (v *Views) Rebuild(damage error) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.building.Store(true)
	v.batch = nil
	v.writer.drop()
	if err := guard(v.db.Load().Close); err != nil {
		v.log.Warn("close damaged views", "error", err)
	}
	if err := v.startAnew(damage); err != nil {
		return fmt.Errorf("rebuild views: %w", err)
	}
	v.failure.Store(nil)
	v.failed = 0
	v.catchUp.reset()
	return nil
}

// Building tells whether the views are being made from the beginning of the log
// and are not complete.
func (v *Views) Building() bool { return v.building.Load() }

// Damaged is how many files were set aside since Open, including it.
func (v *Views) Damaged() uint64 { return v.damaged.Load() }

// Progress is how far the views have come in the log.
type Progress struct {
	Position  uint64        // of what is in the file
	End       uint64        // of the log, as far as is known
	PerSecond float64       // commits applied since they began to catch up
	Left      time.Duration // at this speed; 0: not known, or nothing
}

func (p Progress) String() string {
	text := fmt.Sprintf("position %d of %d", p.Position, p.End)
	if p.Left > 0 {
		text += fmt.Sprintf(", %.0f commits/s, %v left", p.PerSecond, p.Left)
	}
	return text
}

// Progress tells how far the views have come.
func (v *Views) Progress() Progress { return v.catchUp.progress(v.Durable()) }

// catchUp measures how fast the views catch up with the log.
type catchUp struct {
	mu     sync.Mutex
	began  time.Time // zero: they do not
	from   uint64
	end    uint64
	logged time.Time
}

// note takes down where they are, and what they know of the log's end.
func (c *catchUp) note(position, end uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.began.IsZero() {
		c.began, c.from = time.Now(), position
		c.logged = c.began
	}
	c.end = max(c.end, end)
}

func (c *catchUp) reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.began, c.end = time.Time{}, 0
}

// log writes now and then how far they are.
func (c *catchUp) log(log *slog.Logger, position, pending uint64) {
	c.mu.Lock()
	took := time.Since(c.began)
	due := time.Since(c.logged) >= progressEvery || pending == 0 && took >= progressEvery
	if due {
		c.logged = time.Now()
	}
	from := c.from
	c.mu.Unlock()
	if due {
		p := c.progress(position)
		log.Info("the views catch up with the log", "position", position, "end", p.End, "commits", position-from, "commits_per_second", int(p.PerSecond), "left", p.Left)
	}
	if pending == 0 {
		c.mu.Lock()
		c.began = time.Time{} // they have
		c.mu.Unlock()
	}
}

func (c *catchUp) progress(position uint64) Progress {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := Progress{Position: position, End: max(c.end, position)}
	if c.began.IsZero() || position <= c.from {
		return p
	}
	p.PerSecond = float64(position-c.from) / time.Since(c.began).Seconds()
	p.Left = time.Duration(float64(p.End-position) / p.PerSecond * float64(time.Second)).Round(time.Second)
	return p
}
