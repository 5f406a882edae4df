package identities

import (
	"bytes"
	"encoding/hex"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"flagledger/domain/evaluation"
)

// What is stored stays readable: these bytes must never change their meaning.
func TestFormat(t *testing.T) {
	traits := []Trait{
		{Key: "", Value: evaluation.Bool(true)},
		{Key: "big", Value: evaluation.Int(math.MinInt64)},
		{Key: "float", Value: evaluation.Float(1.5)},
		{Key: "int", Value: evaluation.Int(-3)},
		{Key: "no", Value: evaluation.Bool(false)},
		{Key: "text", Value: evaluation.String("ü")},
	}
	const want = "80a08e97c831" + "e807" + "06" +
		"00" + "74" +
		"03626967" + "69ffffffffffffffffff01" +
		"05666c6f6174" + "64000000000000f83f" +
		"03696e74" + "6905" +
		"026e6f" + "66" +
		"0474657874" + "7302c3bc"
	c := contents{1_703_003_000_832, 1_703_003_001_832, traits}
	r := c.encode()
	if got := hex.EncodeToString([]byte(r)); got != want {
		t.Errorf("encoded as\n%s, want\n%s", got, want)
	}
	if got, err := r.decode(); err != nil || !reflect.DeepEqual(got, c) || r.check() != nil {
		t.Errorf("decoded %v, %v, %v", got, err, r.check())
	}

	p := &pepper{secret: [secretSize]byte{1, 2, 3}}
	if got := p.bucket("ada"); got != 0xcec {
		t.Errorf("the bucket is %x", got)
	}

	first := contents{1_703_003_000_832, 1_703_003_001_832, []Trait{{Key: "a", Value: evaluation.Int(1)}}}.encode()
	ada, err := openPerson(p, unhex(t, "017d4448409dc041d1b2455ffdce74fad2"+
		"0405000000000000000000000000000000000000000000000000000000000000"+
		"f46a5670e6a328b106d1c610529aeeb76358dd18c3f3a298619ccae1f38c198d4d1c331e6819c1acc6c189a192"), "subject of ada")
	if err != nil {
		t.Fatal(err)
	}
	if want := (person{
		identifier: "ada", surrogate: uuid.MustParse("7d444840-9dc0-41d1-b245-5ffdce74fad2"),
		key:    key(unhex(t, "fe5f5e00d072efb70198f95732e5ce2f0bf6ba40198964b4ffebd4421265e324")),
		record: first,
	}); *ada != want {
		t.Errorf("opened %+v, want %+v", *ada, want)
	}
	r, err = openTraits(ada.key, unhex(t, "018e39f0d802283a5944961ee6882bb5828ec97b3d38217773d96358443fddfd12474d3ef4fb2ed1767d"), "subject of traits")
	if r != first || err != nil {
		t.Errorf("opened %q, %v", r, err)
	}
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestSeal(t *testing.T) {
	p := &pepper{secret: [secretSize]byte{1}}
	who := person{identifier: "ada", surrogate: uuid.New()}
	s := seed{2}
	who.key = p.key(s)
	traits := contents{5, 6, []Trait{{Key: "a", Value: evaluation.Int(1)}}}.encode()
	for _, r := range []record{contents{5, 6, nil}.encode(), traits} {
		payload, err := sealPerson(s, who, r, "subject")
		if err != nil {
			t.Fatal(err)
		}
		want := who
		want.record = r
		if got, err := openPerson(p, payload, "subject"); err != nil || *got != want {
			t.Errorf("opened %+v, %v; want %+v", got, err, want)
		}
		if bytes.Contains(payload, []byte("ada")) || bytes.Contains(payload, who.key[:]) {
			t.Error("the payload tells the identifier or the key")
		}
		for i := range payload {
			broken := slices.Clone(payload)
			broken[i] ^= 1
			got, err := openPerson(p, broken, "subject")
			if inSurrogate := 1 <= i && i < seedAt; !inSurrogate && err == nil {
				t.Errorf("opened with byte %d flipped: %+v", i, got)
			}
			if _, err := openPerson(p, payload[:i], "subject"); err == nil {
				t.Errorf("opened though cut off at %d", i)
			}
		}
		if _, err := openPerson(p, payload, "other"); err == nil {
			t.Error("opened under another subject")
		}
		if _, err := openPerson(&pepper{secret: [secretSize]byte{2}}, payload, "subject"); err == nil {
			t.Error("opened with another pepper")
		}
	}

	payload, err := sealTraits(who.key, traits, "subject")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := openTraits(who.key, payload, "subject"); got != traits || err != nil {
		t.Errorf("opened %q, %v", got, err)
	}
	for name, open := range map[string]func() (record, error){
		"another key":     func() (record, error) { return openTraits(key{}, payload, "subject") },
		"another subject": func() (record, error) { return openTraits(who.key, payload, "other") },
		"nothing":         func() (record, error) { return openTraits(who.key, nil, "subject") },
		"another version": func() (record, error) {
			return openTraits(who.key, append([]byte{9}, payload[1:]...), "subject")
		},
	} {
		if r, err := open(); err == nil {
			t.Errorf("%s: opened %q", name, r)
		}
	}
	again, err := sealTraits(who.key, traits, "subject")
	if err != nil || bytes.Equal(again, payload) {
		t.Error("the same is sealed the same twice")
	}
}

// anyValue is any value but null.
func anyValue() *rapid.Generator[evaluation.Value] {
	return rapid.OneOf(
		rapid.Map(rapid.Bool(), evaluation.Bool),
		rapid.Map(rapid.Int64(), evaluation.Int),
		rapid.Map(rapid.Float64(), evaluation.Float),
		rapid.Map(rapid.String(), evaluation.String),
	)
}

func anyChanges() *rapid.Generator[[]Trait] {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Trait {
		value := rapid.OneOf(rapid.Just(evaluation.Null()), anyValue())
		return Trait{Key: rapid.SampledFrom([]string{"", "a", "b", "c", "dd", "ddd"}).Draw(t, "key"), Value: value.Draw(t, "value")}
	}), 0, 12)
}

