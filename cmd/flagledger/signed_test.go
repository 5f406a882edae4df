package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	natsio "github.com/nats-io/nats.go"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"flagledger/domain/transparency"
	"flagledger/eventstore/checkpoints"
	"flagledger/eventstore/storetest"
)

// Two replicas sign the same roots with keys of their own. When somebody else signs another root for the same log, both say so and are not ready.
func TestReplicasCompareRoots(t *testing.T) {
	nats := storetest.StartCluster(t, 1)
	start := func() *program {
		return ready(t, "--data-dir", t.TempDir(), "--nats-url", nats.URL(), "--replicas", "1")
	}
	one := start()
	one.openShop("checkout")
	other := start()
	checkpoint := func(p *program) transparency.Checkpoint {
		t.Helper()
		var signed answer
		p.await("a checkpoint", func(ctx context.Context) error {
			signed = p.send(ctx, request{path: "/admin/v1/log/checkpoint", header: map[string]string{"Flagledger-Min-Position": fmt.Sprint(one.position())}})
			if signed.status != http.StatusOK {
				return fmt.Errorf("it answers %d %s %w", signed.status, signed.body, signed.err)
			}
			return nil
		})
		c, err := transparency.ReadUnverified(string(signed.body))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	c := checkpoint(one)
	if again := checkpoint(other); again != c {
		t.Errorf("one replica signs %v, the other %v", c, again)
	}
	var known struct{ Items []struct{ Vkey string } }
	one.await("the keys of both", func(ctx context.Context) error {
		one.do(request{path: "/admin/v1/log/keys"}, &known)
		if len(known.Items) != 2 {
			return fmt.Errorf("there are %v", known.Items)
		}
		return nil
	})

	private, vkey, err := note.GenerateKey(rand.Reader, c.Origin)
	if err != nil {
		t.Fatal(err)
	}
	key, err := note.NewSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	forged := transparency.Checkpoint{Origin: c.Origin, Size: c.Size, Root: tlog.RecordHash([]byte("forged"))}
	signed, err := forged.Sign(key)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := natsio.Connect(nats.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.RequestMsg(&natsio.Msg{
		Subject: "flagledger.checkpoints.forged", Header: natsio.Header{checkpoints.HeaderKey: {vkey}}, Data: []byte(signed.Note),
	}, patience); err != nil {
		t.Fatal(err)
	}
	for _, p := range []*program{one, other} {
		detail := p.awaitReady(http.StatusServiceUnavailable)
		if !strings.Contains(detail, c.Root.String()) || !strings.Contains(detail, forged.Root.String()) {
			t.Errorf("it is not ready because of %q, which does not name both roots %v and %v", detail, c.Root, forged.Root)
		}
		if a := p.send(t.Context(), request{path: "/admin/v1/log/checkpoint"}); a.status != http.StatusServiceUnavailable {
			t.Errorf("a checkpoint: %d %s", a.status, a.body)
		}
		if a := p.send(t.Context(), request{path: "/metrics"}); !strings.Contains(string(a.body), "\nflagledger_checkpoint_stopped 1\n") {
			t.Error("the metrics do not tell that no checkpoint is signed any more")
		}
	}
}

// Checkpoints come to a file and to a server elsewhere, also one that fails at first; the last one when the program ends.
func TestCheckpointCopies(t *testing.T) {
	var failures atomic.Int32
	posted := make(chan string, 100)
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if failures.Add(1) < 3 {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		posted <- r.Method + " " + string(body)
	}))
	defer elsewhere.Close()
	dir := t.TempDir()
	file := filepath.Join(dir, "checkpoints")
	p := ready(t, "--data-dir", dir, "--checkpoint-file", file, "--checkpoint-url", elsewhere.URL+"/secret")
	p.openShop("checkout")
	end := p.position()
	p.stop(os.Interrupt)
	want := fmt.Sprintf("\n%d\n", end)
	for {
		var got string
		select {
		case got = <-posted:
		case <-time.After(patience):
		}
		if !strings.HasPrefix(got, "POST flagledger/") {
			t.Fatalf("got %q", got)
		}
		if strings.Contains(got, want) {
			break
		}
	}
	kept, err := os.ReadFile(file)
	if err != nil || !strings.Contains(string(kept), want) {
		t.Errorf("in the file stands %q, %v", kept, err)
	}
	keys, err := transparency.Verifiers(strings.TrimSpace(must(t, p, "key", "show", "--data-dir", dir)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := transparency.ReadSince(strings.NewReader(string(kept)), keys); err != nil {
		t.Errorf("the file cannot be read as what was kept: %v", err)
	}
	if strings.Contains(p.stderr.String(), "/secret") {
		t.Error("the log tells the URL")
	}

	// Rotated, the next start signs with both.
	if printed := must(t, p, "key", "rotate", "--data-dir", dir, "--overlap", "1h"); strings.Count(printed, "flagledger/") != 2 || !strings.Contains(printed, " until ") {
		t.Errorf("rotated: %s", printed)
	}
	p = ready(t, "--data-dir", dir)
	p.await("a checkpoint with both signatures", func(ctx context.Context) error {
		signed := p.send(ctx, request{path: "/admin/v1/log/checkpoint"})
		if strings.Count(string(signed.body), "\n— ") != 2 {
			return fmt.Errorf("it answers %d %s %w", signed.status, signed.body, signed.err)
		}
		return nil
	})
}

// More checkpoints than a place takes do not hold up who signs: the oldest are given up.
func TestCopiesAreBounded(t *testing.T) {
	c, err := newCopies(filepath.Join(t.TempDir(), "none", "file"), "", slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	for size := range uint64(queued + 10) {
		c.offer(transparency.Signed{Checkpoint: transparency.Checkpoint{Size: size + 1}})
	}
	if n := len(c.places[0].queue); n != queued {
		t.Errorf("%d wait", n)
	}
	if first := <-c.places[0].queue; first.Size != 11 {
		t.Errorf("the first that waits is of %d", first.Size)
	}
	for _, bad := range []string{"secret", "ftp://secret", "http://%zz/secret"} {
		if _, err := newCopies("", bad, slog.New(slog.NewTextHandler(t.Output(), nil))); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("the URL %s: %v", bad, err)
		}
	}
}
