package httpapi

import (
	"fmt"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/labstack/echo/v4"

	"flagledger/domain"
	"flagledger/domain/evaluation"
)

// sdkTrait is a trait as apps send it.
type sdkTrait struct {
	evaluation.Trait
	transient bool // counts for this request, and is not stored
}

// setTrait replaces the trait with the same key, or appends.
func setTrait(traits []sdkTrait, t sdkTrait) []sdkTrait {
	for i := range traits {
		if traits[i].Key == t.Key {
			traits[i] = t
			return traits
		}
	}
	return append(traits, t)
}

// readTrait reads one trait. With an owner it is one that says whose it is.
func (k *sdk) readTrait(r *jsonReader, owner *string) (t sdkTrait, invalid fieldErrors) {
	if problem := r.objectField(); problem != "" {
		return t, fieldErrors{"non_field_errors": []string{problem}}
	}
	hasKey, hasValue, hasOwner := false, false, owner == nil
	for r.enter('{'); r.next('}'); {
		var problem string
		switch field := r.key(); field {
		case "trait_key":
			t.Key, problem = r.textField(k.Limits.TraitKeyLength)
			hasKey = true
			invalid.add(field, problem)
		case "trait_value":
			t.Value, problem = r.traitValue(k.Limits.TraitLength)
			hasValue = true
			invalid.add(field, problem)
		case "transient":
			t.transient, problem = r.boolField()
			invalid.add(field, problem)
		case "identity":
			if owner == nil {
				r.skip()
				continue
			}
			var wrong fieldErrors
			*owner, wrong = k.readOwner(r)
			hasOwner = true
			if wrong != nil {
				invalid.set(field, wrong)
			}
		default:
			r.skip()
		}
	}
	if !hasOwner {
		invalid.add("identity", problemRequired)
	}
	if !hasKey {
		invalid.add("trait_key", problemRequired)
	}
	if !hasValue {
		invalid.add("trait_value", problemRequired)
	}
	return t, invalid
}

// traitValue reads the value of a trait. Lists and objects become texts.
func (r *jsonReader) traitValue(limit int) (v evaluation.Value, problem string) {
	switch r.kind() {
	case jsonObject, jsonArray:
		v = evaluation.String(string(r.appendPython(nil)))
	default:
		v = r.scalar()
	}
	if s, ok := v.AsString(); ok && len(s) > limit && utf8.RuneCountInString(s) > limit {
		return v, fmt.Sprintf("Value string is too long. Must be less than %d character", limit)
	}
	return v, ""
}

func (k *sdk) readOwner(r *jsonReader) (identifier string, invalid fieldErrors) {
	if problem := r.objectField(); problem != "" {
		return "", fieldErrors{"non_field_errors": []string{problem}}
	}
	problem := problemRequired
	for r.enter('{'); r.next('}'); {
		if r.key() == "identifier" {
			identifier, problem = r.textField(k.Limits.IdentifierLength)
		} else {
			r.skip()
		}
	}
	invalid.add("identifier", problem)
	return identifier, invalid
}

// takesTraits tells whether the key may set traits.
func (at sdkAccess) takesTraits() bool {
	return at.server || at.snapshot.Environment.AllowClientTraits
}

// admit leaves out the traits that do not count here, and makes those transient
// that may not be stored.
func (at sdkAccess) admit(traits []sdkTrait) []sdkTrait {
	admitted := traits[:0]
	if !at.takesTraits() {
		return admitted
	}
	for _, t := range traits {
		evaluated, stored := at.snapshot.Project.Ingest(t.Key)
		t.transient = t.transient || !stored
		if evaluated {
			admitted = append(admitted, t)
		}
	}
	return admitted
}

// storesTraits refuses a request that is about nothing but storing traits where
// that is not done.
func (at sdkAccess) storesTraits() error {
	if !at.snapshot.Project.PersistTraits {
		return sdkRefusal(http.StatusForbidden, "Organisation is not authorised to store traits.")
	}
	if !at.takesTraits() {
		return &sdkError{http.StatusBadRequest, fieldErrors{"non_field_errors": []string{"Setting traits not allowed with client key."}}}
	}
	return nil
}

