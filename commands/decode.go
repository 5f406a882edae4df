package commands

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"

	"flagledger/domain"
)

// MarshalJSON writes the value.
func (o Optional[T]) MarshalJSON() ([]byte, error) { return json.Marshal(o.Value) }

// UnmarshalJSON reads a member that is there, also where it is null.
func (o *Optional[T]) UnmarshalJSON(data []byte) error {
	o.Set = true
	return json.Unmarshal(data, &o.Value)
}

// IsZero tells encoding/json to leave the member out.
func (o Optional[T]) IsZero() bool { return !o.Set }

// byName makes each command from its JSON, by the name it has in a change.
var byName = map[string]func([]byte) (Command, error){
	"create_project":           command[CreateProject],
	"update_project":           command[UpdateProject],
	"delete_project":           command[DeleteProject],
	"create_environment":       command[CreateEnvironment],
	"clone_environment":        command[CloneEnvironment],
	"update_environment":       command[UpdateEnvironment],
	"delete_environment":       command[DeleteEnvironment],
	"create_feature":           command[CreateFeature],
	"update_feature":           command[UpdateFeature],
	"set_variants":             command[SetVariants],
	"delete_feature":           command[DeleteFeature],
	"set_feature_state":        command[SetFeatureState],
	"set_segment_tests":        command[SetSegmentTests],
	"set_feature_tests":        command[SetFeatureTests],
	"set_context":              command[SetContext],
	"remove_context":           command[RemoveContext],
	"create_segment":           command[CreateSegment],
	"update_segment":           command[UpdateSegment],
	"delete_segment":           command[DeleteSegment],
	"unpin_segment":            command[UnpinSegment],
	"unpin_variants":           command[UnpinVariants],
	"set_segment_override":     command[SetSegmentOverride],
	"remove_segment_override":  command[RemoveSegmentOverride],
	"order_segment_overrides":  command[OrderSegmentOverrides],
	"set_identity_override":    command[SetIdentityOverride],
	"remove_identity_override": command[RemoveIdentityOverride],
	"update_sdk_key":           command[UpdateSDKKey],
	"revoke_sdk_key":           command[RevokeSDKKey],
}

// elsewhere are requests that are no commands of a change, with the route to
// ask. They are planned first, and the execution echoes the hash of the plan,
// which holds for the project as it is and not after other commands.
var elsewhere = map[string]string{
	"rollback": "POST /admin/v1/projects/{project}/environments/{environment}/rollback",
	"undo":     "POST /admin/v1/projects/{project}/undo",
}

func command[C Command](data []byte) (Command, error) {
	var c C
	read := func(data []byte) error {
		var members map[string]json.RawMessage
		if err := json.Unmarshal(data, &members); err != nil {
			return err
		}
		delete(members, "command")
		rest, err := json.Marshal(members)
		if err != nil {
			return err
		}
		return strict(rest, &c)
	}
	if err := read(data); err != nil {
		return nil, malformed(err, data, read)
	}
	if err := checkNames(data, reflect.TypeFor[C]()); err != nil {
		return nil, err
	}
	return c, nil
}

// DecodeCommand reads one command of a change: an object whose member
// "command" names it and whose other members are its fields.
func DecodeCommand(data []byte) (Command, error) {
	var named struct {
		Command string `json:"command"`
	}
	if err := json.Unmarshal(data, &named); err != nil {
		return nil, malformed(err, data, func(data []byte) error { return json.Unmarshal(data, &named) })
	}
	decode, ok := byName[named.Command]
	if route := elsewhere[named.Command]; route != "" {
		return nil, domain.RefuseField(domain.Invalid, "command", "a list of commands cannot %s; ask %s, first with \"dry_run\": true", named.Command, route)
	}
	if !ok {
		return nil, domain.RefuseField(domain.Malformed, "command", "%q is not a command; there are: %s", named.Command, strings.Join(slices.Sorted(maps.Keys(byName)), ", "))
	}
	return decode(data)
}

// Decode reads a JSON body strictly: one value, no unknown members, none twice,
// the right types. A refusal names the member and its place in the body.
func Decode(data []byte, into any) error {
	if !utf8.Valid(data) {
		return domain.Refuse(domain.Malformed, "the body is not valid UTF-8")
	}
	if offset := tooDeep(data); offset >= 0 {
		return domain.Refuse(domain.Malformed, "the body is nested deeper than %d, at %s", maxNesting, place(data, int64(offset)))
	}
	read := func(data []byte) error { return strict(data, into) }
	if err := read(data); err != nil {
		return malformed(err, data, read)
	}
	return checkNames(data, reflect.TypeOf(into))
}

// maxNesting is how deep objects and lists may be in each other. The work of
// finding a mistake grows with it.
const maxNesting = 64

