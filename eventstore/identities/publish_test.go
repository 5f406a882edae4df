package identities

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Whatever the mixture of conflicts and sizes, every other message is stored,
// at the sequence that is reported.
func TestPublish(t *testing.T) {
	srv, err := server.NewServer(&server.Options{
		DontListen: true, NoSigs: true, MaxPayload: 8 << 20, JetStream: true, StoreDir: filepath.Join(t.TempDir(), "nats"),
	})
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	defer srv.Shutdown()
	if !srv.ReadyForConnections(time.Minute) {
		t.Fatal("NATS does not start")
	}
	conn, err := nats.Connect("", nats.InProcessServer(srv))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	s := &Store{js: js}
	if err := s.openStreams(t.Context(), 1, false); err != nil {
		t.Fatal(err)
	}

	for name, test := range map[string]struct {
		messages  int
		size      int
		conflicts []int
	}{
		"none":              {},
		"one":               {messages: 1},
		"one in conflict":   {messages: 1, conflicts: []int{0}},
		"few":               {messages: fewMessages, conflicts: []int{2, 3}},
		"a batch":           {messages: fewMessages + 1},
		"the first":         {messages: 100, conflicts: []int{0}},
		"the last":          {messages: 100, conflicts: []int{99}},
		"some":              {messages: 500, conflicts: []int{3, 77, 78, 250, 251, 499}},
		"a full batch":      {messages: batchMessages},
		"more than a batch": {messages: batchMessages + 1},
		"large ones":        {messages: 12, size: maxRecord, conflicts: []int{5}},
	} {
		t.Run(name, func(t *testing.T) {
			token := EnvironmentToken(fmt.Sprintf("p%x", name), 1)
			messages := make([]*message, test.messages)
			for i := range messages {
				messages[i] = &message{subject: fmt.Sprintf("%s%s.m%d", traitsPrefix, token, i), payload: make([]byte, test.size+1)}
				if i%3 == 0 {
					messages[i].expect = anySequence
				}
			}
			for _, i := range test.conflicts {
				messages[i].expect = 1_000_000
			}
			if err := s.publish(t.Context(), messages); err != nil {
				t.Fatal(err)
			}
			conflicts := map[int]bool{}
			for _, i := range test.conflicts {
				conflicts[i] = true
			}
			for i, m := range messages {
				if m.conflict != conflicts[i] || m.conflict == (m.sequence > 0) {
					t.Errorf("message %d: conflict %t, sequence %d", i, m.conflict, m.sequence)
				}
				if m.sequence == 0 {
					continue
				}
				msg, err := s.traits.GetMsg(t.Context(), m.sequence)
				if err != nil || msg.Subject != m.subject {
					t.Errorf("message %d is not at sequence %d: %v", i, m.sequence, err)
				}
			}
		})
	}
}
