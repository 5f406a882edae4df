package eventstore_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"flagledger/domain"
	"flagledger/domain/evaluation"
	"flagledger/eventstore"
)

var update = flag.Bool("update", false, "write the golden files that are missing or differ")

const goldenDir = "testdata/golden"

// TestGolden freezes the JSON of each event: what is recorded today must be read
// for ever. A difference means that an event needs a new version and an
// upcaster; only what was never released may be updated.
func TestGolden(t *testing.T) {
	for _, eventType := range domain.EventTypes() {
		t.Run(eventType, func(t *testing.T) {
			sample := sampleEvent(t, eventType)
			data, err := json.Marshal(sample)
			if err != nil {
				t.Fatal(err)
			}
			golden := compareGolden(t, eventType, data)
			if got := decodeEvent(t, eventType, golden); !reflect.DeepEqual(got, sample) {
				t.Errorf("the golden file reads as\n%+v\nwant\n%+v", got, sample)
			}
		})
	}
}

// TestGoldenCommit does the same for the envelope.
func TestGoldenCommit(t *testing.T) {
	var c domain.Commit
	fill(reflect.ValueOf(&c).Elem(), "commit", 0)
	c.Project = "p"
	c.Events = []domain.Event{domain.ProjectDeleted{Key: "shop"}}
	data, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	m := eventstore.Message{Position: 1, Subject: "flagledger.log.p", Payload: compareGolden(t, "commit", data)}
	got, err := m.Decode()
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got.Commit, c) {
		t.Errorf("the golden file reads as\n%+v\nwant\n%+v", got.Commit, c)
	}
}

// TestGoldenHistory reads every golden file, also those of versions that are no
// longer written.
func TestGoldenHistory(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(goldenDir, "*.v*.json"))
	if err != nil || len(files) < len(domain.EventTypes()) {
		t.Fatalf("%d golden files for %d event types, %v", len(files), len(domain.EventTypes()), err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		decodeEvent(t, strings.TrimSuffix(filepath.Base(file), ".json"), data)
	}
}

func TestDecodeRefuses(t *testing.T) {
	for name, m := range map[string]eventstore.Message{
		"no JSON":          {Subject: "flagledger.log.p", Payload: []byte("hello")},
		"unknown event":    {Subject: "flagledger.log.p", Payload: []byte(`{"project":"p","events":[{"type":"moon.landed.v1","data":{}}]}`)},
		"wrong type":       {Subject: "flagledger.log.p", Payload: []byte(`{"project":"p","events":[{"type":"project.deleted.v1","data":[]}]}`)},
		"another's commit": {Subject: "flagledger.log.q", Payload: []byte(`{"project":"p","events":[]}`)},
	} {
		m.Position = 42
		if _, err := m.Decode(); err == nil || !strings.Contains(err.Error(), "42") {
			t.Errorf("%s: error %v, want one that names the position", name, err)
		}
	}
}

// compareGolden compares data with the golden file and returns what is in it.
func compareGolden(t *testing.T, name string, data []byte) []byte {
	t.Helper()
	var indented bytes.Buffer
	if err := json.Indent(&indented, data, "", "  "); err != nil {
		t.Fatal(err)
	}
	indented.WriteByte('\n')
	file := filepath.Join(goldenDir, name+".json")
	golden, err := os.ReadFile(file)
	switch {
	case *update && !bytes.Equal(golden, indented.Bytes()):
		if err := os.WriteFile(file, indented.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return indented.Bytes()
	case err != nil:
		t.Fatalf("no golden file for %s: %v (go test ./eventstore -run Golden -update writes it)", name, err)
	case !bytes.Equal(golden, indented.Bytes()):
		t.Fatalf("%s differs; got\n%s\nwant\n%s", file, indented.Bytes(), golden)
	}
	return golden
}

// decodeEvent reads an event as it is read from the log.
func decodeEvent(t *testing.T, eventType string, data json.RawMessage) domain.Event {
	t.Helper()
	payload, err := json.Marshal(map[string]any{"project": "p", "events": []domain.RawEvent{{Type: eventType, Data: data}}})
	if err != nil {
		t.Fatal(err)
	}
	r, err := eventstore.Message{Subject: "flagledger.log.p", Payload: payload}.Decode()
	if err != nil {
		t.Fatalf("%s: %v", eventType, err)
	}
	return r.Events[0]
}

// sampleEvent is an event of the type with every field filled.
func sampleEvent(t *testing.T, eventType string) domain.Event {
	t.Helper()
	sample := reflect.New(reflect.TypeOf(decodeEvent(t, eventType, json.RawMessage("{}")))).Elem()
	fill(sample, eventType, 0)
	return sample.Interface().(domain.Event)
}

// fill sets v and all in it to something that is not zero. Strings say the name
// of their JSON field, so that a golden file shows what stands where; n counts
// elements and, in a struct, fields.
func fill(v reflect.Value, name string, n int) {
	switch v.Interface().(type) {
	case time.Time:
		v.Set(reflect.ValueOf(time.Date(2026, 11, 21, 9, 30, 0, 123456789, time.UTC)))
		return
	case evaluation.Value:
		kinds := []evaluation.Value{evaluation.String(name), evaluation.Int(int64(n)), evaluation.Float(0.5), evaluation.Bool(true)}
		v.Set(reflect.ValueOf(kinds[n%len(kinds)]))
		return
	case domain.Expectation:
		var value evaluation.Value
		fill(reflect.ValueOf(&value).Elem(), name, n)
		v.Set(reflect.ValueOf(domain.Expect(value)))
		return
	case []domain.Event:
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(name)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int32, reflect.Int64:
		v.SetInt(int64(n + 1))
	case reflect.Uint64:
		v.SetUint(uint64(n + 1))
	case reflect.Float64:
		v.SetFloat(float64(n) + 0.5)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), name, n)
	case reflect.Slice:
		if strings.Count(name, "/rules") > 1 {
			return // rules hold rules: two levels show it
		}
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			fill(v.Index(i), fmt.Sprintf("%s/%d", name, i+1), i)
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for i := range 2 {
			key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			fill(key, fmt.Sprintf("%s/%d", name, i+1), i)
			fill(value, fmt.Sprintf("%s/%d", name, i+1), i)
			v.SetMapIndex(key, value)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			field := v.Type().Field(i)
			if !field.IsExported() {
				panic(fmt.Sprintf("%s: unexported field %s would not be recorded", v.Type(), field.Name))
			}
			tag, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			switch {
			case tag == "" && !field.Anonymous:
				panic(fmt.Sprintf("%s: field %s has no JSON name", v.Type(), field.Name))
			case tag == "":
				tag = name
			case strings.Contains(name, "/"):
				tag = name + "/" + tag
			}
			fill(v.Field(i), tag, n+i)
		}
	default:
		panic(fmt.Sprintf("%s: no sample of a %s", name, v.Type()))
	}
}
