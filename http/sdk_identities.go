package httpapi

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/labstack/echo/v4"

	"flagledger/domain"
	"flagledger/domain/evaluation"
)

// maxBulk is how many identities one bulk request may bring.
const maxBulk = 100

// identifyRequest is what an app says of one identity.
type identifyRequest struct {
	identifier string // "": an identity for this request alone
	transient  bool   // nothing is stored
	traits     []sdkTrait
}

func (q *identifyRequest) reset() {
	clear(q.traits[:cap(q.traits)])
	*q = identifyRequest{traits: q.traits[:0]}
}

// getIdentity answers with the flags of an identity and its stored traits.
func (k *sdk) getIdentity(c echo.Context, at sdkAccess) error {
	identifier := query(c, "identifier")
	if identifier == "" {
		return answerJSON(c, http.StatusOK, []byte(`{"detail":"Missing identifier"}`)) // so that old SDKs go on
	}
	reader := newJSONReader(string(appendString(nil, identifier))) // held to what the body is held to
	text, problem := reader.textField(k.Limits.IdentifierLength)
	if problem != "" && problem != problemBlank { // of blanks: an identity for this request alone
		return &sdkError{http.StatusBadRequest, fieldErrors{"identifier": []string{problem}}}
	}
	b := sdkBufferPool.Get().(*sdkBuffers)
	defer b.release()
	transient := query(c, "transient")
	b.request.identifier, b.request.transient = text, transient != "" && !meansFalse(transient)
	return k.identify(c, at, b)
}

// postIdentity stores what an app says of an identity, and answers with its
// flags.
func (k *sdk) postIdentity(c echo.Context, at sdkAccess) error {
	b := sdkBufferPool.Get().(*sdkBuffers)
	defer b.release()
	r, err := k.readBody(c, b)
	if err != nil {
		return err
	}
	if err := r.finish(k.readIdentify(&r, &b.request)); err != nil {
		return err
	}
	return k.identify(c, at, b)
}

// postIdentities stores what an app says of many identities.
func (k *sdk) postIdentities(c echo.Context, at sdkAccess) error {
	b := sdkBufferPool.Get().(*sdkBuffers)
	defer b.release()
	r, err := k.readBody(c, b)
	if err != nil {
		return err
	}
	requests, invalid := k.readBulk(&r)
	if err := r.finish(invalid); err != nil {
		return err
	}
	for _, q := range requests {
		if q.identifier == "" || q.transient {
			continue
		}
		if _, err := k.keep(at, q.identifier, at.admit(q.traits)); err != nil {
			return err
		}
	}
	return answerJSON(c, http.StatusOK, []byte("{}"))
}

func (k *sdk) readBulk(r *jsonReader) (requests []identifyRequest, invalid fieldErrors) {
	invalid.add("data", problemRequired)
	if problem := r.objectField(); problem != "" {
		return nil, fieldErrors{"non_field_errors": []string{problem}}
	}
	for r.enter('{'); r.next('}'); {
		if r.key() != "data" {
			r.skip()
			continue
		}
		requests, invalid = nil, nil
		if r.kind() != jsonArray {
			invalid.add("data", fmt.Sprintf("Expected a list of items but got type %q.", r.pythonType()))
			r.skip()
			continue
		}
		var problems listErrors
		for r.enter('['); r.next(']'); {
			var q identifyRequest
			problems.add(k.readIdentify(r, &q))
			if len(requests) <= maxBulk {
				requests = append(requests, q)
			}
		}
		if problems.found {
			invalid.set("data", problems.list)
		}
		if len(requests) > maxBulk {
			invalid.add("data", problemElements(maxBulk))
		}
	}
	return requests, invalid
}

// readIdentify reads what is said of one identity.
func (k *sdk) readIdentify(r *jsonReader, q *identifyRequest) (invalid fieldErrors) {
	if problem := r.objectField(); problem != "" {
		return fieldErrors{"non_field_errors": []string{problem}}
	}
	for r.enter('{'); r.next('}'); {
		var problem string
		switch key := r.key(); key {
		case "identifier":
			q.identifier, problem = r.textField(k.Limits.IdentifierLength)
			if problem == problemNull || problem == problemBlank {
				problem = "" // an identity for this request alone
			}
			invalid.add(key, problem)
		case "transient":
			q.transient, problem = r.boolField()
			invalid.add(key, problem)
		case "traits":
			if errors := k.readTraits(r, q); errors != nil {
				invalid.set(key, errors)
			}
		default:
			r.skip()
		}
	}
	return invalid
}