// keep stores what is new of the identity: itself, and those traits that are
// not transient and have changed. A null value deletes a trait, and so does a
// project that does not keep it any more. It returns the identity as it is then.
func (k *sdk) keep(at sdkAccess, identifier string, traits []sdkTrait) (*domain.Identity, error) {
	stored := k.Identities.Get(at.environment, identifier)
	var had []evaluation.Trait
	if stored != nil {
		had = stored.Traits
	}
	var changed []evaluation.Trait
	count := len(had)
	for _, t := range traits {
		was := traitValue(had, t.Key)
		if t.transient || t.Value == was {
			continue
		}
		switch {
		case was.IsNull():
			count++
		case t.Value.IsNull():
			count--
		}
		changed = append(changed, detached(t.Trait))
	}
	for _, t := range had {
		if !at.snapshot.Project.Keeps(t.Key) { // any more
			count--
			changed = append(changed, evaluation.Trait{Key: t.Key})
		}
	}
	if count > max(len(had), k.Limits.Traits) {
		return nil, &sdkError{http.StatusBadRequest, fieldErrors{"traits": []string{problemElements(k.Limits.Traits)}}}
	}
	if stored != nil && changed == nil {
		return stored, nil
	}
	return k.Identities.Identify(at.environment, strings.Clone(identifier), changed), nil
}

func traitValue(traits []evaluation.Trait, key string) evaluation.Value {
	for i := range traits {
		if traits[i].Key == key {
			return traits[i].Value
		}
	}
	return evaluation.Null()
}

// detached is the trait without the request's body, of which its texts are
// pieces: what is stored would keep all of it in memory.
func detached(t evaluation.Trait) evaluation.Trait {
	t.Key = strings.Clone(t.Key)
	if s, ok := t.Value.AsString(); ok {
		t.Value = evaluation.String(strings.Clone(s))
	}
	return t
}

// ownedTrait is a trait with its identity, as the routes for traits have it.
type ownedTrait struct {
	Identity struct {
		Identifier string `json:"identifier"`
	} `json:"identity"`
	Key   string           `json:"trait_key"`
	Value evaluation.Value `json:"trait_value"`
	// Transient says that the trait was not stored, since the project keeps no such ones.
	Transient bool `json:"transient,omitempty"`
}

// postTrait stores one trait.
func (k *sdk) postTrait(c echo.Context, at sdkAccess) error {
	b := sdkBufferPool.Get().(*sdkBuffers)
	defer b.release()
	r, err := k.readBody(c, b)
	if err != nil {
		return err
	}
	var owned ownedTrait
	t, invalid := k.readTrait(&r, &owned.Identity.Identifier)
	if err := r.finish(invalid); err != nil {
		return err
	}
	if err := at.storesTraits(); err != nil {
		return err
	}
	t.transient = false
	if _, err := k.keep(at, owned.Identity.Identifier, at.admit([]sdkTrait{t})); err != nil {
		return err
	}
	owned.Key, owned.Value, owned.Transient = t.Key, t.Value, !at.snapshot.Project.Keeps(t.Key)
	return answerValue(c, owned)
}