// The traits after some changes are what a map would hold.
func TestMergeIsAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		model := map[string]evaluation.Value{}
		r := contents{1, 1, nil}.encode()
		for range rapid.IntRange(0, 4).Draw(t, "rounds") {
			changes := anyChanges().Draw(t, "changes")
			before := r
			var different bool
			r, different = r.change(changes, 1)
			if err := r.check(); err != nil {
				t.Fatal(err)
			}
			for _, c := range changes {
				model[c.Key] = c.Value
				if c.Value.IsNull() {
					delete(model, c.Key)
				}
			}
			decoded, err := r.decode()
			if err != nil {
				t.Fatal(err)
			}
			got := decoded.traits
			if len(got) != len(model) {
				t.Fatalf("%v, want %v", got, model)
			}
			for _, trait := range got {
				if model[trait.Key] != trait.Value {
					t.Fatalf("%v, want %v", got, model)
				}
			}
			if !different && r != before {
				t.Fatal("no difference, but another record")
			}
		}
	})
}

// Laying changes over each other and then over the traits is the same as making
// one after the other.
func TestOverlay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		base, _ := contents{1, 1, nil}.encode().change(anyChanges().Draw(t, "base"), 1)
		first, second := anyChanges().Draw(t, "first"), anyChanges().Draw(t, "second")
		one, _ := base.change(first, 1)
		one, _ = one.change(second, 1)
		both, _ := base.change(overlay(overlay(nil, first), second), 1)
		a, _ := one.decode()
		b, _ := both.decode()
		if !slices.Equal(a.traits, b.traits) {
			t.Fatalf("%v, want %v", b, a)
		}
	})
}

func FuzzRecord(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte(contents{5, 6, []Trait{{Key: "a", Value: evaluation.Int(1)}, {Key: "b", Value: evaluation.String("x")}}}.encode()))
	f.Add([]byte(strings.Repeat("\xff", 30)))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := record(data)
		if r.check() != nil {
			return
		}
		c, err := r.decode()
		if err != nil {
			t.Fatal(err)
		}
		again, err := c.encode().decode()
		if c.updated >= c.created && (err != nil || again.created != c.created || again.updated != c.updated || !slices.Equal(again.traits, c.traits)) {
			t.Fatalf("%+v, then %+v, %v", c, again, err)
		}
	})
}
