package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/labstack/echo/v4"

	"flagledger/domain/evaluation"
)

// sdkBuffers is the memory of one request, which the next one uses again.
type sdkBuffers struct {
	in, out  []byte
	request  identifyRequest
	shown    []sdkTrait
	identity evaluation.Identity
	outcomes []*evaluation.Outcome
}

var sdkBufferPool = sync.Pool{New: func() any { return new(sdkBuffers) }}

// maxPooled is the size in bytes above which a buffer is left to the garbage
// collector: one large answer must not hold its memory for ever.
const maxPooled = 1 << 20

// release gives the memory back. It keeps nothing of the request alive.
func (b *sdkBuffers) release() {
	if cap(b.in) > maxPooled || cap(b.out) > maxPooled {
		return
	}
	b.request.reset()
	clear(b.shown[:cap(b.shown)])
	clear(b.identity.Traits)
	clear(b.outcomes[:cap(b.outcomes)])
	b.identity = evaluation.Identity{Traits: b.identity.Traits[:0]}
	sdkBufferPool.Put(b)
}

var (
	errBodyTooLarge = errors.New("the body is over the limit")
	errBodyEncoded  = errors.New("the body is compressed")
)

// readText reads the body of a request, of at most limit bytes, into memory that
// is used again, and makes it a text of its own, pieces of which may be kept.
func readText(r *http.Request, limit int64, in *[]byte) (string, error) {
	if r.ContentLength > limit {
		return "", errBodyTooLarge
	}
	if encoded(r.Header) {
		return "", errBodyEncoded
	}
	b := slices.Grow((*in)[:0], int(max(r.ContentLength, 0))+bytes.MinRead)
	defer func() { *in = b }()
	for {
		n, err := r.Body.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if int64(len(b)) > limit {
			return "", errBodyTooLarge
		}
		if errors.Is(err, io.EOF) {
			return string(b), nil
		}
		if err != nil {
			return "", err
		}
		b = slices.Grow(b, 1)
	}
}

// readBody reads the body of a request. A form becomes the JSON that says the
// same, an empty body an empty object.
func (k *sdk) readBody(c echo.Context, b *sdkBuffers) (jsonReader, error) {
	r := c.Request()
	source, err := readText(r, k.BodyLimit, &b.in)
	switch {
	case errors.Is(err, errBodyTooLarge):
		return jsonReader{}, k.errTooLarge()
	case errors.Is(err, errBodyEncoded):
		return jsonReader{}, sdkRefusal(http.StatusUnsupportedMediaType, "Bodies are not read compressed (Content-Encoding); send it as it is.")
	case err != nil:
		return jsonReader{}, sdkRefusal(http.StatusBadRequest, "The body could not be read.")
	}
	if strings.HasPrefix(r.Header.Get("Content-Type"), echo.MIMEApplicationForm) {
		form, err := url.ParseQuery(source)
		if err != nil {
			return jsonReader{}, sdkRefusal(http.StatusBadRequest, "Form parse error - %v", err)
		}
		source = formJSON(form)
	}
	if source == "" {
		source = "{}"
	}
	return newJSONReader(source), nil
}

func (k *sdk) errTooLarge() error {
	return sdkRefusal(http.StatusRequestEntityTooLarge, "The body is larger than the limit of %d bytes.", k.BodyLimit)
}

// formJSON writes a form as JSON. Names are paths as Django REST framework
// reads them: traits[0]trait_key, identity.identifier. Values stay strings.
func formJSON(form url.Values) string {
	root := map[string]any{}
	lists := map[string]map[int]map[string]any{}
	for name, values := range form {
		value := values[len(values)-1]
		if list, rest, ok := strings.Cut(name, "["); ok {
			index, member, _ := strings.Cut(rest, "]")
			if i, err := strconv.Atoi(index); err == nil {
				within(within(lists, list), i)[strings.TrimPrefix(member, ".")] = value
			}
		} else if object, member, ok := strings.Cut(name, "."); ok {
			inner, _ := root[object].(map[string]any)
			if inner == nil {
				inner = map[string]any{}
				root[object] = inner
			}
			inner[member] = value
		} else if root[name] == nil {
			root[name] = value
		}
	}
	for name, items := range lists {
		list := make([]map[string]any, 0, len(items))
		for _, i := range slices.Sorted(maps.Keys(items)) {
			list = append(list, items[i])
		}
		root[name] = list
	}
	source, _ := json.Marshal(root) // of maps, lists and strings: cannot fail
	return string(source)
}

