package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"sync"
	"time"

	"flagledger/domain/transparency"
)

// copies bring checkpoints to places outside, a file or a URL, where whoever can
// alter the log cannot alter them as well. Each place has a queue of its own, so
// that one which is away holds up neither the others nor the signing.
type copies struct {
	places []*place
	log    *slog.Logger
}

// queued is how many checkpoints wait for a place that is away. The oldest is
// given up for a newer one, which vouches for all that the older did.
const queued = 1000

type place struct {
	name    string // for the log, without secrets
	queue   chan transparency.Signed
	deliver func(context.Context, transparency.Signed) error
}

// newCopies makes those that are configured; "" is none.
func newCopies(file, target string, log *slog.Logger) (*copies, error) {
	c := &copies{log: log}
	add := func(name string, deliver func(context.Context, transparency.Signed) error) {
		c.places = append(c.places, &place{name, make(chan transparency.Signed, queued), deliver})
	}
	if file != "" {
		add("file "+file, func(_ context.Context, s transparency.Signed) error { return appendNote(file, s.Note) })
	}
	if target != "" {
		u, err := url.Parse(target)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return nil, errors.New("checkpoint URL: want one such as https://example.com/checkpoints") // the value may hold a secret
		}
		client := &http.Client{Timeout: 10 * time.Second}
		add("server "+u.Host, func(ctx context.Context, s transparency.Signed) error { return postNote(ctx, client, target, s.Note) })
	}
	return c, nil
}

// offer puts a checkpoint into each queue. It does not wait.
func (c *copies) offer(s transparency.Signed) {
	for _, p := range c.places {
		for {
			select {
			case p.queue <- s:
			default:
				select {
				case old := <-p.queue:
					c.log.Warn("a checkpoint was not copied: too many wait", "to", p.name, "size", old.Size)
				default:
				}
				continue
			}
			break
		}
	}
}

// waiting is how many wait to be delivered.
func (c *copies) waiting() (n int) {
	for _, p := range c.places {
		n += len(p.queue)
	}
	return n
}

// run delivers until ctx is done, and then what is left for as long as last.
func (c *copies) run(ctx context.Context, last time.Duration) {
	ending, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(last, end) })()
	var running sync.WaitGroup
	for _, p := range c.places {
		running.Go(func() {
			for {
				select {
				case s := <-p.queue:
					c.persist(ctx, ending, p, s)
				case <-ctx.Done():
					for len(p.queue) > 0 && ending.Err() == nil {
						c.persist(ctx, ending, p, <-p.queue)
					}
					return
				}
			}
		})
	}
	running.Wait()
}

// persist delivers one, and tries again after a pause that grows to a minute,
// and that is short once ctx is done, until ending is.
func (c *copies) persist(ctx, ending context.Context, p *place, s transparency.Signed) {
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, time.Minute) {
		err := p.deliver(ending, s)
		if err == nil {
			return
		}
		c.log.Warn("copy a checkpoint", "to", p.name, "size", s.Size, "error", err)
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			pause = 50 * time.Millisecond
			select {
			case <-time.After(pause):
			case <-ending.Done():
				timer.Stop()
				return
			}
		}
		timer.Stop()
	}
}

// appendNote adds a checkpoint to the file, durably. Of one that does not fit on the
// disk it leaves nothing: those behind it could not be told from the rest of it.
func appendNote(name, note string) error {
	f, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	if n, err := f.WriteString(note); err != nil {
		if n > 0 {
			err = errors.Join(err, f.Truncate(info.Size()))
		}
		return errors.Join(err, f.Close())
	}
	return errors.Join(f.Sync(), f.Close())
}

// postNote sends a checkpoint. Errors do not tell the URL.
func postNote(ctx context.Context, client *http.Client, target, note string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, bytes.NewReader([]byte(note)))
	if err != nil {
		return errors.New("make the request")
	}
	req.Header.Set("Content-Type", "text/plain; charset=utf-8")
	req.Header.Set("User-Agent", "flagledger/"+version)
	res, err := client.Do(req)
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		return wrapped.Err
	}
	if err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 64<<10)) // so that the connection can be used again
	_ = res.Body.Close()
	if res.StatusCode/100 != 2 {
		return fmt.Errorf("it answers %s", res.Status)
	}
	return nil
}
