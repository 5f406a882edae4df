package checkpoints

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
)

// A Key signs checkpoints.
type Key struct {
	note.Signer
	Vkey  string    // to verify with, public
	Until time.Time // zero: until it is replaced

	private string
}

// keyHead tells who opens a file of keys what it is.
const keyHead = `# Signs the checkpoints of a Flagledger log. Whoever has it can sign a forged history: keep it secret.
# "flagledger key show" prints the public keys, "flagledger key rotate" makes a new one.
`

// ErrNoKeys says that there is no file of keys.
var ErrNoKeys = errors.New("there is no key yet; the server makes one at its first start")

// ReadKeys returns the keys of the file that sign at that time, the newest first.
// A file that others than its owner can read is refused.
func ReadKeys(path string, now time.Time) ([]Key, error) {
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read %s: %w", path, ErrNoKeys)
	}
	if err != nil {
		return nil, fmt.Errorf("read signing keys: %w", err)
	}
	if info, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("read signing keys: %w", err)
	} else if info.Mode().Perm()&0o077 != 0 && runtime.GOOS != "windows" {
		return nil, fmt.Errorf("signing keys %s: others can read the file, which has mode %#o: chmod 600 it, and rotate the key if anybody else may have read it", path, info.Mode().Perm())
	}
	keys, err := parseKeys(string(raw))
	if err != nil {
		return nil, fmt.Errorf("signing keys %s: %w", path, err)
	}
	var valid []Key
	for _, k := range keys {
		if k.Until.IsZero() || now.Before(k.Until) {
			valid = append(valid, k)
		}
	}
	if len(valid) == 0 {
		return nil, fmt.Errorf("signing keys %s: there is no key that is still valid", path)
	}
	return valid, nil
}

// parseKeys reads a file: a key in each line, and behind it until when it signs.
// Errors never tell what stands in a line.
func parseKeys(text string) ([]Key, error) {
	var keys []Key
	for number, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		private, until, limited := strings.Cut(line, " until ")
		k, err := parseKey(private)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", number+1, err)
		}
		if limited {
			if k.Until, err = time.Parse(time.RFC3339, until); err != nil {
				return nil, fmt.Errorf("line %d: behind \"until\" stands no time of RFC 3339", number+1)
			}
		}
		keys = append(keys, k)
	}
	return keys, nil
}

// parseKey reads PRIVATE+KEY+<name>+<id>+<key>.
func parseKey(private string) (Key, error) {
	signer, err := note.NewSigner(private)
	if err != nil {
		return Key{}, errors.New("it is not a private key of a signed note")
	}
	fields := strings.SplitN(private, "+", 5)
	seed, err := base64.StdEncoding.DecodeString(fields[len(fields)-1])
	if err != nil || len(seed) != 1+ed25519.SeedSize {
		return Key{}, errors.New("it is not an Ed25519 key")
	}
	public := ed25519.NewKeyFromSeed(seed[1:]).Public().(ed25519.PublicKey)
	vkey, err := note.NewEd25519VerifierKey(signer.Name(), public)
	if err != nil {
		return Key{}, fmt.Errorf("make the public key: %w", err)
	}
	return Key{Signer: signer, Vkey: vkey, private: private}, nil
}

// newKey makes a key for the log of that name.
func newKey(origin string) (Key, error) {
	private, _, err := note.GenerateKey(rand.Reader, origin)
	if err != nil {
		return Key{}, fmt.Errorf("make signing key: %w", err)
	}
	return parseKey(private)
}

// obtainKeys reads the keys, and makes the first one where there is no file.
func obtainKeys(path, origin string, now time.Time) ([]Key, error) {
	keys, err := ReadKeys(path, now)
	if errors.Is(err, ErrNoKeys) {
		var first Key
		if first, err = newKey(origin); err == nil {
			keys = []Key{first}
			err = writeKeys(path, keys)
		}
	}
	return keys, err
}

// RotateKey puts a new key into the file. The one that was newest signs beside it
// for the overlap, so that checkpoints can be verified with either; older ones
// are forgotten when their time is over.
func RotateKey(path string, overlap time.Duration, now time.Time) ([]Key, error) {
	keys, err := ReadKeys(path, now)
	if err != nil {
		return nil, err
	}
	fresh, err := newKey(keys[0].Name())
	if err != nil {
		return nil, err
	}
	end := now.Add(overlap).UTC().Truncate(time.Second)
	kept := []Key{fresh}
	for _, k := range keys {
		if k.Until.IsZero() || k.Until.After(end) {
			k.Until = end
		}
		if k.Until.After(now) {
			kept = append(kept, k)
		}
	}
	return kept, writeKeys(path, kept)
}

// writeKeys replaces the file whole, so that a crash leaves the old one or the new.
func writeKeys(path string, keys []Key) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("write signing keys: %w", err)
		}
	}()
	var text strings.Builder
	text.WriteString(keyHead)
	for _, k := range keys {
		text.WriteString(k.private)
		if !k.Until.IsZero() {
			text.WriteString(" until " + k.Until.UTC().Format(time.RFC3339))
		}
		text.WriteString("\n")
	}
	file, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".new-*") // of mode 0600
	if err != nil {
		return err
	}
	_, err = file.WriteString(text.String())
	err = errors.Join(err, file.Sync(), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes the renaming of a file in it durable, where a directory can be synced.
func syncDir(path string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
