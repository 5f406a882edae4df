package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"flagledger/domain"
	"flagledger/eventstore"
	"flagledger/eventstore/identities"
)

// canaryTrait is in the traits of each person of TestErasure.
const canaryTrait = "canary-of-a-trait"

// Who is erased is gone: from every answer, and the seed that makes readable what was sealed for them from every file of the data directory. So is,
// from the next start on, who is erased while the program is killed. The audit tells that there was a person and not who, and a rollback to before
// does not bring the person back.
func TestErasure(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	args := []string{"--data-dir", dir, "--access-log", "all"}
	p := ready(t, args...)
	p.openShop("checkout")
	const killed = 6 // persons during whose erasure the program is killed
	whole, recorded := "canary-whole@example.com", "canary-recorded@example.com"
	persons := []string{whole, recorded}
	for i := range killed {
		persons = append(persons, fmt.Sprintf("canary-killed-%d@example.com", i))
	}
	sdk := map[string]string{"X-Environment-Key": clientKey}
	identify := func(word string) {
		for _, who := range persons {
			p.do(request{path: "/api/v1/identities/", header: sdk, body: fmt.Sprintf(`{"identifier":%q,"traits":[{"trait_key":"word","trait_value":"%s"}]}`, who, word)}, nil)
		}
	}
	identify(canaryTrait)
	surrogates := map[string]uuid.UUID{}
	for _, who := range persons {
		if who != recorded {
			p.do(request{method: "PUT", path: live + "/features/checkout/identity-overrides/" + who, body: `{"enabled":false,"reason":"for one"}`}, nil)
		}
		var shown struct{ Surrogate uuid.UUID }
		p.do(request{path: live + "/identities/" + who}, &shown) // a look
		surrogates[who] = shown.Surrogate
	}
	identify(canaryTrait + "-too") // who is stored already gets a record of traits
	var versions struct{ Items []struct{ Version uint64 } }
	p.do(request{path: live + "/versions?limit=1"}, &versions)
	if audit := string(p.do(request{path: "/admin/v1/audit?project=shop&limit=500"}, nil).body); !strings.Contains(audit, whole) {
		t.Fatalf("the audit does not name who has an override: %s", audit)
	}
	p.stop(syscall.SIGTERM)

	// What is stored of them, by surrogate: the seed of the key that all else is sealed with, and the newest traits.
	seeds := map[uuid.UUID][]byte{}
	var sealed [][]byte
	offline(t, dir, func(store *eventstore.Store) error {
		for name, seen := range map[string]func([]byte){
			identities.PersonsStream: func(data []byte) { seeds[uuid.UUID(data[1:17])] = data[17:49] },
			identities.TraitsStream:  func(data []byte) { sealed = append(sealed, data) },
		} {
			stream, err := store.JetStream().Stream(t.Context(), name)
			if err != nil {
				return err
			}
			for position := uint64(1); position <= stream.CachedInfo().State.LastSeq; position++ {
				if msg, err := stream.GetMsg(t.Context(), position); err == nil {
					seen(msg.Data)
				}
			}
		}
		return nil
	})
	if len(seeds) != len(persons) || len(sealed) == 0 {
		t.Fatalf("%d persons and %d records of traits are stored, want %d persons", len(seeds), len(sealed), len(persons))
	}
	for _, seed := range seeds {
		if len(filesWith(t, dir, seed)) == 0 {
			t.Fatal("a seed is not found even before the erasure: the test looks for the wrong thing")
		}
	}

	p = ready(t, args...)
	gone := func(who string) {
		t.Helper()
		p.await(who+" is gone", func(ctx context.Context) error {
			if a := p.send(ctx, request{path: live + "/identities/" + who}); a.err != nil || a.status != http.StatusNotFound {
				return fmt.Errorf("%d %s, error %w", a.status, a.body, a.err)
			}
			return nil
		})
	}
	erase := func(ctx context.Context, who string) answer {
		return p.send(ctx, request{method: "DELETE", path: live + "/identities/" + who + "?reason=asked+to"})
	}
	if a := erase(t.Context(), whole); a.err != nil || a.status != http.StatusNoContent {
		t.Fatalf("erased: %d %s %v", a.status, a.body, a.err)
	}
	gone(whole)

	// Killed at any moment: what was begun is completed by the next start, and what was not can be asked for again.
	for _, who := range persons[2:] {
		ended := make(chan answer, 1)
		go func() { ended <- erase(context.Background(), who) }()
		select {
		case <-ended:
		case <-time.After(rand.N(12 * time.Millisecond)):
		}
		p.kill()
		p = ready(t, args...)
		if a := erase(t.Context(), who); a.err != nil || a.status != http.StatusNoContent && a.status != http.StatusNotFound {
			t.Fatalf("erased again: %d %s %v", a.status, a.body, a.err)
		}
		gone(who)
	}

	// Killed right after the erasure was recorded, which nobody asks for again.
	p.stop(syscall.SIGTERM)
	offline(t, dir, func(store *eventstore.Store) error {
		var last domain.Recorded
		err := store.Load(t.Context(), 1, func(m eventstore.Message) error {
			rec, err := m.Decode()
			if err == nil && rec.Project != domain.OrganisationID {
				last = rec
			}
			return err
		})
		if err != nil {
			return err
		}
		_, err = store.Append(t.Context(), domain.Commit{
			ID: uuid.NewString(), Project: last.Project, Time: time.Now(), Actor: last.Actor, Source: domain.SourceAPI,
			Events: []domain.Event{domain.IdentityErased{Environment: "live", Identity: surrogates[recorded].String()}},
		}, last.Position)
		return err
	})
	p = ready(t, args...)
	p.awaitStderr(regexp.MustCompile(`an erasure was (completed) that had only been recorded`))
	gone(recorded)

	// Back to when they all had overrides.
	p.do(request{path: live + "/rollback", body: fmt.Sprintf(`{"version":%d,"plan_hash":"any","reason":"back"}`, versions.Items[0].Version)}, nil)
	p.kill()
	p = ready(t, args...)
	var list struct{ Items []json.RawMessage }
	if p.do(request{path: live + "/identities"}, &list); len(list.Items) > 0 {
		t.Errorf("after the rollback and a restart there are %s", list.Items)
	}
	secrets := map[string]string{"a trait": canaryTrait}
	for _, who := range persons {
		secrets[who] = who
		gone(who)
	}
	for _, path := range []string{
		"/admin/v1/audit?project=shop&limit=500", "/admin/v1/audit/export", "/admin/v1/access-log?limit=500",
		live + "/identities", live + "/versions", live + "/diff?from=1", shop + "/features/checkout",
	} {
		a := p.send(t.Context(), request{path: path})
		if a.err != nil || a.status != http.StatusOK {
			t.Errorf("%s: %d %s %v", path, a.status, a.body, a.err)
		}
		lacks(t, path, string(a.body), secrets)
		if strings.HasPrefix(path, "/admin/v1/audit?") && !strings.Contains(string(a.body), "an erased person") {
			t.Errorf("the audit does not tell of an erased person: %s", a.body)
		}
	}
	p.stop(syscall.SIGTERM)

	lacks(t, "the log of the process", p.stderr.String(), secrets)
	for what, secret := range secrets {
		if files := filesWith(t, dir, []byte(secret)); len(files) > 0 {
			t.Errorf("%s is in %v", what, files)
		}
	}
	for _, who := range persons {
		if files := filesWith(t, dir, seeds[surrogates[who]]); len(files) > 0 {
			t.Errorf("the seed of %s is in %v", who, files)
		}
	}
	offline(t, dir, func(store *eventstore.Store) error {
		stream, err := store.JetStream().Stream(t.Context(), identities.PersonsStream)
		if err != nil {
			return err
		}
		for position := uint64(1); position <= stream.CachedInfo().State.LastSeq; position++ {
			if msg, err := stream.GetMsg(t.Context(), position); err == nil && strings.HasPrefix(msg.Subject, "flagledger.person.") {
				t.Errorf("there is a person at position %d of the stream", position)
			}
		}
		return nil
	})
}

