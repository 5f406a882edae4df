package blocks_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"flagledger/eventstore/blocks"
)

const name = "FLAGLEDGER_TEST"

// A nats is a real server on a directory; what it writes is what is read here.
type natsServer struct {
	t    *testing.T
	dir  string
	srv  *server.Server
	conn *nats.Conn
	js   jetstream.JetStream
}

func start(t *testing.T, dir string) *natsServer {
	t.Helper()
	s, err := server.NewServer(&server.Options{DontListen: true, NoSigs: true, JetStream: true, StoreDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(30 * time.Second) {
		t.Fatal("NATS does not start")
	}
	conn, err := nats.Connect("", nats.InProcessServer(s))
	if err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	n := &natsServer{t, dir, s, conn, js}
	t.Cleanup(n.stop)
	return n
}

func (n *natsServer) stop() {
	n.conn.Close()
	n.srv.Shutdown()
	n.srv.WaitForShutdown()
}

func (n *natsServer) stream() jetstream.Stream {
	n.t.Helper()
	s, err := n.js.CreateOrUpdateStream(n.t.Context(), jetstream.StreamConfig{Name: name, Subjects: []string{"t.>"}})
	if err != nil {
		n.t.Fatal(err)
	}
	return s
}

// publish stores messages of all shapes; each has its number in it.
func (n *natsServer) publish(from, to, size int) {
	n.t.Helper()
	for i := from; i <= to; i++ {
		msg := &nats.Msg{Subject: fmt.Sprint("t.", i%7), Data: append(payload(i), bytes.Repeat([]byte{'x'}, size)...)}
		if i%3 == 0 || i > 30 {
			msg.Header = nats.Header{"A": {"b", "c"}}
		}
		if _, err := n.js.PublishMsg(n.t.Context(), msg); err != nil {
			n.t.Fatal(err)
		}
	}
}

func payload(i int) []byte { return fmt.Appendf(nil, "<message %d>", i) }

func files(t *testing.T, dir string) (paths []string) {
	t.Helper()
	for i := 1; ; i++ {
		path := filepath.Join(blocks.Dir(dir, name), "msgs", fmt.Sprint(i, ".blk"))
		if _, err := os.Stat(path); err != nil {
			return paths
		}
		paths = append(paths, path)
	}
}

func edit(t *testing.T, path string, change func([]byte) []byte) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, change(data), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// holding returns whether a file of the stream has the message in it.
func holding(t *testing.T, dir string, i int) bool {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(blocks.Dir(dir, name), "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range found {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(data, payload(i)) {
			return true
		}
	}
	return false
}

func TestCheck(t *testing.T) {
	dir := t.TempDir()
	n := start(t, dir)
	n.stream()
	n.publish(1, 20, 10)
	n.publish(21, 24, 900_000)
	n.publish(25, 30, 900_000)
	n.publish(31, 40, 10)
	known := uint64(0)
	check := func() error { return blocks.CheckLog(t.Context(), blocks.Dir(dir, name), known) }
	if err := check(); err != nil {
		t.Errorf("while it is in use: %v", err)
	}
	n.stop()
	if err := check(); err != nil {
		t.Errorf("as it was written: %v", err)
	}
	if err := blocks.CheckLog(t.Context(), filepath.Join(dir, "none"), 0); err != nil {
		t.Errorf("a stream that is not there: %v", err)
	}
	paths := files(t, dir)
	if len(paths) != 2 {
		t.Fatalf("%d files, want two", len(paths))
	}
	whole := map[string][]byte{}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		whole[path] = data
	}
	at := func(data []byte, i int) int { return bytes.Index(data, payload(i)) }
	first, second := paths[0], paths[1]
	last := whole[second]
	inFirst := 0
	for at(whole[first], inFirst+1) >= 0 {
		inFirst++
	}
	type table struct {
		what   string
		change func()
		want   uint64 // message that is damaged; 0: no damage
		known  uint64 // up to which the log is known to go
	}
	tests := []table{
		{"a byte of a payload", func() { edit(t, first, func(b []byte) []byte { b[at(b, 7)] ^= 1; return b }) }, 7, 0},
		{"a byte of a length", func() {
			edit(t, first, func(b []byte) []byte {
				i := bytes.Index(b, binary.LittleEndian.AppendUint64(nil, 9))
				b[i-3] ^= 0x40
				return b
			})
		}, 9, 0},
		{"a byte of the newest message", func() { edit(t, second, func(b []byte) []byte { b[at(b, 40)] ^= 1; return b }) }, 40, 0},
		{"a file that is gone", func() { _ = os.Remove(first) }, 1, 0},
		{"a file cut off, that is not the last", func() { edit(t, first, func(b []byte) []byte { return b[:at(b, 20)] }) }, 20, 0},
		{"a message taken out", func() {
			edit(t, first, func(b []byte) []byte {
				begin := func(i int) int { return bytes.Index(b, binary.LittleEndian.AppendUint64(nil, uint64(i))) - 4 }
				return append(b[:begin(5):begin(5)], b[begin(6):]...)
			})
		}, 5, 0},
		{"zeros in the middle", func() { edit(t, second, func(b []byte) []byte { clear(b[at(b, 33):][:60]); return b }) }, 33, 0},
		{"the last message broken off", func() { edit(t, second, func(b []byte) []byte { return b[:len(b)-5] }) }, 0, 0},
		{"the last message with its end not written", func() { edit(t, second, func(b []byte) []byte { clear(b[len(b)-20:]); return b }) }, 0, 0},
		{"the last message, known, broken off", func() { edit(t, second, func(b []byte) []byte { return b[:len(b)-5] }) }, 40, 40},
		{"the last message, not known, broken off", func() { edit(t, second, func(b []byte) []byte { return b[:len(b)-5] }) }, 0, 39},
		{"known messages gone without a trace", func() {
			edit(t, second, func(b []byte) []byte { return b[:bytes.LastIndex(b, binary.LittleEndian.AppendUint64(nil, 38))-4] })
		}, 38, 40},
		{"the last file gone", func() { _ = os.Remove(second) }, uint64(inFirst) + 1, 40},
		{"all files gone", func() { _, _ = os.Remove(first), os.Remove(second) }, 1, 40},
		{"zeros behind the last message", func() { edit(t, second, func(b []byte) []byte { return append(b, make([]byte, 5000)...) }) }, 0, 0},
	}
	for range 30 { // anywhere at all in the part of small messages
		at := at(last, 31) + rand.N(at(last, 39)-at(last, 31))
		tests = append(tests, table{fmt.Sprint("a bit of byte ", at), func() { edit(t, second, func(b []byte) []byte { b[at] ^= 1 << rand.N(8); return b }) }, 1<<63 - 1, 0})
	}
	for _, test := range tests {
		for path, data := range whole {
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		test.change()
		known = test.known
		err := check()
		damage, damaged := errors.AsType[*blocks.Damage](err)
		switch {
		case test.want == 0 && err == nil, damaged && test.want == damage.Position:
		case test.want == 1<<63-1 && damaged && damage.Position >= 30 && damage.Position <= 40:
		default:
			t.Errorf("%s: %v, want message %d", test.what, err, test.want)
		}
	}
}

// What was deleted, and not overwritten because the server was killed, is overwritten; the server then finds all others, and goes on.
func TestScrub(t *testing.T) {
	dir := t.TempDir()
	n := start(t, dir)
	s := n.stream()
	n.publish(1, 20, 10)
	n.publish(21, 32, 900_000)
	n.publish(33, 40, 10)
	deleted := []int{1, 5, 6, 20, 35, 40}
	for _, i := range deleted { // as far as a server comes that is killed before it overwrites
		if err := s.DeleteMsg(t.Context(), uint64(i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.SecureDeleteMsg(t.Context(), 9); err != nil {
		t.Fatal(err)
	}
	n.stop()
	paths := files(t, dir)
	if len(paths) < 2 {
		t.Fatalf("%d files, want two", len(paths))
	}
	for _, i := range deleted {
		if !holding(t, dir, i) {
			t.Errorf("%d is gone already: the test shows nothing", i)
		}
	}
	// A copy that the server was writing when it was killed.
	old, err := os.ReadFile(paths[0])
	if err == nil {
		err = os.WriteFile(paths[0]+".tmp", old[:len(old)/2], 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	for again, want := range []int{len(deleted), 0} {
		if got, err := blocks.Scrub(t.Context(), blocks.Dir(dir, name)); got != want || err != nil {
			t.Errorf("run %d overwrote %d, %v; want %d", again, got, err, want)
		}
	}
	for _, i := range append(deleted, 9) {
		if holding(t, dir, i) {
			t.Errorf("message %d is still in a file", i)
		}
	}
	if err := blocks.Check(t.Context(), blocks.Dir(dir, name)); err != nil {
		t.Error(err)
	}
	if got, err := blocks.Scrub(t.Context(), filepath.Join(dir, "none")); got != 0 || err != nil {
		t.Errorf("of a stream that is not there %d are overwritten, %v", got, err)
	}

	// With its index, as after a stop, and without, as after a kill.
	for _, killed := range []bool{false, true} {
		if killed {
			if err := os.Remove(filepath.Join(blocks.Dir(dir, name), "msgs", "index.db")); err != nil {
				t.Fatal(err)
			}
		}
		n = start(t, dir)
		s = n.stream()
		info, err := s.Info(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if want := uint64(40 - len(deleted) - 1); !killed && info.State.Msgs != want || info.State.LastSeq < 40 {
			t.Errorf("the server has %d messages to %d, want %d", info.State.Msgs, info.State.LastSeq, want)
		}
		for i := 1; i <= 40; i++ {
			msg, err := s.GetMsg(t.Context(), uint64(i))
			gone := i == 9
			for _, d := range deleted {
				gone = gone || d == i
			}
			if gone && !errors.Is(err, jetstream.ErrMsgNotFound) || !gone && (err != nil || !bytes.HasPrefix(msg.Data, payload(i))) {
				t.Errorf("message %d: %v", i, err)
			}
		}
		n.publish(1000, 1001, 1)
		n.stop()
	}
}