// within returns the map under the key, making it if need be.
func within[K, L comparable, V any](m map[K]map[L]V, key K) map[L]V {
	if m[key] == nil {
		m[key] = map[L]V{}
	}
	return m[key]
}

// finish ends the reading of a body: with what is wrong in the text, else with
// what is wrong in the fields.
func (r *jsonReader) finish(invalid fieldErrors) error {
	r.end()
	if r.err != nil {
		return sdkRefusal(http.StatusBadRequest, "JSON parse error - %v", r.err)
	}
	if invalid != nil {
		return &sdkError{http.StatusBadRequest, invalid}
	}
	return nil
}

// fieldErrors says what is wrong with the fields of an object: by field a list
// of sentences, or the errors within it. They have the form and words of Django
// REST framework.
type fieldErrors map[string]any

// add notes a problem, if there is one.
func (e *fieldErrors) add(field, problem string) {
	if problem != "" {
		e.set(field, []string{problem})
	}
}

func (e *fieldErrors) set(field string, errors any) {
	if *e == nil {
		*e = fieldErrors{}
	}
	(*e)[field] = errors
}

// What can be wrong with a field.
const (
	problemRequired   = "This field is required."
	problemNull       = "This field may not be null."
	problemBlank      = "This field may not be blank."
	problemNotText    = "Not a valid string."
	problemNUL        = "Null characters are not allowed."
	problemNotBool    = "Must be a valid boolean."
	problemNotInteger = "A valid integer is required."
)

func problemElements(limit int) string {
	return fmt.Sprintf("Ensure this field has no more than %d elements.", limit)
}

// textField reads a text of at most limit characters. A number counts as its digits.
func (r *jsonReader) textField(limit int) (text, problem string) {
	switch r.kind() {
	case jsonString:
		text = r.text()
	case jsonNumber:
		text, _ = r.number()
	case jsonNull:
		r.skip()
		return "", problemNull
	default:
		r.skip()
		return "", problemNotText
	}
	switch {
	case strings.TrimSpace(text) == "":
		return "", problemBlank
	case strings.IndexByte(text, 0) >= 0:
		return "", problemNUL
	case len(text) > limit && utf8.RuneCountInString(text) > limit:
		return "", fmt.Sprintf("Ensure this field has no more than %d characters.", limit)
	}
	return text, ""
}

// boolField reads a boolean, or a text or number that means one. Null is false.
func (r *jsonReader) boolField() (value bool, problem string) {
	switch r.kind() {
	case jsonObject, jsonArray:
		r.skip()
		return false, problemNotBool
	}
	text := r.scalar().String()
	switch strings.ToLower(text) {
	case "true", "t", "yes", "y", "on", "1", "1.0":
		return true, ""
	case "null":
		return false, ""
	}
	if meansFalse(text) {
		return false, ""
	}
	return false, problemNotBool
}

func meansFalse(text string) bool {
	switch strings.ToLower(text) {
	case "false", "f", "no", "n", "off", "0", "0.0":
		return true
	}
	return false
}

// integerField reads an integer, or a text that means one.
func (r *jsonReader) integerField() (value int64, problem string) {
	switch r.kind() {
	case jsonNull:
		r.skip()
		return 0, problemNull
	case jsonObject, jsonArray:
		r.skip()
		return 0, problemNotInteger
	}
	value, err := strconv.ParseInt(r.scalar().String(), 10, 64)
	if err != nil {
		return 0, problemNotInteger
	}
	return value, ""
}

// objectField expects an object. Everything else is skipped.
func (r *jsonReader) objectField() (problem string) {
	if r.kind() == jsonObject || r.err != nil {
		return ""
	}
	problem = "Invalid data. Expected a dictionary, but got " + r.pythonType() + "."
	r.skip()
	return problem
}