// putTraits stores traits of several identities. A null value deletes one.
func (k *sdk) putTraits(c echo.Context, at sdkAccess) error {
	b := sdkBufferPool.Get().(*sdkBuffers)
	defer b.release()
	r, err := k.readBody(c, b)
	if err != nil {
		return err
	}
	if kind := r.kind(); r.err == nil && kind != jsonArray {
		r.skip()
		if err := r.finish(nil); err != nil {
			return err
		}
		return sdkRefusal(http.StatusBadRequest, "Invalid request data")
	}
	answer := []ownedTrait{}
	var owners []string // in the order in which they are named
	traits := map[string][]sdkTrait{}
	var problems listErrors
	for r.enter('['); r.next(']'); {
		var owned ownedTrait
		t, invalid := k.readTrait(&r, &owned.Identity.Identifier)
		problems.add(invalid)
		owner := owned.Identity.Identifier
		if traits[owner] == nil {
			owners = append(owners, owner)
		}
		t.transient = false
		if traits[owner] = setTrait(traits[owner], t); len(traits[owner]) > k.Limits.Traits {
			return sdkRefusal(http.StatusBadRequest, "An identity has no more than %d traits.", k.Limits.Traits)
		}
		if !t.Value.IsNull() {
			owned.Key, owned.Value, owned.Transient = t.Key, t.Value, !at.snapshot.Project.Keeps(t.Key)
			answer = append(answer, owned)
		}
	}
	if err := r.finish(nil); err != nil {
		return err
	}
	if problems.found {
		return &sdkError{http.StatusBadRequest, problems.list}
	}
	if err := at.storesTraits(); err != nil {
		return err
	}
	for _, owner := range owners {
		if _, err := k.keep(at, owner, at.admit(traits[owner])); err != nil {
			return err
		}
	}
	return answerValue(c, answer)
}

// incrementTrait adds to a number that is kept in a trait, 0 where there is none.
func (k *sdk) incrementTrait(c echo.Context, at sdkAccess) error {
	b := sdkBufferPool.Get().(*sdkBuffers)
	defer b.release()
	r, err := k.readBody(c, b)
	if err != nil {
		return err
	}
	var answer struct {
		Key        string `json:"trait_key"`
		Value      int64  `json:"trait_value"`
		Identifier string `json:"identifier"`
	}
	var by int64
	if problem := r.objectField(); problem != "" {
		return r.finish(fieldErrors{"non_field_errors": []string{problem}})
	}
	problems := map[string]string{"trait_key": problemRequired, "increment_by": problemRequired, "identifier": problemRequired}
	for r.enter('{'); r.next('}'); {
		switch field := r.key(); field {
		case "trait_key":
			answer.Key, problems[field] = r.textField(k.Limits.TraitKeyLength)
		case "increment_by":
			by, problems[field] = r.integerField()
		case "identifier":
			answer.Identifier, problems[field] = r.textField(k.Limits.IdentifierLength)
		default:
			r.skip()
		}
	}
	var invalid fieldErrors
	for field, problem := range problems {
		invalid.add(field, problem)
	}
	if err := r.finish(invalid); err != nil {
		return err
	}
	if err := at.storesTraits(); err != nil {
		return err
	}
	if p := at.snapshot.Project; !p.Keeps(answer.Key) { // nor would there be anything to add to
		why := "declared sensitive"
		if p.Contexts.Get(answer.Key) == nil {
			why = "not declared, in a project that is strict about that"
		}
		return &sdkError{http.StatusBadRequest, []string{fmt.Sprintf("The trait %q is never stored, so that it cannot count: it is %s.", answer.Key, why)}}
	}
	k.increments.Lock()
	defer k.increments.Unlock()
	var was evaluation.Value
	if stored := k.Identities.Get(at.environment, answer.Identifier); stored != nil {
		was = traitValue(at.snapshot.Project.Kept(stored.Traits), answer.Key)
	}
	before, whole := was.AsInt()
	if !whole && !was.IsNull() {
		return &sdkError{http.StatusBadRequest, []string{"Trait is not an integer."}}
	}
	answer.Value = before + by
	if (answer.Value > before) != (by > 0) {
		return &sdkError{http.StatusBadRequest, []string{"The sum would not fit into 64 bits."}}
	}
	sum := sdkTrait{Trait: evaluation.Trait{Key: answer.Key, Value: evaluation.Int(answer.Value)}}
	if _, err := k.keep(at, answer.Identifier, at.admit([]sdkTrait{sum})); err != nil {
		return err
	}
	return answerValue(c, answer)
}
