package identities

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"sync"

	"github.com/google/uuid"
)

const secretSize = 32

// A pepper is the secret of an environment. Without it, neither can it be told
// whether a person is known there, nor can anything be read of anyone.
type pepper struct {
	secret [secretSize]byte
	macs   sync.Pool // HMACs under the secret: to make one costs more than to use it
}

// A seed is the secret of a person. Overwriting it makes all that was ever
// sealed for the person unreadable.
type seed [secretSize]byte

// A key seals what is stored of a person: AES-256-GCM.
type key [32]byte

func (p *pepper) derive(purpose string, of []byte) (derived [sha256.Size]byte) {
	mac, ok := p.macs.Get().(hash.Hash)
	if !ok {
		mac = hmac.New(sha256.New, p.secret[:])
	}
	defer p.macs.Put(mac)
	mac.Reset()
	mac.Write([]byte(purpose))
	mac.Write(of)
	mac.Sum(derived[:0])
	return derived
}

// buckets is how many subjects the persons of an environment share.
const buckets = 4096

// bucket is where in the persons stream an identifier belongs.
func (p *pepper) bucket(identifier string) int {
	derived := p.derive("identifier ", []byte(identifier))
	return int(binary.BigEndian.Uint16(derived[:])) % buckets
}

func (p *pepper) key(s seed) key { return key(p.derive("key ", s[:])) }

// formatVersion is the first byte of every record.
const formatVersion = 1

var errFormat = errors.New("record of an unknown format")

// seal encrypts a record for one subject: it can be read nowhere else.
func (k *key) seal(dst, plain []byte, subject string) ([]byte, error) {
	aead, err := k.aead()
	if err != nil {
		return nil, err
	}
	return aead.Seal(dst, nil, plain, []byte(subject)), nil
}

func (k *key) open(sealed []byte, subject string) ([]byte, error) {
	aead, err := k.aead()
	if err != nil {
		return nil, err
	}
	return aead.Open(nil, nil, sealed, []byte(subject))
}

func (k *key) aead() (cipher.AEAD, error) {
	block, err := aes.NewCipher(k[:])
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// sealTraits makes the payload of the traits stream.
func sealTraits(k key, r record, subject string) ([]byte, error) {
	return k.seal([]byte{formatVersion}, []byte(r), subject)
}

func openTraits(k key, payload []byte, subject string) (record, error) {
	if len(payload) == 0 || payload[0] != formatVersion {
		return "", errFormat
	}
	plain, err := k.open(payload[1:], subject)
	if err != nil {
		return "", err
	}
	r := record(plain)
	return r, r.check()
}

// The payload of a person: version, surrogate, seed, and sealed the identifier
// and the record the person came with.
const (
	seedAt   = 1 + 16
	sealedAt = seedAt + 32
)

// sealPerson makes the payload of the persons stream. p.key must be set.
func sealPerson(s seed, p person, r record, subject string) ([]byte, error) {
	payload := append([]byte{formatVersion}, p.surrogate[:]...)
	payload = append(payload, s[:]...)
	plain := binary.AppendUvarint(nil, uint64(len(p.identifier)))
	plain = append(plain, p.identifier...)
	return p.key.seal(payload, append(plain, r...), subject)
}

// surrogateOf reads as much of a person as can be read without the pepper.
func surrogateOf(payload []byte) (uuid.UUID, error) {
	if len(payload) < sealedAt || payload[0] != formatVersion {
		return uuid.Nil, errFormat
	}
	return uuid.UUID(payload[1:seedAt]), nil
}

func openPerson(pepper *pepper, payload []byte, subject string) (*person, error) {
	surrogate, err := surrogateOf(payload)
	if err != nil {
		return nil, err
	}
	p := &person{surrogate: surrogate, key: pepper.key(seed(payload[seedAt:sealedAt]))}
	plain, err := p.key.open(payload[sealedAt:], subject)
	if err != nil {
		return nil, fmt.Errorf("person %s: %w", surrogate, err)
	}
	length, n := binary.Uvarint(plain)
	if n <= 0 || length > uint64(len(plain)-n) {
		return nil, fmt.Errorf("person %s: %w", surrogate, errFormat)
	}
	plain = plain[n:]
	p.identifier = string(plain[:length])
	p.record = record(plain[length:])
	if err := p.record.check(); err != nil {
		return nil, fmt.Errorf("person %s: %w", surrogate, err)
	}
	return p, nil
}
