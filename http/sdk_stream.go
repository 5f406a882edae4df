package httpapi

import (
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"flagledger/projections"
)

// streamTimes are the times of an event stream.
type streamTimes struct {
	// heartbeat is how often a quiet stream sends a comment, so that nothing in
	// between takes it for dead.
	heartbeat time.Duration
	// life is the shortest and half the longest time a stream is open. SDKs
	// connect again; some read only what has ended.
	life time.Duration
	// again is how long after a change SDKs are told of it once more. Who was told
	// by this process may have asked another one, which was behind; SDKs compare
	// what they are told with how recent their answer was, and who has the newest
	// does nothing.
	again time.Duration
	// write is how long a client may take to take an event, and at most twice that.
	write time.Duration
}

func defaultStreamTimes() streamTimes {
	return streamTimes{heartbeat: 15 * time.Second, life: 30 * time.Second, again: 2 * time.Second, write: 5 * time.Second}
}

// stream tells an SDK, for as long as it listens, when its environment was last
// changed: at once, and after every change. The client key stands in the path.
func (k *sdk) stream(c echo.Context) error {
	key := c.Param("key")
	if strings.HasPrefix(key, serverKeyPrefix) {
		return errNoKey // a secret has no place in a URL
	}
	at, err := k.access(key)
	if err != nil {
		return err
	}
	if !k.enter(c) {
		return errTooMany
	}
	defer k.leave()
	life := k.streams.life + rand.N(k.streams.life) // not all at once
	return k.follow(c, at.environment, at.snapshot, updateEvent(at.snapshot), life, k.streams.again, func(s *projections.Snapshot, changed bool) []byte {
		if _, err := k.access(key); err != nil {
			return nil // the key has ended, and the stream with it
		}
		if !changed {
			return heartbeatEvent
		}
		return updateEvent(s)
	})
}

// streamRetry is when to come again where too many streams are open: some end
// each second.
const streamRetry = 5 * time.Second

// enter counts a stream, which is left in the end. It is false, and the answer
// tells when to come again, where there are too many.
func (k *sdk) enter(c echo.Context) bool {
	if k.Server.streams.Add(1) > int64(k.MaxStreams) && k.MaxStreams > 0 {
		k.leave()
		setRetryAfter(c.Response().Header(), streamRetry)
		return false
	}
	return true
}

func (k *sdk) leave() { k.Server.streams.Add(-1) }

// follow answers with an event stream about an environment: with what is first,
// and then with what tell makes of each new snapshot, and of the same one where
// nothing changed for a while. A change is told again after some time, unless
// that is 0. The stream ends when tell makes nothing of it, and after its life,
// unless that is 0. It keeps no snapshot alive but the newest.
//
// A change wakes all streams of its environment at once, so what one of them does
// for it is kept small: the event is made once for all, and no timer is set as
// long as the one that runs is early enough.
func (k *sdk) follow(c echo.Context, id projections.EnvironmentID, snapshot *projections.Snapshot, first []byte,
	life, again time.Duration, tell func(s *projections.Snapshot, changed bool) []byte) error {
	header := c.Response().Header()
	header["Content-Type"] = contentTypeStream
	header.Set("X-Accel-Buffering", "no") // nginx would hold events back
	out := http.NewResponseController(c.Response().Writer)
	// A server's time limits are for requests that end.
	_ = out.SetReadDeadline(time.Time{}) // what cannot have a deadline needs none
	var deadline time.Time
	send := func(event []byte) bool {
		if now := time.Now(); deadline.Sub(now) < k.streams.write {
			deadline = now.Add(2 * k.streams.write)
			_ = out.SetWriteDeadline(deadline)
		}
		if _, err := c.Response().Write(event); err != nil {
			return false
		}
		return out.Flush() == nil
	}
	defer func() { _ = out.SetWriteDeadline(time.Now().Add(k.streams.write)) }() // for the end of the answer

	c.Response().WriteHeader(http.StatusOK)
	due := newDue(time.Now(), k.streams.heartbeat, life)
	defer due.timer.Stop()
	for event := first; event != nil && (len(event) == 0 || send(event)); {
		select {
		case <-snapshot.Superseded():
			if snapshot = k.Views.Snapshot(id); snapshot == nil {
				return nil // the environment is gone
			}
			event = tell(snapshot, true)
			if again > 0 {
				due.repeatAt(time.Now().Add(again)) // of several changes the last is told again
			}
		case now := <-due.timer.C:
			switch due.next(now) {
			case dueEnd:
				return nil
			case dueRepeat:
				event = tell(snapshot, true)
			case dueHeartbeat:
				event = tell(snapshot, false)
			default:
				event = noEvent
			}
		case <-k.closing:
			return nil
		case <-c.Request().Context().Done():
			return nil
		}
	}
	return nil
}

// due is what a stream does at some time, by one timer.
type due struct {
	timer                  *time.Timer
	at                     time.Time // when it goes off
	interval               time.Duration
	heartbeat, repeat, end time.Time // zero: never
}

func newDue(now time.Time, heartbeat, life time.Duration) *due {
	d := &due{interval: heartbeat, heartbeat: now.Add(heartbeat)}
	if life > 0 {
		d.end = now.Add(life)
	}
	d.at = d.earliest()
	d.timer = time.NewTimer(d.at.Sub(now))
	return d
}

func (d *due) earliest() time.Time {
	at := d.heartbeat
	for _, other := range []time.Time{d.repeat, d.end} {
		if !other.IsZero() && other.Before(at) {
			at = other
		}
	}
	return at
}

// repeatAt sets when the last change is told again. A timer that goes off before
// is left alone.
func (d *due) repeatAt(at time.Time) {
	d.repeat = at
	if at.Before(d.at) {
		d.at = at
		d.timer.Reset(time.Until(at))
	}
}

type dueKind int

const (
	dueNothing dueKind = iota
	dueHeartbeat
	dueRepeat
	dueEnd
)

// next is what is due when the timer has gone off, which it sets again.
func (d *due) next(now time.Time) dueKind {
	kind := dueNothing
	switch passed := func(at time.Time) bool { return !at.IsZero() && !at.After(now) }; {
	case passed(d.end):
		return dueEnd
	case passed(d.repeat):
		kind, d.repeat = dueRepeat, time.Time{}
	case passed(d.heartbeat):
		kind, d.heartbeat = dueHeartbeat, now.Add(d.interval)
	}
	d.at = d.earliest()
	d.timer.Reset(d.at.Sub(now))
	return kind
}

var (
	heartbeatEvent = []byte(": still here\n\n")
	noEvent        = []byte{} // nothing is sent, and the stream goes on
)

// updateEvent is the one event there is, spelled as the pickiest SDK wants it.
func updateEvent(s *projections.Snapshot) []byte {
	return s.Keep("update event", func(s *projections.Snapshot) any {
		b := appendSeconds([]byte("event: environment_updated\ndata: {\"updated_at\": "), s.Updated)
		return append(b, "}\n\n"...)
	}).([]byte)
}
