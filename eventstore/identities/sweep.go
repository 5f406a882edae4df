package identities

import "context"

// sweepAtOnce is how many persons a sweep changes before it waits until they are stored.
const sweepAtOnce = 1000

// Sweep deletes the traits that are not kept any more, of all persons of an
// environment, and returns how many persons had some. It returns when that is
// stored.
func (s *Store) Sweep(ctx context.Context, env Environment, kept func(trait string) bool) (swept int, err error) {
	e := s.environments.get(env)
	for i := range e.shards {
		found := map[string][]Trait{}
		sh := &e.shards[i]
		sh.mu.RLock()
		for identifier, p := range sh.persons {
			c, _ := p.record.decode()
			for _, t := range c.traits {
				if !kept(t.Key) {
					found[identifier] = append(found[identifier], Trait{Key: t.Key})
				}
			}
		}
		sh.mu.RUnlock()
		for identifier, deleted := range found {
			s.Identify(env, identifier, deleted)
			if swept++; swept%sweepAtOnce == 0 {
				if err := s.Flush(ctx); err != nil {
					return swept, err
				}
			}
		}
	}
	return swept, s.Flush(ctx)
}