// offline opens the log of a data directory that nobody uses.
func offline(t *testing.T, dir string, use func(*eventstore.Store) error) {
	t.Helper()
	store, err := eventstore.Open(t.Context(), eventstore.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(use(store), store.Close()); err != nil {
		t.Fatal(err)
	}
}

// filesWith lists the files under dir that hold the bytes.
func filesWith(t *testing.T, dir string, wanted []byte) (found []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if bytes.Contains(content, wanted) {
			found = append(found, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(found)
	return found
}

// With an environment go the persons that are known in it, whom nobody could erase any more: at once, and at the next start where the
// program was killed. Where the key is used again, new ones are kept.
func TestPersonsOfDeletedEnvironments(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := ready(t, "--data-dir", dir)
	p.openShop("checkout")
	known := func(want int) {
		t.Helper()
		p.await(fmt.Sprintf("%d persons are known", want), func(ctx context.Context) error {
			a := p.send(ctx, request{path: "/metrics"})
			if a.err != nil || !strings.Contains(string(a.body), fmt.Sprintf("\nflagledger_identities %d\n", want)) {
				return fmt.Errorf("%s, %w", regexp.MustCompile("\nflagledger_identities .*").Find(a.body), a.err)
			}
			return nil
		})
	}
	identify := func(key string) {
		p.do(request{path: "/api/v1/identities/", header: map[string]string{"X-Environment-Key": key}, body: `{"identifier":"ada","traits":[{"trait_key":"word","trait_value":"secret"}]}`}, nil)
	}
	identify(clientKey)
	p.do(request{path: shop + "/environments", body: `{"key":"other","client_key":"other-client-key"}`}, nil)
	identify("other-client-key")
	known(2)
	p.do(request{method: "DELETE", path: live + "?reason=gone"}, nil)
	known(1)
	p.do(request{path: shop + "/environments", body: `{"key":"live","client_key":"second-client-key"}`}, nil)
	identify("second-client-key")
	known(2)
	p.do(request{method: "DELETE", path: shop + "/environments/other?reason=gone"}, nil)
	p.kill()
	p = ready(t, "--data-dir", dir)
	identify("second-client-key") // in case the kill was faster than the writing
	known(1)
	p.do(request{method: "DELETE", path: live + "?reason=gone"}, nil)
	known(0)
	p.stop(syscall.SIGTERM)
	offline(t, dir, func(store *eventstore.Store) error {
		stream, err := store.JetStream().Stream(t.Context(), identities.PeppersStream)
		if err == nil && stream.CachedInfo().State.Msgs > 0 {
			err = fmt.Errorf("%d peppers are left", stream.CachedInfo().State.Msgs)
		}
		return err
	})
}
