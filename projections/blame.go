package projections

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"go.etcd.io/bbolt"

	"flagledger/domain"
)

// Blame returns, for each of the elements as it is at the position, the position
// of the commit that made it so: it has been the same ever since, whatever else
// became of the object that it is part of. 0: there is no such element. It costs
// as many images as the objects have had since.
func (v *Views) Blame(id EnvironmentID, elements []domain.Element, position uint64) ([]uint64, error) {
	since := make([]uint64, len(elements))
	byObjects := map[string][]int{} // those that are read from the same images
	for i, el := range elements {
		name := fmt.Sprint(el.Objects)
		byObjects[name] = append(byObjects[name], i)
	}
	err := v.view(func(tx *bbolt.Tx) error {
		c := tx.Bucket(bucketHistory).Cursor()
		for _, group := range byObjects {
			if err := blame(c, id, elements, group, position, since); err != nil {
				return err
			}
		}
		return nil
	})
	return since, err
}

// blame goes back from image to image of the objects of a group of elements, as
// long as one of them is what it is at the position.
func blame(c *bbolt.Cursor, id EnvironmentID, elements []domain.Element, group []int, position uint64, since []uint64) error {
	objects := elements[group[0]].Objects
	now, at, err := imagesBefore(c, id, objects, position)
	if err != nil {
		return err
	}
	was := now
	for at > 0 {
		var open []int
		for _, i := range group {
			if elements[i].Same(now, was) {
				since[i] = at
				open = append(open, i)
			}
		}
		if group = open; len(group) == 0 {
			return nil
		}
		if was, at, err = imagesBefore(c, id, objects, at-1); err != nil {
			return err
		}
	}
	return nil
}

// imagesBefore returns a project with nothing but the objects as they were at the
// position, and the position of the last commit before or at it that changed one
// of them; 0: none did.
func imagesBefore(c *bbolt.Cursor, id EnvironmentID, objects []domain.Object, position uint64) (*domain.Project, uint64, error) {
	p := &domain.Project{ID: id.Project}
	var last uint64
	for _, o := range objects {
		of := EnvironmentID{Project: id.Project}
		if o.Environment != "" {
			of = id
			if p.Environments.Get(o.Environment) == nil {
				p.Environments = p.Environments.Set(o.Environment, &domain.Environment{ID: id.ID, Key: o.Environment})
			}
		}
		object := objectKey(of, o)
		k, image := lastBefore(c, historyKey(object, position+1))
		if len(k) != len(object)+9 || !bytes.HasPrefix(k, object) || k[len(object)] != 0 {
			continue
		}
		last = max(last, binary.BigEndian.Uint64(k[len(object)+1:]))
		if len(image) == 0 {
			continue // it was gone
		}
		if err := p.Restore(o, image); err != nil {
			return nil, 0, err
		}
	}
	return p, last, nil
}
