package projections

import (
	"fmt"

	"go.etcd.io/bbolt"
	"golang.org/x/mod/sumdb/tlog"

	"flagledger/domain"
	"flagledger/domain/transparency"
)

// The hashes of the transparency log are stored densely, in the order in which
// they come to be and tlog numbers them: each leaf's, and behind it those of the
// subtrees that it completes, some two for each commit. Nothing that is stored
// ever changes. A key of the bucket has so many of them, so that three fit into
// a page of the file.
const hashesPerKey = 32

// writeHashes stores what came to the tree since it had that size.
func writeHashes(s *summer, size uint64, hashes []tlog.Hash) error {
	bucket := s.tx.Bucket(bucketTree)
	bucket.FillPercent = 1 // what comes next goes behind it
	next := uint64(tlog.StoredHashCount(int64(size)))
	for len(hashes) > 0 {
		key, inside := bigEndian(next/hashesPerKey), next%hashesPerKey
		value := make([]byte, 0, hashesPerKey*tlog.HashSize)
		if inside > 0 {
			value = append(value, bucket.Get(key)...)
			if uint64(len(value)) != inside*tlog.HashSize {
				return fmt.Errorf("%d bytes of hashes stand before number %d, not %d", len(value), next, inside*tlog.HashSize)
			}
		}
		n := min(hashesPerKey-inside, uint64(len(hashes)))
		for _, h := range hashes[:n] {
			value = append(value, h[:]...)
		}
		if err := s.put(bucketTree, key, value); err != nil {
			return err
		}
		hashes, next = hashes[n:], next+n
	}
	return nil
}

// hashReader reads hashes of the tree within a transaction.
func hashReader(tx *bbolt.Tx) tlog.HashReader {
	bucket := tx.Bucket(bucketTree)
	return tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		hashes := make([]tlog.Hash, len(indexes))
		for i, index := range indexes {
			value := bucket.Get(bigEndian(uint64(index) / hashesPerKey))
			at := index % hashesPerKey * tlog.HashSize
			if index < 0 || int64(len(value)) < at+tlog.HashSize {
				return nil, fmt.Errorf("hash %d of the transparency log is missing from the views", index)
			}
			copy(hashes[i][:], value[at:])
		}
		return hashes, nil
	})
}

// loadTree reads what is needed to go on with the tree.
func loadTree(tx *bbolt.Tx, size uint64) (transparency.Frontier, error) {
	roots, err := hashReader(tx).ReadHashes(transparency.FrontierIndexes(size))
	if err != nil {
		return transparency.Frontier{}, err
	}
	return transparency.NewFrontier(size, roots)
}

// readTree gives read the tree, where it has at least so many leaves.
func (v *Views) readTree(size uint64, field string, read func(tlog.HashReader) error) error {
	if now := v.Position(); size > now {
		return domain.RefuseField(domain.NotFound, field, "the log has %d commits here, not %d", now, size)
	}
	return v.view(func(tx *bbolt.Tx) error { return read(hashReader(tx)) })
}

// TreeRoot is the root of the transparency log as of a position, 0 for the empty
// log. One that is not visible yet is refused.
func (v *Views) TreeRoot(size uint64) (root tlog.Hash, err error) {
	if size == v.Position() { // what is asked for most
		if st := v.published.Load(); st.position == size {
			return st.tree.Root(), nil
		}
	}
	err = v.readTree(size, "size", func(r tlog.HashReader) error {
		root, err = tlog.TreeHash(int64(size), r)
		return err
	})
	return root, err
}

// Frontier returns the roots of the complete subtrees of the transparency log as
// of a position, the largest first; see [transparency.Frontier].
func (v *Views) Frontier(size uint64) (roots []tlog.Hash, err error) {
	err = v.readTree(size, "size", func(r tlog.HashReader) error {
		roots, err = r.ReadHashes(transparency.FrontierIndexes(size))
		return err
	})
	return roots, err
}

// LeafHashes returns those of the commits at the positions from and following,
// up to n and up to the newest.
func (v *Views) LeafHashes(from uint64, n int) (hashes []tlog.Hash, err error) {
	var indexes []int64
	for position := max(from, 1); position <= v.Position() && len(indexes) < n; position++ {
		indexes = append(indexes, tlog.StoredHashIndex(0, int64(position-1)))
	}
	err = v.readTree(0, "", func(r tlog.HashReader) error {
		hashes, err = r.ReadHashes(indexes)
		return err
	})
	return hashes, err
}

// ProveInclusion proves that the commit at the position is in the log of that
// size (RFC 6962, section 2.1.1). It refuses a position that is not in it.
func (v *Views) ProveInclusion(position, size uint64) (proof tlog.RecordProof, err error) {
	if position < 1 || position > size {
		return nil, domain.RefuseField(domain.Malformed, "position", "position %d is not in a log of %d commits; want 1 to %[2]d", position, size)
	}
	err = v.readTree(size, "size", func(r tlog.HashReader) error {
		proof, err = tlog.ProveRecord(int64(size), int64(position-1), r)
		return err
	})
	return proof, err
}

// ProveConsistency proves that the log of size to begins with that of size from
// (RFC 6962, section 2.1.2).
func (v *Views) ProveConsistency(from, to uint64) (proof tlog.TreeProof, err error) {
	if from < 1 || from > to {
		return nil, domain.RefuseField(domain.Malformed, "from", "a log of %d commits cannot be the beginning of one of %d; want 1 to %[2]d", from, to)
	}
	err = v.readTree(to, "to", func(r tlog.HashReader) error {
		proof, err = tlog.ProveTree(int64(to), int64(from), r)
		return err
	})
	return proof, err
}
