package projections

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/google/uuid"

	"flagledger/domain"
)

// The buckets of the views file. Numbers are big endian, so that keys sort.
var (
	bucketMeta     = []byte("meta")     // schema, position, sum of all other entries
	bucketProjects = []byte("projects") // project id -> position, last SDK id
	bucketCurrent  = []byte("current")  // object key -> image
	bucketHistory  = []byte("history")  // object key, 0, position -> image after that commit; empty: gone
	bucketHeads    = []byte("heads")    // environment -> newest version, digest sum
	bucketVersions = []byte("versions") // environment, version -> position, digest
	bucketCommits  = []byte("commits")  // position -> recorded time, commitRecord, commit
	bucketIndex    = []byte("index")    // see index.go
	bucketAnswers  = []byte("answers")  // project, 0, idempotency key -> position, request hash

	bucketTree = []byte("tree") // see tlog.go

	buckets = [][]byte{bucketMeta, bucketProjects, bucketCurrent, bucketHistory, bucketHeads, bucketVersions, bucketCommits, bucketIndex, bucketAnswers, bucketTree}

	metaSchema   = []byte("schema")
	metaPosition = []byte("position")
	metaSum      = []byte("sum") // see verify.go
)

// kindBytes are the kinds of object in keys. Environments sort before what
// belongs to them because those have the environment's number in front.
var kindBytes = map[domain.ObjectKind]byte{
	domain.KindProject: 'p', domain.KindToken: 't', domain.KindEnvironment: 'e', domain.KindFeature: 'f', domain.KindSegment: 's', domain.KindContext: 'c',
	domain.KindSegmentTests: 'x', domain.KindFeatureTests: 'y',
	domain.KindSDKKey: 'k', domain.KindFeatureState: 'S', domain.KindSegmentOverrides: 'O', domain.KindIdentity: 'I',
	domain.KindSegmentPin: 'P', domain.KindVariantsPin: 'V',
}

var kindsByByte = func() map[byte]domain.ObjectKind {
	kinds := make(map[byte]domain.ObjectKind, len(kindBytes))
	for kind, b := range kindBytes {
		kinds[b] = kind
	}
	return kinds
}()

func bigEndian(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// scope is what the keys of a project begin with: its UUID, or zeros for the
// organisation.
func scope(project string) []byte {
	var id uuid.UUID
	if project != domain.OrganisationID {
		id = uuid.MustParse(project)
	}
	return id[:]
}

// environmentKey is what the keys of an environment begin with; number 0
// stands for the project's own objects.
func environmentKey(id EnvironmentID) []byte {
	return binary.BigEndian.AppendUint32(scope(id.Project), uint32(id.ID))
}

func parseEnvironmentID(k []byte) EnvironmentID {
	id := uuid.UUID(k[:16])
	project := id.String()
	if id == uuid.Nil {
		project = domain.OrganisationID
	}
	return EnvironmentID{project, int32(binary.BigEndian.Uint32(k[16:]))}
}

// objectKey is an object's key in current, and the prefix of its keys in history.
func objectKey(id EnvironmentID, o domain.Object) []byte {
	return append(append(environmentKey(id), kindBytes[o.Kind]), o.Key...)
}

// parseObjectKey reads a key of current. The object's environment is left empty.
func parseObjectKey(k []byte) (EnvironmentID, domain.Object, error) {
	if len(k) < 21 {
		return EnvironmentID{}, domain.Object{}, fmt.Errorf("object key %x is too short", k)
	}
	return parseEnvironmentID(k), domain.Object{Kind: kindsByByte[k[20]], Key: string(k[21:])}, nil
}

func historyKey(object []byte, position uint64) []byte {
	return binary.BigEndian.AppendUint64(append(bytes.Clone(object), 0), position)
}

func answerKey(project, key string) []byte {
	return append(append(scope(project), 0), key...)
}
