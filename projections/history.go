package projections

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"

	"go.etcd.io/bbolt"

	"flagledger/domain"
)

// At returns the project as it was after the commit at the position, with the
// parts of one environment (number 0: of none); other environments are there
// without their parts.
func (v *Views) At(id EnvironmentID, position uint64) (*domain.Project, error) {
	p := &domain.Project{ID: id.Project}
	err := v.view(func(tx *bbolt.Tx) error {
		c := tx.Bucket(bucketHistory).Cursor()
		var key string
		restore := func(o domain.Object, image []byte) error {
			o.Environment = key
			return p.Restore(o, image)
		}
		if err := scanAt(c, environmentKey(EnvironmentID{id.Project, 0}), position, func(o domain.Object, image []byte) error {
			if err := p.Restore(o, image); err != nil {
				return err
			}
			return nil
		}); err != nil {
			return err
		}
		if id.ID == 0 {
			return nil
		}
		for k, env := range p.Environments.All() {
			if env.ID == id.ID {
				key = k
			}
		}
		if key == "" {
			return domain.Refuse(domain.NotFound, "the environment did not exist at position %d", position)
		}
		return scanAt(c, environmentKey(id), position, restore)
	})
	if err != nil {
		return nil, err
	}
	p.Position = position
	return p, nil
}

// Whole returns the project as it was after the commit at the position, with the
// parts of all its environments.
func (v *Views) Whole(project string, position uint64) (*domain.Project, error) {
	p, err := v.At(EnvironmentID{project, 0}, position)
	if err != nil {
		return nil, err
	}
	for key, env := range p.Environments.All() {
		one, err := v.At(EnvironmentID{project, env.ID}, position)
		if err != nil {
			return nil, err
		}
		p.Environments = p.Environments.Set(key, one.Environments.Get(key))
	}
	return p, nil
}

// EnvironmentAt returns the environment that has the key at the position, or had
// it last, without its parts, and the last position up to that one at which it was
// there. It is nil where there was none.
func (v *Views) EnvironmentAt(project, key string, position uint64) (env *domain.Environment, last uint64, err error) {
	err = v.view(func(tx *bbolt.Tx) error {
		env, last, err = environmentAt(tx, project, key, position)
		return err
	})
	return env, last, err
}

// environmentAt is EnvironmentAt in a transaction.
func environmentAt(tx *bbolt.Tx, project, key string, position uint64) (env *domain.Environment, last uint64, err error) {
	object := objectKey(EnvironmentID{project, 0}, domain.Object{Kind: domain.KindEnvironment, Key: key})
	c := tx.Bucket(bucketHistory).Cursor()
	image := seekAt(c, object, position)
	if last = position; len(image) == 0 && image != nil { // deleted: what was before
		k, _ := lastBefore(c, historyKey(object, position+1))
		last = binary.BigEndian.Uint64(k[len(object)+1:]) - 1
		image = seekAt(c, object, last)
	}
	if len(image) == 0 {
		return nil, last, nil
	}
	env = new(domain.Environment)
	if err := json.Unmarshal(image, env); err != nil {
		return nil, 0, fmt.Errorf("read environment %s at %d: %w", key, position, err)
	}
	return env, last, nil
}

// scanAt visits the image at the position of every object under the prefix.
func scanAt(c *bbolt.Cursor, prefix []byte, position uint64, visit func(domain.Object, []byte) error) error {
	k, _ := c.Seek(prefix)
	for hasPrefix(k, prefix) {
		object := bytes.Clone(k[:len(k)-9])
		image := seekAt(c, object, position)
		if len(image) > 0 {
			_, o, err := parseObjectKey(object)
			if err != nil {
				return err
			}
			if err := visit(o, image); err != nil {
				return err
			}
		}
		k, _ = c.Seek(historyKey(object, math.MaxUint64))
	}
	return nil
}

// seekAt returns the object's image at the position: nil where it had none yet,
// empty where it was gone.
func seekAt(c *bbolt.Cursor, object []byte, position uint64) []byte {
	if position < math.MaxUint64 {
		position++
	}
	k, value := lastBefore(c, historyKey(object, position))
	if len(k) != len(object)+9 || !bytes.HasPrefix(k, object) || k[len(object)] != 0 {
		return nil
	}
	return value
}

// lastBefore goes to the last key that is less than the given one.
func lastBefore(c *bbolt.Cursor, key []byte) (k, value []byte) {
	if k, _ := c.Seek(key); k == nil {
		return c.Last()
	}
	return c.Prev()
}

