package identities_test

import (
	"fmt"
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"flagledger/eventstore/identities"
)

// eight are the traits of a typical person.
func eight(i int) []identities.Trait {
	return traits(
		"email", fmt.Sprintf("user-%d@example.com", i), "country", []string{"US", "DE", "FR", "CA"}[i%4],
		"plan", []string{"free", "pro", "enterprise"}[i%3], "age", 18+i%60, "app_version", fmt.Sprintf("4.%d.%d", i%10, i%7),
		"beta", i%10 == 0, "score", float64(i%1000)/7, "signup_day", 19000+i%2000,
	)
}

func user(i int) string { return "user-" + strconv.Itoa(i) }

// filled is a store of n persons.
func filled(b *testing.B, js jetstream.JetStream, n int) *identities.Store {
	s := open(b, js, identities.Options{MaxUnsaved: n})
	for i := range n {
		s.Identify(production, user(i), eight(i))
	}
	flush(b, s)
	return s
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func BenchmarkGet(b *testing.B) {
	const n = 10_000
	s := filled(b, connect(b, natsServer(b, b.TempDir())), n)
	for _, parallel := range []bool{false, true} {
		b.Run(fmt.Sprintf("parallel=%t", parallel), func(b *testing.B) {
			b.ReportAllocs()
			if parallel {
				var next atomic.Int64
				b.RunParallel(func(pb *testing.PB) {
					for i := next.Add(1); pb.Next(); i += 7919 {
						s.Get(production, user(int(i%n)))
					}
				})
				return
			}
			i := 0
			for b.Loop() {
				s.Get(production, user(i%n))
				i += 7919
			}
		})
	}
}

// What apps do most: say who they are, with traits that are known already.
func BenchmarkIdentifyUnchanged(b *testing.B) {
	const n = 10_000
	s := filled(b, connect(b, natsServer(b, b.TempDir())), n)
	changes := make([][]identities.Trait, n)
	for i := range changes {
		changes[i] = eight(i)
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		s.Identify(production, user(i%n), changes[i%n])
		i += 7919
	}
}

// Changed traits, until they are stored.
func BenchmarkIdentifyChanged(b *testing.B) {
	const n = 10_000
	s := filled(b, connect(b, natsServer(b, b.TempDir())), n)
	i := 0
	for b.Loop() {
		s.Identify(production, user(i%n), traits("visits", i))
		i++
		if i%n == 0 { // every person changed once
			flush(b, s)
		}
	}
	flush(b, s)
	b.ReportMetric(float64(i)/b.Elapsed().Seconds(), "changes/s")
}

// People nobody has seen before, until they are stored.
func BenchmarkIdentifyNew(b *testing.B) {
	s := open(b, connect(b, natsServer(b, b.TempDir())), identities.Options{})
	i := 0
	for b.Loop() {
		s.Identify(production, user(i), eight(i))
		i++
		if i%10_000 == 0 {
			flush(b, s)
		}
	}
	flush(b, s)
	b.ReportMetric(float64(i)/b.Elapsed().Seconds(), "persons/s")
}

func BenchmarkSurrogate(b *testing.B) {
	s := open(b, connect(b, natsServer(b, b.TempDir())), identities.Options{})
	i := 0
	for b.Loop() {
		surrogate(b, s, user(i))
		i++
	}
}

func BenchmarkList(b *testing.B) {
	const n = 100_000
	s := filled(b, connect(b, natsServer(b, b.TempDir())), n)
	for b.Loop() {
		s.List(production, "user-5", 100)
	}
}

// Loading, and what it takes in memory, NATS included. Who has "changed" has
// one record more.
func BenchmarkOpen(b *testing.B) {
	const n = 100_000
	for _, changed := range []bool{false, true} {
		b.Run(fmt.Sprintf("changed=%t", changed), func(b *testing.B) {
			dir := b.TempDir()
			srv := natsServer(b, dir)
			s := filled(b, connect(b, srv), n)
			if changed {
				for i := range n {
					s.Identify(production, user(i), traits("visits", i))
				}
				flush(b, s)
			}
			closeStore(b, s)
			stop(srv)
			before := heap()
			js := connect(b, natsServer(b, dir))
			opened := 0
			for b.Loop() {
				s, err := identities.Open(b.Context(), js, identities.Options{})
				if err != nil {
					b.Fatal(err)
				}
				opened++
				b.StopTimer()
				if s.Stats().Persons != n {
					b.Fatal(s.Stats())
				}
				if opened == 1 {
					b.ReportMetric(float64(int64(heap())-int64(before))/n, "B/person")
				}
				closeStore(b, s)
				b.StartTimer()
			}
			b.ReportMetric(float64(opened)*n/b.Elapsed().Seconds(), "persons/s")
		})
	}
}
