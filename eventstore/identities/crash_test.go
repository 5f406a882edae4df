package identities_test

import (
	"bufio"
	"context"
	"encoding/hex"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"flagledger/eventstore/identities"
)

// crashDir makes the test binary the process that is killed.
const crashDir = "IDENTITIES_CRASH_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDir); dir != "" {
		if err := untilKilled(context.Background(), dir); err != nil {
			fmt.Println("failed:", err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// untilKilled identifies, stores and erases people on a server of its own, and
// prints a line before and after whatever it was promised to last:
//
//	stored  <identifier> <surrogate>            by Surrogate
//	flushed <round>                             all traits up to this round
//	erasing <identifier> <surrogate>
//	erased  <identifier> <surrogate> <seed>
func untilKilled(ctx context.Context, dir string) error {
	srv, err := server.NewServer(&server.Options{
		DontListen: true, NoSigs: true, JetStream: true, StoreDir: filepath.Join(dir, "nats"), SyncAlways: true,
	})
	if err != nil {
		return err
	}
	srv.Start()
	if !srv.ReadyForConnections(time.Minute) {
		return fmt.Errorf("NATS does not start")
	}
	conn, err := nats.Connect("", nats.InProcessServer(srv))
	if err != nil {
		return err
	}
	js, err := jetstream.New(conn)
	if err != nil {
		return err
	}
	s, err := identities.Open(ctx, js, identities.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	persons, err := js.Stream(ctx, identities.PersonsStream)
	if err != nil {
		return err
	}
	run := time.Now().UnixNano()
	for round := 1; ; round++ {
		for i := range 30 {
			s.Identify(production, fmt.Sprint("p", i), traits("run", run, "round", round))
		}
		who := fmt.Sprintf("stored-%d-%d", run, round)
		surrogate, err := s.Surrogate(ctx, production, who)
		if err != nil {
			return err
		}
		fmt.Println("stored", who, surrogate)
		if round%3 == 0 {
			if err := s.Flush(ctx); err != nil {
				return err
			}
			fmt.Println("flushed", round, run)
		}
		if round%2 == 0 {
			who := fmt.Sprintf("erased-%d-%d", run, round)
			surrogate, err := s.Surrogate(ctx, production, who)
			if err != nil {
				return err
			}
			s.Identify(production, who, traits("secret", "x"))
			if round%4 == 0 {
				if err := s.Flush(ctx); err != nil {
					return err
				}
			}
			fmt.Println("stored", who, surrogate)
			seed, err := seedIn(ctx, persons, surrogate)
			if err != nil {
				return err
			}
			fmt.Println("erasing", who, surrogate)
			if _, _, err := s.Erase(ctx, production, who); err != nil {
				return err
			}
			fmt.Println("erased", who, surrogate, seed)
		}
	}
}

// seedIn looks for the seed of a person, from the end.
func seedIn(ctx context.Context, persons jetstream.Stream, surrogate string) (string, error) {
	info, err := persons.Info(ctx)
	if err != nil {
		return "", err
	}
	for seq := info.State.LastSeq; seq > 0; seq-- {
		msg, err := persons.GetMsg(ctx, seq)
		if err == nil && len(msg.Data) > 49 && hex.EncodeToString(msg.Data[1:17]) == strings.ReplaceAll(surrogate, "-", "") {
			return hex.EncodeToString(seedOf(msg.Data)), nil
		}
	}
	return "", fmt.Errorf("no record of %s", surrogate)
}

// What was promised holds after the process, and with it the server, is killed
// at any moment: who was stored is there, who was erased is not.
func TestKilled(t *testing.T) {
	rounds := 6
	if testing.Short() {
		rounds = 2
	}
	dir := t.TempDir()
	stored, erasing, erased := map[string]string{}, map[string]bool{}, map[string]string{} // by surrogate
	for round := range rounds {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), crashDir+"="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		flushed, run := 0, 0
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			words := strings.Fields(lines.Text())
			switch words[0] {
			case "stored":
				stored[words[2]] = words[1]
			case "flushed":
				_, err = fmt.Sscan(words[1]+" "+words[2], &flushed, &run)
			case "erasing":
				erasing[words[2]] = true
			case "erased":
				erased[words[2]] = words[3]
			default:
				t.Fatal(lines.Text())
			}
			if err != nil {
				t.Fatal(err)
			}
			if n == 25+13*round {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := cmd.Wait(); err == nil {
			t.Fatal("the process ended by itself")
		}

		onDisk := func(when string) {
			for surrogate, text := range erased {
				seed, err := hex.DecodeString(text)
				if err != nil {
					t.Fatal(err)
				}
				if files := filesWith(t, dir, seed); len(files) > 0 {
					t.Errorf("round %d, %s: the seed of the erased %s is in %v", round, when, surrogate, files)
				}
			}
		}
		onDisk("before the restart")
		srv := natsServer(t, dir)
		s := open(t, connect(t, srv), identities.Options{})
		for surrogate, who := range stored {
			got, ok := s.Identifier(production, surrogate)
			switch _, gone := erased[surrogate]; {
			case gone && (ok || s.Get(production, who) != nil):
				t.Errorf("round %d: the erased %s is back as %q", round, surrogate, got)
			case !gone && !erasing[surrogate] && got != who:
				t.Errorf("round %d: %s leads to %q, %t; want %s", round, surrogate, got, ok, who)
			}
		}
		for i := range 30 {
			id := s.Get(production, fmt.Sprint("p", i))
			if id == nil {
				t.Errorf("round %d: p%d is lost", round, i)
				continue
			}
			var at, of int
			if _, err := fmt.Sscanf(show(id), fmt.Sprintf("p%d round=%%d run=%%d", i), &at, &of); err != nil {
				t.Fatal(err, show(id))
			}
			if flushed > 0 && (of != run || at < flushed) {
				t.Errorf("round %d: p%d has the traits of %d in %d, after %d in %d was stored", round, i, at, of, flushed, run)
			}
		}
		if stats := s.Stats(); stats.Unreadable > 0 {
			t.Errorf("round %d: %+v", round, stats)
		}
		closeStore(t, s)
		stop(srv)
		onDisk("after it")
	}
	t.Logf("%d stored, %d erased", len(stored), len(erased))
}