// Image returns an object's encoded form after the commit at the position; nil
// where there was none.
func (v *Views) Image(id EnvironmentID, o domain.Object, position uint64) ([]byte, error) {
	var image []byte
	err := v.view(func(tx *bbolt.Tx) error {
		image = bytes.Clone(seekAt(tx.Bucket(bucketHistory).Cursor(), objectKey(id, o), position))
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read image of %s: %w", o, err)
	}
	return image, nil
}

// Past returns the project with one environment's parts as of a version of it.
func (v *Views) Past(p *domain.Project, environment string, version uint64) (*domain.Project, error) {
	env := p.Environments.Get(environment)
	if env == nil {
		return nil, domain.RefuseField(domain.NotFound, "environment", "there is no environment %q in project %q", environment, p.Key)
	}
	id := EnvironmentID{p.ID, env.ID}
	ver, err := v.Version(id, version)
	if err != nil {
		return nil, err
	}
	return v.At(id, ver.Position)
}

// Seed returns the seed that the state of a feature, which may be deleted, had
// last in an environment of the project, as it was at p; 0 where it had none.
func (v *Views) Seed(p *domain.Project, environment string, feature *domain.Feature) (seed int32, err error) {
	env := p.Environments.Get(environment)
	if env == nil {
		return 0, nil
	}
	state := objectKey(EnvironmentID{p.ID, env.ID}, domain.Object{Kind: domain.KindFeatureState, Key: feature.Key})
	shared := objectKey(EnvironmentID{p.ID, 0}, domain.Object{Kind: domain.KindFeature, Key: feature.Key})
	err = v.view(func(tx *bbolt.Tx) error {
		states, features := tx.Bucket(bucketHistory).Cursor(), tx.Bucket(bucketHistory).Cursor()
		k, image := lastBefore(states, historyKey(state, p.Position+1))
		for ; len(k) == len(state)+9 && bytes.HasPrefix(k, state) && seed == 0; k, image = states.Prev() {
			var found domain.FeatureState
			var then domain.Feature
			at := binary.BigEndian.Uint64(k[len(state)+1:])
			if of := seekAt(features, shared, at); len(image) == 0 || len(of) == 0 {
				continue // it was gone
			} else if err := errors.Join(json.Unmarshal(image, &found), json.Unmarshal(of, &then)); err != nil {
				return fmt.Errorf("read %s at %d: %w", feature.Key, at, err)
			}
			if then.ID == feature.ID { // and not another of that key
				seed = found.Seed
			}
		}
		return nil
	})
	return seed, err
}

// ChangesBetween returns what was done to an object of the project after one
// position and before another, newest first.
func (v *Views) ChangesBetween(p *domain.Project, o domain.Object, after, before uint64) ([]domain.PastChange, error) {
	id := EnvironmentID{Project: p.ID}
	if o.Environment != "" {
		env := p.Environments.Get(o.Environment)
		if env == nil {
			return nil, nil
		}
		id.ID = env.ID
	}
	var changes []domain.PastChange
	err := v.view(func(tx *bbolt.Tx) error {
		c := tx.Bucket(bucketHistory).Cursor()
		object := objectKey(id, o)
		k, image := lastBefore(c, historyKey(object, before))
		for len(k) == len(object)+9 && bytes.HasPrefix(k, object) && k[len(object)] == 0 {
			position := binary.BigEndian.Uint64(k[len(object)+1:])
			if n := len(changes); n > 0 {
				changes[n-1].Before = present(image)
			}
			if position <= after {
				break
			}
			changes = append(changes, domain.PastChange{Position: position, Object: o, After: present(image)})
			k, image = c.Prev()
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read changes of %s: %w", o, err)
	}
	return changes, nil
}

// WaitProject returns when readers see a later commit of the project than the
// one at the position.
func (v *Views) WaitProject(ctx context.Context, id string, after uint64) error {
	for {
		st := v.published.Load()
		if p := st.projects[id]; p != nil && p.Position > after {
			return nil
		}
		select {
		case <-st.next:
		case <-ctx.Done():
			return fmt.Errorf("wait for project %s to pass position %d: %w", id, after, ctx.Err())
		}
	}
}

// KeyTaken tells whether some environment has the client key.
func (v *Views) KeyTaken(clientKey string) bool {
	_, taken := v.published.Load().keys[clientKey]
	return taken
}