// readTraits reads the list of traits. Of two with the same key the last counts.
func (k *sdk) readTraits(r *jsonReader, q *identifyRequest) (errors any) {
	q.traits = q.traits[:0]
	switch r.kind() {
	case jsonArray:
	case jsonNull: // as some SDKs say that there are none
		r.skip()
		return nil
	default:
		errors = fieldErrors{"non_field_errors": []string{fmt.Sprintf("Expected a list of items but got type %q.", r.pythonType())}}
		r.skip()
		return errors
	}
	var problems listErrors
	tooMany := false
	for r.enter('['); r.next(']'); {
		t, invalid := k.readTrait(r, nil)
		problems.add(invalid)
		q.traits = setTrait(q.traits, t)
		if len(q.traits) > k.Limits.Traits {
			tooMany, q.traits = true, q.traits[:0]
		}
	}
	switch {
	case problems.found:
		return problems.list
	case tooMany:
		return []string{problemElements(k.Limits.Traits)}
	}
	return nil
}

// maxListErrors is how far into a list its errors are told.
const maxListErrors = 200

// listErrors are the errors of the items of a list, empty for those without.
type listErrors struct {
	items int
	found bool
	list  []fieldErrors
}

func (l *listErrors) add(invalid fieldErrors) {
	l.items++
	if invalid == nil {
		return
	}
	l.found = true
	if l.items > maxListErrors && len(l.list) > 0 {
		return // or the answer could be much larger than the request
	}
	for len(l.list) < l.items-1 {
		l.list = append(l.list, fieldErrors{})
	}
	l.list = append(l.list, invalid)
}

// identify finds the identity of the request, which is made and changed as the
// request says, and answers with its flags.
func (k *sdk) identify(c echo.Context, at sdkAccess, b *sdkBuffers) error {
	q := &b.request
	q.traits = at.admit(q.traits)
	if q.identifier == "" || q.transient {
		for i := range q.traits {
			q.traits[i].transient = true
		}
	}
	var stored *domain.Identity
	var err error
	switch {
	case q.identifier == "":
		q.identifier = anonymous(q.traits)
	case q.transient:
		stored = k.Identities.Get(at.environment, q.identifier)
	default:
		if stored, err = k.keep(at, q.identifier, q.traits); err != nil {
			return err
		}
	}
	var traits []evaluation.Trait
	if stored != nil {
		traits = at.snapshot.Project.Kept(stored.Traits)
	}
	b.mergeTraits(traits, q.traits)

	b.identity.Identifier, b.identity.Key = q.identifier, at.identityKey(q.identifier)
	if stored != nil {
		b.identity.Overrides = at.snapshot.IdentityOverrides(stored.Surrogate)
	}
	at.setUpdated(c)
	if name := query(c, "feature"); name != "" {
		return answerFlag(c, at, name, &b.identity)
	}
	b.outcomes = at.shown(at.snapshot.Evaluation.Evaluate(b.outcomes[:0], &b.identity))
	at.snapshot.Tally.Count(b.outcomes...)
	b.out = at.appendIdentity(b.out[:0], b)
	return answerJSON(c, http.StatusOK, b.out)
}

// mergeTraits puts together what the identity is evaluated by and shown with:
// what is stored, and over it what counts for this request alone.
func (b *sdkBuffers) mergeTraits(stored []evaluation.Trait, asked []sdkTrait) {
	b.shown = b.shown[:0]
	for _, t := range stored {
		b.shown = append(b.shown, sdkTrait{Trait: t})
	}
	for _, t := range asked {
		if t.transient { // the others are stored by now
			b.shown = setTrait(b.shown, t)
		}
	}
	b.shown = slices.DeleteFunc(b.shown, func(t sdkTrait) bool { return t.Value.IsNull() })
	b.identity.Traits = b.identity.Traits[:0]
	for _, t := range b.shown {
		b.identity.Traits = append(b.identity.Traits, t.Trait)
	}
}

// appendIdentity writes an identity with its traits and flags.
func (at sdkAccess) appendIdentity(out []byte, b *sdkBuffers) []byte {
	out = appendString(append(out, `{"identifier":`...), b.identity.Identifier)
	out = append(out, `,"traits":[`...)
	if !at.snapshot.Environment.HideSensitiveData {
		for i, t := range b.shown {
			if i > 0 {
				out = append(out, ',')
			}
			out = appendString(append(out, `{"id":null,"trait_key":`...), t.Key)
			out = t.Value.AppendJSON(append(out, `,"trait_value":`...))
			out = evaluation.Bool(t.transient).AppendJSON(append(out, `,"transient":`...))
			out = append(out, '}')
		}
	}
	return append(appendFlags(append(out, `],"flags":`...), b.outcomes), '}')
}

// anonymous makes the identifier of somebody who has none: the same for the
// same traits, so that who says the same of himself stays on the same side of
// a split, or a random one where nothing is known.
func anonymous(traits []sdkTrait) string {
	if len(traits) == 0 {
		id := uuid.New()
		return hex.EncodeToString(id[:])
	}
	inOrder := slices.SortedStableFunc(slices.Values(traits), func(a, b sdkTrait) int { return strings.Compare(a.Key, b.Key) })
	var said strings.Builder
	for _, t := range inOrder {
		said.WriteString(t.Key)
		said.WriteString(pythonText(t.Value))
	}
	sum := sha256.Sum256([]byte(said.String()))
	return hex.EncodeToString(sum[:])
}
