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
	// write is how long a client may take to take an event.
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
	end := time.NewTimer(k.streams.life + rand.N(k.streams.life)) // not all at once
	defer end.Stop()
	return k.follow(c, at.environment, at.snapshot, updateEvent(at.snapshot.Updated), end.C, k.streams.again, func(s *projections.Snapshot, changed bool) []byte {
		if _, err := k.access(key); err != nil {
			return nil // the key has ended, and the stream with it
		}
		if !changed {
			return heartbeatEvent
		}
		return updateEvent(s.Updated)
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
// that is 0. The stream ends when tell makes nothing of it, and at the given
// end. It keeps no snapshot alive but the newest.
func (k *sdk) follow(c echo.Context, id projections.EnvironmentID, snapshot *projections.Snapshot, first []byte,
	end <-chan time.Time, again time.Duration, tell func(s *projections.Snapshot, changed bool) []byte) error {
	header := c.Response().Header()
	header["Content-Type"] = contentTypeStream
	header.Set("X-Accel-Buffering", "no") // nginx would hold events back
	out := http.NewResponseController(c.Response())
	// A server's time limits are for requests that end.
	_ = out.SetReadDeadline(time.Time{}) // what cannot have a deadline needs none
	send := func(event []byte) bool {
		_ = out.SetWriteDeadline(time.Now().Add(k.streams.write))
		if _, err := c.Response().Write(event); err != nil {
			return false
		}
		return out.Flush() == nil
	}
	defer func() { _ = out.SetWriteDeadline(time.Now().Add(k.streams.write)) }() // for the end of the answer

	c.Response().WriteHeader(http.StatusOK)
	heartbeat := time.NewTicker(k.streams.heartbeat)
	defer heartbeat.Stop()
	var repeat <-chan time.Time
	for event := first; event != nil && send(event); {
		select {
		case <-snapshot.Superseded():
			if snapshot = k.Views.Snapshot(id); snapshot == nil {
				return nil // the environment is gone
			}
			event = tell(snapshot, true)
			if again > 0 {
				repeat = time.After(again) // of several changes the last is told again
			}
		case <-repeat:
			event, repeat = tell(snapshot, true), nil
		case <-heartbeat.C:
			event = tell(snapshot, false)
		case <-end:
			return nil
		case <-k.closing:
			return nil
		case <-c.Request().Context().Done():
			return nil
		}
	}
	return nil
}

var heartbeatEvent = []byte(": still here\n\n")

// updateEvent is the one event there is, spelled as the pickiest SDK wants it.
func updateEvent(updated time.Time) []byte {
	b := appendSeconds([]byte("event: environment_updated\ndata: {\"updated_at\": "), updated)
	return append(b, "}\n\n"...)
}
