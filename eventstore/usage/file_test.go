package usage

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"
)

// Whatever is read, in whatever order and how often: the sums are those of the
// newest message of each part.
func TestSumsDoNotDependOnOrder(t *testing.T) {
	now := time.Date(2026, 5, 3, 12, 30, 0, 0, time.UTC)
	dir, n := t.TempDir(), 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		s, err := Open(filepath.Join(dir, fmt.Sprint(n)), Options{Now: func() time.Time { return now }})
		if err != nil {
			t.Fatal(err)
		}
		s.file.NoSync = true
		defer func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}()
		processes := []uuid.UUID{{1}, {2}, {3}}
		outcomes := []string{"environment", "identity", "segment:beta"}
		type place struct {
			process, number, outcome int
		}
		newest := map[place]uint64{}
		var sent []written
		for range rapid.IntRange(1, 30).Draw(t, "messages") {
			at := place{process: rapid.IntRange(0, 2).Draw(t, "process"), number: rapid.IntRange(1, 2).Draw(t, "part")}
			w := written{process: processes[at.process], number: uint32(at.number), message: message{Hour: now.Add(-time.Duration(at.number) * time.Hour).Truncate(time.Hour)}}
			for at.outcome = range outcomes {
				newest[at] += rapid.Uint64Range(0, 5).Draw(t, "more")
				w.Counts = append(w.Counts, &row{Key: Key{Project: "p", Environment: 1, Feature: "f", Source: Server, Outcome: outcomes[at.outcome]}, Count: newest[at]})
			}
			sent = append(sent, w)
		}
		read := append(rapid.Permutation(sent).Draw(t, "order"), sent[:rapid.IntRange(0, len(sent)).Draw(t, "again")]...)
		for i, w := range read {
			if err := s.keep([]written{w}, uint64(i+1)); err != nil {
				t.Fatal(err)
			}
		}
		type sum struct {
			hour    time.Time
			outcome string
		}
		want, got := map[sum]uint64{}, map[sum]uint64{}
		for at, n := range newest {
			want[sum{now.Add(-time.Duration(at.number) * time.Hour).Truncate(time.Hour), outcomes[at.outcome]}] += n
		}
		counts, err := s.Counts("p", 1, "f", now.Add(-Retention), now)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range counts {
			got[sum{c.Hour, c.Outcome}] += c.N
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("got %v, want %v", got, want)
		}
		if len(counts) != len(want) {
			t.Fatalf("got %d counts for %d", len(counts), len(want))
		}
	})
}

// messages are those of two processes for some hours of 40 features with 5 outcomes each.
func messages(now time.Time, hours int) []written {
	var all []written
	for h := range hours {
		for process := range byte(2) {
			w := written{process: uuid.UUID{process}, number: uint32(h), message: message{Hour: now.Add(-time.Duration(hours-h) * time.Hour).Truncate(time.Hour)}}
			for f := range 40 {
				for o := range 5 {
					w.Counts = append(w.Counts, &row{Key: Key{
						Project: "6f1c4b1e-6e0a-5d7f-9d5c-0a7a5b1d2c3e", Environment: 2, Feature: fmt.Sprintf("feature_%02d", f), Source: Server, Outcome: fmt.Sprint("segment:s", o),
					}, Count: uint64(1 + f + o)})
				}
			}
			all = append(all, w)
		}
	}
	return all
}

// What a process with an empty file does with 100 messages of 200 counts.
func BenchmarkKeep(b *testing.B) {
	now := time.Date(2026, 5, 3, 12, 30, 0, 0, time.UTC)
	all := messages(now, 50)
	s, err := Open(filepath.Join(b.TempDir(), "usage.db"), Options{Now: func() time.Time { return now }})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	for i := 0; b.Loop(); i++ {
		for j := range all {
			all[j].Hour = all[j].Hour.Add(50 * time.Hour) // always new
		}
		if err := s.keep(all, uint64(i)); err != nil {
			b.Fatal(err)
		}
	}
}

// One feature's counts of a hundred days, all hours and five outcomes of two processes.
func BenchmarkCounts(b *testing.B) {
	now := time.Date(2026, 5, 3, 12, 30, 0, 0, time.UTC)
	s, err := Open(filepath.Join(b.TempDir(), "usage.db"), Options{Now: func() time.Time { return now }})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	s.file.NoSync = true
	for batch := range slices.Chunk(messages(now, 2400), batchLimit) {
		if err := s.keep(batch, 1); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		counts, err := s.Counts("6f1c4b1e-6e0a-5d7f-9d5c-0a7a5b1d2c3e", 2, "feature_20", now.Add(-2400*time.Hour), now)
		if err != nil || len(counts) < 2399*5 {
			b.Fatal(len(counts), err)
		}
	}
	info, err := os.Stat(s.file.Path())
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(info.Size())/(2400*2*200), "file-B/count")
}

func FuzzDecode(f *testing.F) {
	f.Add("flagledger.usage.6f1c4b1e-6e0a-5d7f-9d5c-0a7a5b1d2c3e.1", []byte(`{"hour":"2026-05-03T12:00:00Z","counts":[{"feature":"a","count":1}]}`))
	f.Add("flagledger.usage.x", []byte(`null`))
	f.Fuzz(func(t *testing.T, subject string, payload []byte) {
		w, err := decode(subject, payload)
		if err != nil {
			return
		}
		for _, r := range w.Counts {
			h := hourOf(w.Hour)
			rest := bytes.TrimPrefix(countKey(h, r.Key, w), scope(h, r.Project, r.Environment, r.Feature))
			texts := bytes.SplitN(rest[:len(rest)-processSize], []byte{0}, 4)
			if len(texts) != 4 || Source(texts[0]) != r.Source || string(texts[1]) != r.Outcome || string(texts[2]) != r.Variant || len(texts[3]) > 0 {
				t.Errorf("key of %+v: %q", r.Key, rest)
			}
		}
	})
}
