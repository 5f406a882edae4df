package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/google/uuid"

	"flagledger/domain"
	"flagledger/eventstore"
	"flagledger/eventstore/identities"
)

// A phase is something the program can be killed in: it shows in files of the data directory, which then change.
type phase struct {
	name, files string // a pattern
	starting    bool   // it is a start that is killed, not a program at work
	withoutView bool   // before it the views are removed
}

// phases are those of TestKill, one after the other. What follows the change of the file is what is cut short: a commit that is stored and not
// applied or answered, a transaction of the views half written, a person deleted and not overwritten.
func phases(dir string) []phase {
	stream := func(name, files string) string {
		return filepath.Join(dir, "nats", "jetstream", "*", "streams", name, "msgs", files)
	}
	views := filepath.Join(dir, "views.db")
	return []phase{
		{name: "append", files: stream(eventstore.Stream, "*.blk")},
		{name: "apply", files: views},
		{name: "checkpoint", files: stream("FLAGLEDGER_CHECKPOINTS", "*.blk")},
		{name: "identity write", files: stream(identities.TraitsStream, "*.blk")},
		{name: "erasure", files: stream(identities.PersonsStream, "*.blk.tmp")},
		{name: "start", files: filepath.Join(dir, "LOCK"), starting: true},
		{name: "rebuild", files: views, starting: true, withoutView: true},
	}
}

// state is what can be seen of the files from outside.
func (ph phase) state() string {
	paths, err := filepath.Glob(ph.files)
	if err != nil {
		panic(err)
	}
	var seen []byte
	for _, path := range paths {
		if info, err := os.Stat(path); err == nil {
			seen = fmt.Appendf(seen, "%s %d %v\n", path, info.Size(), info.ModTime())
		}
	}
	return string(seen)
}

// await returns as soon as the files are other than they were.
func (ph phase) await(t *testing.T, before string) {
	t.Helper()
	for begin := time.Now(); ph.state() == before; runtime.Gosched() {
		if time.Since(begin) > patience {
			t.Fatalf("%s: nothing has changed in %s within %v", ph.name, ph.files, patience)
		}
	}
}

// erase has one person after the other get an override and be erased, and returns how many were.
func (c *crashing) erase() (erased int) {
	run := 0
	for n := 1; ; n++ {
		person := fmt.Sprintf("erased-%d", n)
		for _, r := range []request{
			{method: "PUT", path: live + "/features/banner/identity-overrides/" + person, body: `{"enabled":true}`, header: map[string]string{"Idempotency-Key": person}},
			{method: "DELETE", path: live + "/identities/" + person + "?reason=asked+to"},
		} {
			for {
				p, now := c.program(run)
				if p == nil {
					return erased
				}
				a := p.send(context.Background(), r)
				if a.err != nil {
					run = now
					continue
				}
				// One who is not there was erased by the request that had no answer.
				if a.status >= 300 && (r.method != "DELETE" || a.status != http.StatusNotFound) {
					c.t.Errorf("%s %s: %d %s", r.method, r.path, a.status, a.body)
					return erased
				}
				run = now - 1
				break
			}
		}
		erased++
	}
}

var unsaved = regexp.MustCompile(`(?m)^flagledger_identities_unsaved (\d+)$`)

// travel gives a person one trait after the other, and returns how many were stored. Those that were, as the metric says, are there after the program
// was killed.
func (c *crashing) travel() (stored int) {
	sent, run := 0, 0
	for {
		p, now := c.program(run)
		if p == nil {
			return stored
		}
		run = now
		var person struct{ Traits struct{ N int } }
		a := p.send(context.Background(), request{path: live + "/identities/traveller"})
		if a.err != nil {
			continue
		}
		if err := json.Unmarshal(a.body, &person); err != nil || person.Traits.N < stored || person.Traits.N > sent {
			c.t.Errorf("run %d: the trait is %d, %d was stored, and %d sent; %s %v", run, person.Traits.N, stored, sent, a.body, err)
			return stored
		}
		for {
			sent++
			a := p.send(context.Background(), request{
				path: "/api/v1/identities/", header: map[string]string{"X-Environment-Key": clientKey},
				body: fmt.Sprintf(`{"identifier":"traveller","traits":[{"trait_key":"n","trait_value":%d}]}`, sent),
			})
			if a.err != nil || !c.saved(p) {
				break
			}
			stored = sent
			if c.over() {
				return stored
			}
		}
	}
}

// saved waits until all traits are stored; false: the program has died.
func (c *crashing) saved(p *program) bool {
	for {
		a := p.send(context.Background(), request{path: "/metrics"})
		if a.err != nil {
			return false
		}
		if found := unsaved.FindSubmatch(a.body); len(found) == 2 && string(found[1]) == "0" {
			return true
		}
		runtime.Gosched()
	}
}

// personVersion is the first byte of a person's record, before the surrogate.
const personVersion = 1

// checkErased sees that no file has the record of a person who is erased, and counts them.
func checkErased(t *testing.T, dir string) (erased int) {
	t.Helper()
	var records [][]byte // as they begin
	offline(t, dir, func(store *eventstore.Store) error {
		return store.Load(t.Context(), 1, func(m eventstore.Message) error {
			rec, err := m.Decode()
			for _, e := range rec.Commit.Events {
				if e, ok := e.(domain.IdentityErased); ok {
					surrogate, err := uuid.Parse(e.Identity)
					if err != nil {
						return err
					}
					records = append(records, append([]byte{personVersion}, surrogate[:]...))
				}
			}
			return err
		})
	})
	for _, record := range records {
		if files := filesWith(t, dir, record); len(files) > 0 {
			t.Errorf("the record of erased person %x is in %v", record[1:], files)
		}
	}
	return len(records)
}

// rounds is how many of them a test makes.
func rounds(t *testing.T, usual, short int) int {
	t.Helper()
	n := usual
	if testing.Short() {
		n = short
	}
	if text := os.Getenv("CHAOS_ROUNDS"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	return n
}
