package usage

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"time"

	"go.etcd.io/bbolt"
)

// layout is the number of the layout of the file. It changes with what is below.
const layout = 1

// The buckets of the file. Numbers are big endian, so that keys sort.
var (
	bucketCounts = []byte("counts") // hour, project, 0, environment, feature, 0, source, 0, outcome, 0, variant, 0, process, part -> count
)

func bigEndian(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// scope is what the keys of a feature begin with in an hour.
func scope(h hour, project string, environment int32, feature string) []byte {
	k := binary.BigEndian.AppendUint32(nil, uint32(h))
	k = append(append(k, project...), 0)
	k = binary.BigEndian.AppendUint32(k, uint32(environment))
	return append(append(k, feature...), 0)
}

// countKey is where the count of one process and part is.
func countKey(h hour, k Key, w written) []byte {
	b := scope(h, k.Project, k.Environment, k.Feature)
	for _, text := range []string{string(k.Source), k.Outcome, k.Variant} {
		b = append(append(b, text...), 0)
	}
	return binary.BigEndian.AppendUint32(append(b, w.process[:]...), w.number)
}

// processSize is the size in bytes of the end of a key, which says who counted.
const processSize = 16 + 4

func hourOfKey(k []byte) hour { return hour(binary.BigEndian.Uint32(k)) }

// keep stores what was read, with the position of the last message, in one
// transaction.
func (s *Store) keep(batch []written, end uint64) error {
	oldest := hourOf(s.Now().Add(-Retention))
	return s.file.Keep(end, func(tx *bbolt.Tx) error {
		counts := tx.Bucket(bucketCounts)
		counts.FillPercent = 0.9 // there is little between the counts of past hours
		for _, w := range batch {
			h := hourOf(w.Hour)
			if h < oldest {
				continue
			}
			for _, r := range w.Counts {
				if err := raise(counts, countKey(h, r.Key, w), r.Count); err != nil {
					return err
				}
			}
		}
		return trim(counts, oldest)
	})
}

// raise makes a count what it is now, unless it is more already: counts only
// grow, so that was an older message.
func raise(counts *bbolt.Bucket, key []byte, n uint64) error {
	if was := counts.Get(key); was != nil && binary.BigEndian.Uint64(was) >= n {
		return nil
	}
	return counts.Put(key, bigEndian(n))
}

// trimLimit is how many counts one transaction forgets at most.
const trimLimit = 10_000

// trim forgets the counts of hours before the oldest.
func trim(counts *bbolt.Bucket, oldest hour) error {
	c := counts.Cursor()
	for range trimLimit {
		k, _ := c.First()
		if k == nil || hourOfKey(k) >= oldest {
			return nil
		}
		if err := c.Delete(); err != nil {
			return err
		}
	}
	return nil
}

// Count is how often something was the outcome within an hour, as counted by
// all processes.
type Count struct {
	Hour    time.Time // its beginning
	Source  Source
	Outcome string
	Variant string
	N       uint64
}

// Counts returns how often the feature was evaluated in the hours that begin at
// from or later, and before to, in the order of the fields of Count.
func (s *Store) Counts(project string, environment int32, feature string, from, to time.Time) ([]Count, error) {
	var found []Count
	var last []byte // key of the last one, without the process
	first, end := hourOf(from), hourOf(to)
	if from.After(first.start()) {
		first++
	}
	if to.After(end.start()) {
		end++
	}
	err := s.file.View(func(tx *bbolt.Tx) error {
		c := tx.Bucket(bucketCounts).Cursor()
		for h := first; h < end; h++ {
			prefix := scope(h, project, environment, feature)
			k, v := c.Seek(prefix)
			for ; bytes.HasPrefix(k, prefix); k, v = c.Next() {
				n, what := binary.BigEndian.Uint64(v), k[:len(k)-processSize]
				if bytes.Equal(what, last) {
					found[len(found)-1].N += n
					continue
				}
				last = what
				texts := bytes.SplitN(what[len(prefix):], []byte{0}, 4)
				found = append(found, Count{h.start(), Source(texts[0]), string(texts[1]), string(texts[2]), n})
			}
			if k == nil {
				break
			}
			h = max(h, hourOfKey(k)-1) // nothing is in between
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read usage of %s: %w", feature, err)
	}
	return found, nil
}
