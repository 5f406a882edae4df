package projections

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"runtime/debug"
	"time"

	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"
	"golang.org/x/mod/sumdb/tlog"
)

// A FileInfo is what Check finds in a views file.
type FileInfo struct {
	Schema   int
	Position uint64
	Root     tlog.Hash // of the transparency log as of the position
}

// Check verifies a views file that nobody has open, and changes nothing. Of a
// file of another schema it only tells which.
func Check(path string, schema int) (info FileInfo, err error) {
	stat, err := os.Stat(path)
	if err != nil {
		return FileInfo{}, fmt.Errorf("check views: %w", err)
	}
	if stat.Mode().IsRegular() && stat.Size() == 0 {
		return FileInfo{}, fmt.Errorf("%w: %s is empty", errDamaged, path)
	}
	var db *bbolt.DB
	err = guard(func() (err error) {
		db, err = openBolt(path, &bbolt.Options{Timeout: time.Second, ReadOnly: true})
		return err
	})
	if err != nil {
		return FileInfo{}, err
	}
	defer func() { _ = guard(db.Close) }() // it was only read
	read := func(do func(*bbolt.Tx) error) error { return guard(func() error { return db.View(do) }) }
	err = read(func(tx *bbolt.Tx) error {
		info.Schema, info.Position = readMeta(tx)
		return nil
	})
	if err != nil || info.Schema != schema && info.Schema != 0 {
		return info, err
	}
	if err := verify(context.Background(), db); err != nil {
		return info, err
	}
	return info, read(func(tx *bbolt.Tx) error {
		tree, err := loadTree(tx, info.Position)
		info.Root = tree.Root()
		return err
	})
}

// ErrInUse says that another process has the file.
var ErrInUse = errors.New("is in use by another process")

// errDamaged says that the file is not what was written.
var errDamaged = errors.New("the views file is damaged")

// guard does something with the file. bbolt panics at pages that cannot be, and
// reads where a file that was cut has none; both come back as errDamaged.
func guard(do func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			if _, fault := p.(runtime.Error); fault { // where there is nothing any more, or a number that cannot be
				p = "a page is missing, or not what was written"
			}
			err = fmt.Errorf("%w: it was cut or overwritten (%v)", errDamaged, p)
		}
	}()
	return do()
}

// open opens the file, makes sure that it is whole and loads it.
func (v *Views) open() error {
	db, err := v.openFile()
	if err != nil {
		return err
	}
	v.db.Store(db)
	if err := guard(v.load); err != nil {
		return errors.Join(fmt.Errorf("%w: load %s: %w", errDamaged, v.path, err), db.Close())
	}
	return nil
}

// startAnew sets the damaged file aside and opens an empty one.
func (v *Views) startAnew(damage error) error {
	v.log.Error("the views are damaged: they are set aside and made again from the log", "path", v.path, "aside", v.path+".damaged", "error", damage)
	if err := os.Rename(v.path, v.path+".damaged"); err != nil {
		return fmt.Errorf("set damaged views aside: %w", err)
	}
	v.damaged.Add(1)
	return v.open()
}

// verifyFirst is the size up to which a file is verified before it is used, in
// bytes, which takes some 0.6 s. To read a larger one would hold up the start
// for seconds; it is verified beside what the process does.
const verifyFirst = 1 << 30

// openFile opens a file that is whole, a new one where there is none, or one of
// another schema.
func (v *Views) openFile() (*bbolt.DB, error) {
	begun := time.Now()
	info, err := os.Stat(v.path)
	fresh := err != nil || info.Size() == 0
	var db *bbolt.DB
	schema := v.schema
	err = guard(func() (err error) {
		if db, err = openBolt(v.path, &bbolt.Options{Timeout: time.Second, FreelistType: bbolt.FreelistMapType}); err != nil {
			return err
		}
		if fresh {
			return db.Update(func(tx *bbolt.Tx) error { return create(tx, v.schema) })
		}
		return db.View(func(tx *bbolt.Tx) error {
			schema, _ = readMeta(tx)
			return nil
		})
	})
	if db == nil {
		return nil, err
	}
	if err == nil && schema != 0 && schema != v.schema {
		v.log.Info("views have another schema: rebuilding them from the log", "path", v.path, "found", schema, "wanted", v.schema)
		if err := errors.Join(db.Close(), os.Remove(v.path)); err != nil {
			return nil, fmt.Errorf("remove views of schema %d: %w", schema, err)
		}
		return v.openFile()
	}
	later := !fresh && info.Size() > verifyFirst
	if err == nil && !later {
		err = verify(context.Background(), db)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("prepare views %s: %w", v.path, err), guard(db.Close))
	}
	if later {
		v.suspectDamage() // Watch begins with it
	} else if !fresh {
		v.log.Info("the views are whole", "path", v.path, "bytes", info.Size(), "verified_in", time.Since(begun).Round(time.Millisecond))
	}
	return db, nil
}

// openBolt is bbolt.Open with errors that say what to do.
func openBolt(path string, options *bbolt.Options) (*bbolt.DB, error) {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return nil, fmt.Errorf("%w: %s is a directory", errDamaged, path)
	}
	db, err := bbolt.Open(path, 0o600, options)
	if errors.Is(err, bbolterrors.ErrTimeout) {
		return nil, fmt.Errorf("open views: %s %w; each needs a data directory of its own", path, ErrInUse)
	}
	if _, ok := errors.AsType[*fs.PathError](err); ok {
		return nil, fmt.Errorf("open views: %w", err)
	}
	if err != nil { // it can be read, and is not what bbolt writes
		return nil, fmt.Errorf("%w: open %s: %w", errDamaged, path, err)
	}
	return db, nil
}

// create makes an empty file of the schema.
func create(tx *bbolt.Tx, schema int) error {
	for _, name := range buckets {
		if _, err := tx.CreateBucket(name); err != nil {
			return err
		}
	}
	s := summing(tx)
	if err := s.put(bucketMeta, metaSchema, bigEndian(uint64(schema))); err != nil {
		return err
	}
	return s.save()
}

// readMeta reads schema and position, 0 where there is none.
func readMeta(tx *bbolt.Tx) (schema int, position uint64) {
	meta := tx.Bucket(bucketMeta)
	if meta == nil {
		return 0, 0
	}
	if raw := meta.Get(metaSchema); raw != nil {
		schema = int(binary.BigEndian.Uint64(raw))
	}
	if raw := meta.Get(metaPosition); raw != nil {
		position = binary.BigEndian.Uint64(raw)
	}
	return schema, position
}
