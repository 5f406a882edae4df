package commands

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"

	"flagledger/domain"
	"flagledger/domain/evaluation"
)

// checkNames refuses members that stand twice in an object, and those that are
// written in another case than the type has them. encoding/json takes both, and
// the last one counts: whoever looks at a request on its way here, a proxy or a
// log, may have read the other. The data is valid JSON.
func checkNames(data []byte, t reflect.Type) error {
	n := names{d: json.NewDecoder(bytes.NewReader(data)), data: data}
	n.d.UseNumber()
	return n.value(t)
}

type names struct {
	d    *json.Decoder
	data []byte
	path []string
}

// value reads one value of the type, nil where the type does not matter.
func (n *names) value(t reflect.Type) error {
	token, err := n.d.Token()
	if err != nil {
		return fmt.Errorf("read JSON once more: %w", err)
	}
	t = readAs(t)
	switch token {
	case json.Delim('{'):
		err = n.object(t)
	case json.Delim('['):
		err = n.array(t)
	default:
		return nil
	}
	if err == nil {
		_, err = n.d.Token() // which ends it
	}
	return err
}

func (n *names) array(t reflect.Type) error {
	if t != nil && t.Kind() == reflect.Slice {
		t = t.Elem()
	} else {
		t = nil
	}
	for i := 0; n.d.More(); i++ {
		if err := n.inner(fmt.Sprintf("[%d]", i), t); err != nil {
			return err
		}
	}
	return nil
}

func (n *names) object(t reflect.Type) error {
	seen := map[string]bool{}
	var fields map[string]reflect.Type
	var all reflect.Type
	switch {
	case t != nil && t.Kind() == reflect.Struct:
		fields = fieldsOf(t)
	case t != nil && t.Kind() == reflect.Map:
		all = t.Elem()
	}
	for n.d.More() {
		begin := n.d.InputOffset()
		token, err := n.d.Token()
		if err != nil {
			return fmt.Errorf("read JSON once more: %w", err)
		}
		name, _ := token.(string)
		if seen[name] {
			return n.refuse(begin, name, "the member %q is given twice", name)
		}
		seen[name] = true
		inner, known := fields[name]
		if !known {
			inner = all
			for field := range fields {
				if strings.EqualFold(field, name) {
					return n.refuse(begin, name, "there is no member %q here; it is written %q", name, field)
				}
			}
		}
		if err := n.inner("."+name, inner); err != nil {
			return err
		}
	}
	return nil
}

func (n *names) inner(step string, t reflect.Type) error {
	n.path = append(n.path, step)
	err := n.value(t)
	n.path = n.path[:len(n.path)-1]
	return err
}

func (n *names) refuse(begin int64, name, format string, args ...any) error {
	begin += int64(len(n.data[begin:]) - len(bytes.TrimLeft(n.data[begin:], " \t\r\n,")))
	path := strings.TrimPrefix(strings.Join(n.path, "")+"."+name, ".")
	return domain.RefuseField(domain.Malformed, path, "%s, at %s", fmt.Sprintf(format, args...), place(n.data, begin))
}

// readAs is the type by whose fields a value of the type is read; nil where it
// reads itself, and has no members.
func readAs(t reflect.Type) reflect.Type {
	for t != nil {
		if t.Kind() == reflect.Pointer {
			t = t.Elem()
			continue
		}
		inner, is := reflect.Zero(t).Interface().(interface{ wanted() reflect.Type })
		switch {
		case is:
			t = inner.wanted()
		case reflect.PointerTo(t).Implements(reflect.TypeFor[json.Unmarshaler]()):
			return nil
		default:
			return t
		}
	}
	return nil
}

func (Optional[T]) wanted() reflect.Type { return reflect.TypeFor[T]() }

// Rules are read in both forms.
func (Rules) wanted() reflect.Type {
	return reflect.TypeFor[[]struct {
		evaluation.Rule
		compactRule
	}]()
}

var fieldsByType sync.Map // of reflect.Type: map[string]reflect.Type

// fieldsOf are the types of a struct's members in JSON, by their names.
func fieldsOf(t reflect.Type) map[string]reflect.Type {
	if known, ok := fieldsByType.Load(t); ok {
		return known.(map[string]reflect.Type)
	}
	fields := map[string]reflect.Type{}
	for _, f := range slices.DeleteFunc(reflect.VisibleFields(t), func(f reflect.StructField) bool { return f.Anonymous || !f.IsExported() }) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" {
			name = f.Name
		}
		fields[name] = f.Type
	}
	fieldsByType.Store(t, fields)
	return fields
}
