package evaluation_test

import (
	"encoding/json"
	"math"
	"testing"

	"flagledger/domain/evaluation"
)

func TestValueJSON(t *testing.T) {
	tests := []struct {
		in   string
		want evaluation.Value
		out  string
	}{
		{"null", null, "null"},
		{"true", yes, "true"},
		{" false ", no, "false"},
		{"0", integer(0), "0"},
		{"-0", integer(0), "0"},
		{"9223372036854775807", integer(math.MaxInt64), "9223372036854775807"},
		{"-9223372036854775808", integer(math.MinInt64), "-9223372036854775808"},
		{"1.0", fraction(1), "1.0"},
		{"1e2", fraction(100), "100.0"},
		{"0.1", fraction(0.1), "0.1"},
		{"1E+30", fraction(1e30), "1e+30"},
		{"1e-7", fraction(1e-7), "1e-07"},
		{"-0.0", fraction(math.Copysign(0, -1)), "-0.0"},
		{`""`, text(""), `""`},
		{`"a\u0062<&>\n\"\\"`, text("ab<&>\n\"\\"), `"ab<&>\n\"\\"`},
		{`"😀\u2028"`, text("😀\u2028"), `"😀\u2028"`},
		{`"\ud800"`, text("\ufffd"), `"�"`},
	}
	for _, tt := range tests {
		var v evaluation.Value
		if err := v.UnmarshalJSON([]byte(tt.in)); err != nil || v != tt.want {
			t.Errorf("%s: %#v, %v", tt.in, v, err)
		}
		if out := string(v.AppendJSON(nil)); out != tt.out {
			t.Errorf("%s: written as %s, want %s", tt.in, out, tt.out)
		}
		if again, err := evaluation.ParseValue(v.Any()); err != nil || again != v {
			t.Errorf("%s: ParseValue(%v) = %v, %v", tt.in, v.Any(), again, err)
		}
	}
	for _, in := range []string{"", " ", "nul", "tru", "{}", "[]", `{"a":1}`, "1 2", "01", "+1", ".5", "1.", "NaN", "Infinity", "0x1", "1_0",
		"9223372036854775808", "1e400", `"a`, "'a'"} {
		v := text("before")
		if err := v.UnmarshalJSON([]byte(in)); err == nil {
			t.Errorf("%q is accepted as %v", in, v)
		} else if v != text("before") {
			t.Errorf("%q: the value is changed to %v, though refused", in, v)
		}
	}
	var traits struct{ A, B evaluation.Value }
	if err := json.Unmarshal([]byte(`{"a": 1, "b": null}`), &traits); err != nil || traits.A != integer(1) || !traits.B.IsNull() {
		t.Errorf("in a struct: %+v, %v", traits, err)
	}
}

func TestParseValue(t *testing.T) {
	for _, tt := range []struct {
		in   any
		want evaluation.Value
	}{
		{nil, null}, {true, yes}, {"s", text("s")}, {7, integer(7)}, {int32(7), integer(7)}, {int64(7), integer(7)}, {7.5, fraction(7.5)},
		{json.Number("7"), integer(7)}, {json.Number("7.0"), fraction(7)}, {text("v"), text("v")},
	} {
		if v, err := evaluation.ParseValue(tt.in); err != nil || v != tt.want {
			t.Errorf("%v (%[1]T): %v, %v", tt.in, v, err)
		}
	}
	for _, in := range []any{math.NaN(), math.Inf(1), []any{}, map[string]any{}, json.Number("x"), json.Number("99999999999999999999"), uint8(1)} {
		if v, err := evaluation.ParseValue(in); err == nil {
			t.Errorf("%v (%[1]T) is accepted as %v", in, v)
		}
	}
	if _, err := json.Marshal(fraction(math.NaN())); err == nil {
		t.Error("NaN marshals")
	}
}

func TestValueAccessors(t *testing.T) {
	for _, v := range []evaluation.Value{null, yes, integer(1), fraction(1), text("1")} {
		_, isBool := v.AsBool()
		_, isInt := v.AsInt()
		_, isFloat := v.AsFloat()
		_, isString := v.AsString()
		for kind, is := range map[evaluation.Kind]bool{
			evaluation.KindNull: v.IsNull(), evaluation.KindBool: isBool, evaluation.KindInt: isInt, evaluation.KindFloat: isFloat, evaluation.KindString: isString,
		} {
			if is != (v.Kind() == kind) {
				t.Errorf("%v of kind %d: kind %d %v", v, v.Kind(), kind, is)
			}
		}
	}
	if s := text("a \"b\"").String() + null.String() + fraction(2).String(); s != `a "b"null2.0` {
		t.Errorf("String: %s", s)
	}
}