// tooDeep is where a body is nested deeper than that, -1 if it is not.
func tooDeep(data []byte) int {
	depth, text := 0, false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case c == '"':
			text = !text
		case text && c == '\\':
			i++
		case text:
		case c == '{' || c == '[':
			if depth++; depth > maxNesting {
				return i
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return -1
}

// strict decodes one JSON value without unknown members.
func strict(data []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return domain.Refuse(domain.Malformed, "there is something after the JSON value, at %s", place(data, d.InputOffset()))
	}
	return nil
}

// malformed words an error of read as a refusal. read is asked again for parts
// of the body, to find out which of them it is about.
func malformed(err error, data []byte, read func([]byte) error) error {
	if refusal, ok := errors.AsType[*domain.Error](err); ok {
		return refusal
	}
	if e, ok := errors.AsType[*json.SyntaxError](err); ok {
		return domain.Refuse(domain.Malformed, "the body is not valid JSON: %s, at %s", e, place(data, e.Offset))
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return domain.Refuse(domain.Malformed, "the body ends before the JSON value does, at %s", place(data, int64(len(data))))
	}
	path, offset := culprit(nil, data, nil, func(part []byte) bool {
		again := read(part)
		return again != nil && complaint(again) == complaint(err)
	})
	return domain.RefuseField(domain.Malformed, path, "%s, at %s", complaint(err), place(data, int64(offset)))
}

// complaint is what an error of encoding/json says, but where.
func complaint(err error) string {
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		article := "a"
		if strings.HasPrefix(e.Value, "object") || strings.HasPrefix(e.Value, "array") {
			article = "an"
		}
		return fmt.Sprintf("there is %s %s where %s is wanted", article, e.Value, wanted(e.Type))
	}
	if field, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		return "there is no member " + field + " here"
	}
	return "this cannot be read: " + strings.TrimPrefix(err.Error(), "json: ")
}

// culprit finds the innermost part of a JSON value about which there is the same
// complaint when it stands there alone, between what is before and after it: its
// path, and its offset in the value. The decoder itself does not tell, where
// types decode themselves.
func culprit(before, value, after []byte, same func(alone []byte) bool) (path string, offset int) {
	members := membersOf(value)
	if value := bytes.TrimSpace(value); len(members) > 0 && same(slices.Concat(before, []byte{value[0], value[len(value)-1]}, after)) {
		return "", 0 // it is about the value being an object or array, whatever is in it
	}
	for _, m := range members {
		before, after := slices.Concat(before, m.open), slices.Concat(m.close, after)
		if !same(slices.Concat(before, m.value, after)) {
			continue
		}
		rest, at := culprit(before, m.value, after, same)
		switch {
		case rest == "":
			return m.name, m.offset
		case rest[0] == '[':
			return m.name + rest, m.valueOffset + at
		}
		return m.name + "." + rest, m.valueOffset + at
	}
	return "", 0
}

// A member is one of an object, or an element of an array.
type member struct {
	name                string // as in a path: key or [3]
	open, close         []byte // what makes the value alone an object or array again
	value               []byte
	offset, valueOffset int
}

// membersOf are those of a valid JSON value, none of a scalar.
func membersOf(value []byte) []member {
	d := json.NewDecoder(bytes.NewReader(value))
	var all []member
	begin, err := d.Token()
	if err != nil || begin != json.Delim('{') && begin != json.Delim('[') {
		return nil
	}
	for d.More() {
		start := int(d.InputOffset())
		start += len(value[start:]) - len(bytes.TrimLeft(value[start:], " \t\r\n,"))
		m := member{name: fmt.Sprintf("[%d]", len(all)), open: []byte("["), close: []byte("]"), offset: start}
		if begin == json.Delim('{') {
			key, err := d.Token()
			if err != nil {
				return all
			}
			m.name = fmt.Sprint(key)
			m.open, m.close = slices.Concat([]byte("{"), value[start:d.InputOffset()], []byte(":")), []byte("}")
		}
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return all
		}
		m.value, m.valueOffset = raw, int(d.InputOffset())-len(raw)
		all = append(all, m)
	}
	return all
}

// wanted words a Go type as people say it.
func wanted(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "a string"
	case reflect.Float32, reflect.Float64:
		return "a number"
	case reflect.Slice, reflect.Array:
		return "a list"
	case reflect.Struct, reflect.Map:
		return "an object"
	case reflect.Pointer:
		return wanted(t.Elem())
	}
	return "an integer"
}

// place tells an offset as people count.
func place(data []byte, offset int64) string {
	before := data[:min(max(offset, 0), int64(len(data)))]
	line := 1 + bytes.Count(before, []byte("\n"))
	column := len(before) - bytes.LastIndexByte(before, '\n')
	return fmt.Sprintf("line %d, column %d", line, column)
}
