package projections

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"

	"go.etcd.io/bbolt"
)

// A write is one change of a bucket.
type write struct {
	key, value []byte
	delete     bool
	order      int32 // among those of its bucket; see writeAll
}

// put notes what the batch writes to a bucket. Nothing is changed then.
func (b *batch) put(bucket, key, value []byte) {
	b.size += len(key) + len(value)
	b.writes[string(bucket)] = append(b.writes[string(bucket)], write{key: key, value: value})
}

// delete notes a key that the batch removes.
func (b *batch) delete(bucket, key []byte) {
	b.writes[string(bucket)] = append(b.writes[string(bucket)], write{key: key, delete: true})
}

// write carries the batch out in one transaction. Each bucket is written in the
// order of its keys, and each key once: bbolt takes long for keys that come in
// between others.
func (b *batch) write(db *bbolt.DB) error {
	err := db.Update(func(tx *bbolt.Tx) error {
		tx.Bucket(bucketCommits).FillPercent = 1 // what comes next goes behind it
		s := summing(tx)
		digests := b.digests(tx.Bucket(bucketHeads))
		var made map[string][]write
		var digesting sync.WaitGroup
		digesting.Go(func() { made = b.versions(digests) })
		defer digesting.Wait() // also where something fails: the batch is changed then
		if err := writeBuckets(s, b.writes); err != nil {
			return err
		}
		answers := make([]write, 0, len(b.answers))
		for k, value := range b.answers {
			answers = append(answers, write{key: []byte(k), value: value})
		}
		if err := writeAll(s, bucketAnswers, answers); err != nil {
			return fmt.Errorf("write answers: %w", err)
		}
		if err := b.writeTerms(s); err != nil {
			return fmt.Errorf("write index: %w", err)
		}
		if err := writeHashes(s, b.base.position, b.hashes); err != nil {
			return fmt.Errorf("write tree: %w", err)
		}
		for _, prefix := range b.dropped {
			if err := deletePrefix(s, bucketCurrent, prefix); err != nil {
				return fmt.Errorf("drop environment: %w", err)
			}
		}
		digesting.Wait()
		if err := writeBuckets(s, made); err != nil {
			return err
		}
		for id, p := range b.projects {
			value := binary.BigEndian.AppendUint32(bigEndian(p.Position), uint32(p.LastID))
			if err := s.put(bucketProjects, []byte(id), value); err != nil {
				return err
			}
		}
		if err := s.put(bucketMeta, metaPosition, bigEndian(b.position)); err != nil {
			return err
		}
		return s.save()
	})
	if err != nil {
		return fmt.Errorf("transaction up to %d: %w", b.position, err)
	}
	return nil
}

func writeBuckets(s *summer, writes map[string][]write) error {
	for _, name := range buckets {
		if err := writeAll(s, name, writes[string(name)]); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
	}
	return nil
}

func writeAll(s *summer, bucket []byte, writes []write) error {
	put := s.put
	switch string(bucket) {
	case string(bucketHistory), string(bucketCommits), string(bucketVersions): // their keys have the position or version in them
		put = s.add
	}
	for i := range writes { // so that the sort need not be a stable one, which takes far longer
		writes[i].order = int32(i)
	}
	slices.SortFunc(writes, func(a, b write) int {
		if c := bytes.Compare(a.key, b.key); c != 0 {
			return c
		}
		return cmp.Compare(a.order, b.order)
	})
	for i, w := range writes {
		if i+1 < len(writes) && bytes.Equal(w.key, writes[i+1].key) {
			continue // written again later
		}
		var err error
		if w.delete {
			err = s.delete(bucket, w.key)
		} else {
			err = put(bucket, w.key, w.value)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func deletePrefix(s *summer, bucket, prefix []byte) error {
	c := s.tx.Bucket(bucket).Cursor()
	for k, _ := c.Seek(prefix); hasPrefix(k, prefix); k, _ = c.Seek(prefix) {
		if err := s.delete(bucket, bytes.Clone(k)); err != nil {
			return err
		}
	}
	return nil
}
