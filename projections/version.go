package projections

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"time"

	"go.etcd.io/bbolt"

	"flagledger/domain"
)

// A Version is one state of an environment's evaluation content.
type Version struct {
	Version  uint64 `json:"version"`
	Position uint64 `json:"position"` // of the commit that made it
	Digest   string `json:"digest"`   // hex; see domain.Digest
}

// A madeVersion is a version that a commit led to. Its digest, an eighth of
// the work that a commit makes, is computed when it is written, beside the
// commits of the next batch.
type madeVersion struct {
	id       EnvironmentID
	version  uint64
	position uint64
	change   domain.ContentChange
}

// advanceVersions gives each environment whose content changed its next version.
func (b *batch) advanceVersions(before, after *domain.Project, objects []domain.Object, position uint64) map[string]uint64 {
	changes := b.contents.Changes(before, after, objects)
	if len(changes) == 0 {
		return nil
	}
	versions := make(map[string]uint64, len(changes))
	for _, c := range changes {
		id := EnvironmentID{after.ID, c.Environment.ID}
		h := b.head(id)
		h.version++
		b.heads[id] = h
		versions[c.Environment.Key] = h.version
		b.made = append(b.made, madeVersion{id, h.version, position, c})
		b.size += c.Size()
	}
	return versions
}

// digests are those of the environments that the batch changes, before it.
func (b *batch) digests(heads *bbolt.Bucket) map[EnvironmentID]*domain.Digest {
	digests := make(map[EnvironmentID]*domain.Digest, len(b.heads))
	for id := range b.heads {
		digests[id] = new(domain.Digest)
		if raw := heads.Get(environmentKey(id)); raw != nil {
			copy(digests[id][:], raw[headSize:])
		}
	}
	return digests
}

// versions brings the digests to what the batch makes them, one version after
// the other, and returns what is to be written of it, by bucket.
func (b *batch) versions(digests map[EnvironmentID]*domain.Digest) map[string][]write {
	var versions, heads []write
	for _, m := range b.made {
		m.change.Update(digests[m.id])
		sum := digests[m.id].Sum()
		versions = append(versions, write{key: versionKey(m.id, m.version), value: append(bigEndian(m.position), sum[:]...)})
	}
	for id, h := range b.heads {
		heads = append(heads, write{key: environmentKey(id), value: h.bytes(digests[id])})
	}
	return map[string][]write{string(bucketVersions): versions, string(bucketHeads): heads}
}

func versionKey(id EnvironmentID, version uint64) []byte {
	return binary.BigEndian.AppendUint64(environmentKey(id), version)
}

func parseVersion(k, value []byte) Version {
	return Version{
		Version: binary.BigEndian.Uint64(k[20:]), Position: binary.BigEndian.Uint64(value), Digest: hex.EncodeToString(value[8:]),
	}
}

// CurrentVersion is the number of the environment's newest version, 0 where
// there is no such environment.
func (v *Views) CurrentVersion(id EnvironmentID) uint64 { return v.published.Load().heads[id].version }

// Version returns one version of an environment.
func (v *Views) Version(id EnvironmentID, version uint64) (Version, error) {
	var found Version
	err := v.view(func(tx *bbolt.Tx) error {
		k := versionKey(id, version)
		value := tx.Bucket(bucketVersions).Get(k)
		if value == nil {
			return domain.Refuse(domain.NotFound, "there is no version %d of this environment; the newest is %d", version, v.CurrentVersion(id))
		}
		found = parseVersion(k, value)
		return nil
	})
	return found, err
}

// Versions returns up to limit versions below the one given (0: the newest),
// newest first.
func (v *Views) Versions(id EnvironmentID, below uint64, limit int) ([]Version, error) {
	if below == 0 {
		below = v.CurrentVersion(id) + 1
	}
	var all []Version
	err := v.view(func(tx *bbolt.Tx) error {
		c := tx.Bucket(bucketVersions).Cursor()
		k, value := lastBefore(c, versionKey(id, below))
		for ; hasPrefix(k, environmentKey(id)) && len(all) < limit; k, value = c.Prev() {
			all = append(all, parseVersion(k, value))
		}
		return nil
	})
	return all, err
}

// VersionsDigest returns how many versions there are as of a position, of all
// environments that ever were, and the hex SHA-256 over what they are and their
// digests. It is the same wherever the same log was replayed.
func (v *Views) VersionsDigest(position uint64) (versions int, digest string, err error) {
	hash := sha256.New()
	err = v.view(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucketVersions).ForEach(func(k, value []byte) error {
			if binary.BigEndian.Uint64(value) <= position {
				versions++
				_, _ = hash.Write(k) // never fails
				_, _ = hash.Write(value)
			}
			return nil
		})
	})
	return versions, hex.EncodeToString(hash.Sum(nil)), err
}

// VersionAt returns the version that was newest at the position.
func (v *Views) VersionAt(id EnvironmentID, position uint64) (Version, error) {
	low, high := uint64(1), v.CurrentVersion(id)
	var found Version
	for low <= high { // positions grow with versions
		mid := (low + high) / 2
		ver, err := v.Version(id, mid)
		if err != nil {
			return Version{}, err
		}
		if ver.Position <= position {
			found, low = ver, mid+1
		} else {
			high = mid - 1
		}
	}
	if found.Version == 0 {
		return Version{}, domain.Refuse(domain.NotFound, "the environment did not exist at position %d", position)
	}
	return found, nil
}

// PositionAt is the position of the last commit recorded at or before the time
// (the stream's clock), 0 if there is none.
func (v *Views) PositionAt(t time.Time) (uint64, error) {
	var found uint64
	low, high := uint64(1), v.Position() // before the transaction begins, which sees at least that
	err := v.view(func(tx *bbolt.Tx) error {
		commits := tx.Bucket(bucketCommits)
		for low <= high { // positions are dense and times grow with them
			mid := (low + high) / 2
			value := commits.Get(bigEndian(mid))
			if value == nil {
				return fmt.Errorf("commit %d is missing from the views", mid)
			}
			if at := time.Unix(0, int64(binary.BigEndian.Uint64(value))); !at.After(t) { // t may lie outside of what nanoseconds can count
				found, low = mid, mid+1
			} else {
				high = mid - 1
			}
		}
		return nil
	})
	return found, err
}

// RecordedAt is when the commit at the position was recorded, by the stream's clock.
func (v *Views) RecordedAt(position uint64) (at time.Time, err error) {
	err = v.view(func(tx *bbolt.Tx) error {
		value := tx.Bucket(bucketCommits).Get(bigEndian(position))
		if value == nil {
			return fmt.Errorf("commit %d is missing from the views", position)
		}
		at = time.Unix(0, int64(binary.BigEndian.Uint64(value))).UTC()
		return nil
	})
	return at, err
}

func hasPrefix(k, prefix []byte) bool { return k != nil && bytes.HasPrefix(k, prefix) }
