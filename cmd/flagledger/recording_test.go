package main

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"flagledger/eventstore"
	"flagledger/eventstore/identities"
	httpapi "flagledger/http"
	"flagledger/migrations"
	"flagledger/projections"
)

// A recording is a log as an earlier version of the program wrote it, and what that version made of it.
type recording struct {
	Root     string              `json:"root"`    // of the transparency log, hex
	Digests  map[string][]string `json:"digests"` // of the versions 1, 2, 3 ... by project and environment
	Messages []recordedMessage   `json:"messages"`
}

type recordedMessage struct {
	Position   uint64      `json:"position"`
	Subject    string      `json:"subject"`
	Header     nats.Header `json:"header"`
	Payload    string      `json:"payload"`
	RecordedAt time.Time   `json:"recorded_at"`
}

// digests are those of all versions in the views.
func digests(t *testing.T, views *projections.Views) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	for _, p := range views.Projects() {
		for key, env := range p.Environments.All() {
			versions, err := views.Versions(projections.EnvironmentID{Project: p.ID, ID: env.ID}, 0, 1000)
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range slices.Backward(versions) {
				all[p.Key+"/"+key] = append(all[p.Key+"/"+key], v.Digest)
			}
		}
	}
	return all
}

// readRecording reads a recording that is kept under testdata/log, by the event version that it is the last one with.
func readRecording(t *testing.T, name string) (r recording) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata/log", name))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatal(err)
	}
	return r
}

// TestRecordings replays logs that earlier versions of the program recorded: the versions of the environments have the digests they had then, and
// the transparency log the root. Nothing that was recorded is written anew.
func TestRecordings(t *testing.T) {
	files, err := filepath.Glob("testdata/log/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d recordings, %v", len(files), err)
	}
	for _, file := range files {
		name := filepath.Base(file)
		t.Run(name, func(t *testing.T) {
			r := readRecording(t, name)
			views, err := projections.Open(filepath.Join(t.TempDir(), "views.db"), projections.Options{Schema: migrations.SchemaVersion, Encode: httpapi.EncodeFlag, Upcast: upcast})
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := views.Close(); err != nil {
					t.Error(err)
				}
			}()
			old := strings.TrimSuffix(name, ".json")
			hasOld := false
			for i, m := range r.Messages {
				rec, err := eventstore.Message{Position: m.Position, Subject: m.Subject, Header: m.Header, Payload: []byte(m.Payload), RecordedAt: m.RecordedAt}.Decode()
				if err != nil {
					t.Fatal(err)
				}
				if string(rec.Raw) != m.Payload {
					t.Errorf("position %d was recorded as %s, and is now %s", m.Position, m.Payload, rec.Raw)
				}
				hasOld = hasOld || strings.Contains(m.Payload, `"`+old+`"`)
				for _, e := range rec.Events {
					if e.EventType() == old {
						t.Errorf("position %d: %s is still a current type", m.Position, old)
					}
				}
				if err := views.Apply(rec, uint64(len(r.Messages)-1-i)); err != nil {
					t.Fatal(err)
				}
			}
			if !hasOld {
				t.Errorf("there is no %s in the recording", old)
			}
			if got := digests(t, views); !reflect.DeepEqual(got, r.Digests) {
				t.Errorf("the digests are %v, were %v", got, r.Digests)
			}
			root, err := views.TreeRoot(views.Position())
			if got := hex.EncodeToString(root[:]); err != nil || got != r.Root {
				t.Errorf("the root is %s, %v, was %s", got, err, r.Root)
			}
		})
	}
}

// TestUpgrade starts the program on a log of an earlier version. It serves the versions with their digests, finds old events by their new type,
// records only new versions, and leaves what is there as it is.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	r := readRecording(t, "segment.created.v1.json")
	dir := t.TempDir()
	store, err := eventstore.Open(t.Context(), eventstore.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range r.Messages {
		ack, err := store.JetStream().PublishMsg(t.Context(), &nats.Msg{Subject: m.Subject, Header: m.Header, Data: []byte(m.Payload)})
		if err != nil || ack.Sequence != m.Position {
			t.Fatalf("position %d, %v, want %d", ack.Sequence, err, m.Position)
		}
	}
	if err := errors.Join(identities.CreateStreams(t.Context(), store.JetStream(), 1), store.Close()); err != nil {
		t.Fatal(err)
	}

	p := serving(t, nil, "--data-dir", dir)
	p.awaitReady(http.StatusOK)
	const mart, token = "/admin/v1/projects/the-mart", "flt_demo_admin"
	ask := func(method, path, body string, out any) answer {
		t.Helper()
		return p.do(request{method: method, path: path, token: token, body: body}, out)
	}
	for place, want := range r.Digests {
		_, environment, _ := strings.Cut(place, "/")
		var page struct{ Items []struct{ Digest string } }
		ask("GET", mart+"/environments/"+environment+"/versions?limit=100", "", &page)
		var got []string
		for _, v := range slices.Backward(page.Items) {
			got = append(got, v.Digest)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s has the digests %v, had %v", place, got, want)
		}
	}
	var created struct {
		Items []struct{ Types []string }
	}
	ask("GET", "/admin/v1/audit?project=the-mart&object=segment:insiders&type=segment.created.v2", "", &created)
	if len(created.Items) != 2 { // created, and brought back
		t.Errorf("the audit finds %v", created.Items)
	}

	// A segment that is brought back now keeps its revision.
	var segment struct{ Revision int }
	ask("GET", mart+"/segments/insiders", "", &segment)
	was := segment.Revision
	ask("DELETE", mart+"/environments/staging/features/show_paypal_checkout/segment-overrides/insiders?reason=x", "", nil)
	deleted := ask("DELETE", mart+"/segments/insiders?reason=x", "", nil).header.Get("Flagledger-Position")
	ask("POST", mart+"/undo", `{"position":`+deleted+`,"plan_hash":"any","reason":"it was needed"}`, nil)
	ask("GET", mart+"/segments/insiders", "", &segment)
	if segment.Revision != was || was < 2 {
		t.Errorf("a segment of revision %d comes back with %d", was, segment.Revision)
	}
	p.stop(syscall.SIGTERM)

	if store, err = eventstore.Open(t.Context(), eventstore.Options{Dir: dir}); err != nil {
		t.Fatal(err)
	}
	err = store.Load(t.Context(), 1, func(m eventstore.Message) error {
		if m.Position <= uint64(len(r.Messages)) {
			if was := r.Messages[m.Position-1]; string(m.Payload) != was.Payload || m.Subject != was.Subject || !reflect.DeepEqual(m.Header, was.Header) {
				return fmt.Errorf("it was %+v and is %+v", was, m)
			}
		} else if strings.Contains(string(m.Payload), `"segment.created.v1"`) {
			return fmt.Errorf("an old version is recorded: %s", m.Payload)
		}
		return nil
	})
	if err := errors.Join(err, store.Close()); err != nil {
		t.Error(err)
	}
	checkRebuild(t, dir)
}
