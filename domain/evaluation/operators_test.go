package evaluation_test

import (
	"fmt"
	"strings"
	"testing"

	"flagledger/domain/evaluation"
)

// Short names for the tables.
var (
	null = evaluation.Null()
	yes  = evaluation.Bool(true)
	no   = evaluation.Bool(false)
)

func text(s string) evaluation.Value      { return evaluation.String(s) }
func integer(i int64) evaluation.Value    { return evaluation.Int(i) }
func fraction(f float64) evaluation.Value { return evaluation.Float(f) }

// member reports whether an identity with one trait, x, is in the segment of the conditions, and that Explain agrees.
func member(t *testing.T, x evaluation.Value, conditions ...evaluation.Condition) bool {
	t.Helper()
	return memberOf(t, &evaluation.Identity{Identifier: "ada", Traits: []evaluation.Trait{{Key: "x", Value: x}}},
		evaluation.Rule{Type: evaluation.All, Conditions: conditions})
}

func memberOf(t *testing.T, id *evaluation.Identity, rules ...evaluation.Rule) bool {
	t.Helper()
	s, err := evaluation.CompileSegment(evaluation.Segment{Key: "1", Name: "s", Rules: rules})
	if err != nil {
		t.Fatal(err)
	}
	env := evaluation.NewEnvironment("env", "Production", nil, []*evaluation.CompiledSegment{s})
	in := len(env.Segments(id)) == 1
	if explained := env.ExplainSegment(s, id); explained.Matched != in {
		t.Errorf("member: %v, explained: %+v", in, explained)
	}
	return in
}

// Every operator with every type of trait, as Python evaluates them.
func TestOperators(t *testing.T) {
	const eq, ne = evaluation.Equal, evaluation.NotEqual
	const gt, ge = evaluation.GreaterThan, evaluation.GreaterThanInclusive
	const lt, le = evaluation.LessThan, evaluation.LessThanInclusive
	type values = []evaluation.Value
	tests := []struct {
		operator evaluation.Operator
		value    string
		in, out  values
	}{
		// A text is compared with the text.
		{eq, "US", values{text("US"), yes}, values{text("us"), text(""), integer(1), fraction(1), no, null}},
		{ne, "US", values{text("us"), text("")}, values{text("US"), integer(1), fraction(1), null}},
		{eq, "", values{text("")}, values{text(" "), integer(0), fraction(0), null}},
		{gt, "m", values{text("n"), text("ma"), text("é")}, values{text("m"), text("Z"), integer(9), fraction(9), null}},
		{ge, "m", values{text("m"), text("z")}, values{text("l"), null}},
		{lt, "m", values{text("l"), text("M"), text("")}, values{text("m"), integer(1), fraction(1), null}},
		{le, "m", values{text("m"), text("a")}, values{text("n"), null}},

		// An integer is compared with int(value): no fraction, no exponent.
		{eq, "7", values{integer(7), text("7"), text("007"), fraction(7), text("7.0")}, values{integer(8), text("7x"), text(" 7"), text("+7"), null}},
		{eq, "007", values{integer(7), text("007")}, values{integer(70)}},
		{eq, " +7 ", values{integer(7), fraction(7)}, values{text("+7")}},
		{eq, "1_000", values{integer(1000), fraction(1000), text("1_000")}, values{integer(1)}},
		{eq, "1__0", values{text("1__0")}, values{integer(10), fraction(10)}},
		{eq, "_1", values{text("_1")}, values{integer(1)}},
		{eq, "1_", values{text("1_")}, values{integer(1)}},
		{eq, "٣", values{integer(3), fraction(3), text("٣")}, values{text("x")}},
		{eq, "7.0", values{fraction(7), text("7.0"), text("7.00")}, values{integer(7), text("7")}},
		{eq, "0x7", values{text("0x7")}, values{integer(7), fraction(7)}},
		{eq, "-0", values{integer(0), text("0"), text("-0"), fraction(0)}, values{integer(1)}},
		{ne, "7", values{integer(8), fraction(7.5), text("x")}, values{integer(7), text("7"), text("07"), null}},
		{ne, "abc", values{text("abd")}, values{integer(5), fraction(5), text("5")}},
		{ne, "1.5", values{fraction(2), text("2.5")}, values{integer(1), text("1"), fraction(1.5)}},
		{gt, "9", values{integer(10), text("10"), fraction(9.5), text("9.5")}, values{integer(9), text("9"), integer(-10), null}},
		{gt, "4.5", values{fraction(4.6), text("4.75")}, values{integer(5), text("5"), fraction(4.5)}},
		{ge, "9", values{integer(9), text("009"), fraction(9)}, values{integer(8)}},
		{lt, "9", values{integer(8), fraction(8.9), text("-9")}, values{integer(9), text("10")}},
		{le, "9", values{integer(9), fraction(9)}, values{integer(10), fraction(9.1)}},
		{gt, "ten", values{text("tenx")}, values{integer(11), fraction(11)}},

		// Integers have no limit.
		{eq, "12345678901234567890123", values{text("12345678901234567890123"), text("012345678901234567890123")}, values{text("12345678901234567890124"), integer(1)}},
		{eq, "9223372036854775808", values{text("9223372036854775808")}, values{integer(-9223372036854775808), text("-9223372036854775808")}},
		{gt, "12345678901234567890123", values{text("22345678901234567890123"), text("112345678901234567890123")}, values{integer(9), text("-99999999999999999999999999"), text("12345678901234567890123")}},
		{lt, "-12345678901234567890123", values{text("-22345678901234567890123"), text("-112345678901234567890123")}, values{integer(-9), text("99999999999999999999999999")}},
		{gt, "5", values{text("12345678901234567890123")}, values{text("-12345678901234567890123")}},
		{eq, "1e23", values{fraction(1e23)}, values{text("100000000000000000000000")}},

		// A fraction is compared with float(value).
		{eq, "1.5", values{fraction(1.5), text("1.5"), text("1.50"), text("01.5")}, values{integer(1), text("1.5 ")}},
		{eq, "15e-1", values{fraction(1.5)}, values{text("15e-2")}},
		{eq, "inf", values{text(strings.Repeat("9", 400) + ".0"), text("inf")}, values{fraction(1e300)}},
		{eq, "nan", values{text("nan")}, values{fraction(1)}},
		{ne, "nan", values{fraction(1), text("x")}, values{integer(1), text("nan")}},
		{gt, "nan", values{text("nao")}, values{fraction(1)}},

		// A boolean is compared with whether the value is neither "False" nor "false".
		{eq, "true", values{yes, text("true")}, values{no, text("t"), text("True"), integer(1)}},
		{eq, "false", values{no, text("false")}, values{yes, integer(0)}},
		{eq, "False", values{no}, values{yes}},
		{eq, "FALSE", values{yes}, values{no}},
		{eq, "1", values{yes, integer(1), text("1"), fraction(1)}, values{no}},
		{eq, "0", values{yes, integer(0), text("0")}, values{no}},
		{ne, "true", values{no, text("false")}, values{yes, integer(0)}},
		{gt, "false", values{yes}, values{no}},
		{ge, "true", values{yes}, values{no}},
		{lt, "true", values{no}, values{yes}},
		{le, "false", values{no}, values{yes}},

		// Versions.
		{eq, "1.2.3:semver", values{text("1.2.3"), text("1.2.3+build.7")}, values{text("1.2.4"), text("v1.2.3"), text("1.2"), text("1.2.3.4"), text("01.2.3"), text("1.2.3 "), text(""), integer(1), fraction(1.2), text("1.2"), null}},
		{ne, "1.2.3:semver", values{text("1.2.4"), text("1.2.3-rc.1")}, values{text("1.2.3"), text("v1.2.4"), text("x"), integer(1), null}},
		{gt, "1.2.3:semver", values{text("1.2.10"), text("1.10.0"), text("10.0.0"), text("1.2.4-rc.1")}, values{text("1.2.3"), text("1.2.3-rc.1"), text("1.2.4-"), text("1.2.4+")}},
		{ge, "1.2.3:semver", values{text("1.2.3"), text("1.2.3+x")}, values{text("1.2.3-rc.1"), text("1.2.2")}},
		{lt, "1.2.3-rc.2:semver", values{text("1.2.3-rc.1"), text("1.2.3-rc"), text("1.2.3-beta.11"), text("1.2.2"), text("1.2.3-rc.1.9")}, values{text("1.2.3-rc.2"), text("1.2.3-rc.10"), text("1.2.3"), text("1.2.3-rc.x"), text("1.2.3-rc.2.0"), text("1.2.3-rc.01")}},
		{le, "1.2.3:semver", values{text("1.2.3"), text("1.2.3-0")}, values{text("1.2.4"), text("1.2.3-00")}},
		{gt, "1.2:semver", nil, values{text("1.3.0"), text("1.3"), integer(2)}},
		{gt, "18446744073709551616.0.0:semver", values{text("18446744073709551617.0.0"), text("100000000000000000000.0.0")}, values{text("18446744073709551616.0.0"), text("9.0.0")}},
		{eq, "1.2.3:semver", values{yes}, values{no}}, // a boolean is compared with the whole text
		{eq, "x:semver", values{yes}, values{no, text("x"), text("x:semver")}},

		{evaluation.Contains, "ork", values{text("New York"), text("ork")}, values{text("Oslo"), integer(1), yes, null}},
		{evaluation.Contains, "2", values{text("a2")}, values{text("123"), integer(123), text("1.2"), fraction(1.2), text("12345678901234567890123")}},
		{evaluation.Contains, "", values{text(""), text("a")}, values{text("1"), null}},
		{evaluation.NotContains, "ork", values{text("Oslo"), text("")}, values{text("New York"), integer(1), fraction(1), yes, null}},
		{evaluation.NotContains, "9", values{text("a")}, values{text("123"), text("1.0"), integer(1)}},

		// re.match: at the beginning, not to the end; of what str() prints.
		{evaluation.Regex, "b", values{text("b"), text("bc")}, values{text("abc"), null}},
		{evaluation.Regex, "a|b", values{text("ax"), text("bx")}, values{text("xa"), text("xb")}},
		{evaluation.Regex, "^b$", values{text("b"), text("b\n")}, values{text("bc"), text("b\n\n"), text("a\nb")}},
		{evaluation.Regex, `b\Z`, values{text("b")}, values{text("b\n")}},
		{evaluation.Regex, "", values{text(""), text("x"), integer(1), yes}, values{null}},
		{evaluation.Regex, "^a.b", values{text("a b"), text("a\rb")}, values{text("a\nb")}},
		{evaluation.Regex, `\d+$`, values{integer(123), text("123"), text("٣")}, values{fraction(1.5), text("x"), integer(-1)}},
		{evaluation.Regex, "7$", values{text("007"), integer(7)}, values{text("07x"), fraction(7)}},
		{evaluation.Regex, `1\.5$`, values{fraction(1.5), text("1.50")}, values{text("1.55")}},
		{evaluation.Regex, `1\.0$`, values{fraction(1), text("1.0")}, values{integer(1)}},
		{evaluation.Regex, `1e\+16$`, values{fraction(1e16)}, values{fraction(1e15)}},
		{evaluation.Regex, `1e-05$`, values{fraction(0.00001)}, values{fraction(0.0001)}},
		{evaluation.Regex, "True$", values{yes}, values{no, text("true")}},
		{evaluation.Regex, "False$", values{no}, values{yes}},
		{evaluation.Regex, "inf$", values{text(strings.Repeat("9", 400) + ".0")}, values{text("infinite")}},
		{evaluation.Regex, `^\w+@`, values{text("ada@x"), text("émile@x"), text("日本_1@x")}, values{text("a-b@x")}},
		{evaluation.Regex, `^[\w-]+$`, values{text("émile-1")}, values{text("a b")}},
		{evaluation.Regex, `^\W\D\S$`, values{text("-ab")}, values{text("éab"), text("-٣b"), text("-a\u00a0")}},
		{evaluation.Regex, `^a\sb[\s]c`, values{text("a\u00a0b\u2003c"), text("a b\x1cc")}, values{text("a\u200bb c")}},
		{evaluation.Regex, `^[]$\d]+$`, values{text("]$5")}, values{text("]a")}},
		{evaluation.Regex, "^a{,2}b", values{text("b"), text("aab")}, values{text("aaab"), text("a{,2}b")}},
		{evaluation.Regex, "^(é|😀){2}", values{text("😀é")}, values{text("😀")}},

		{evaluation.Modulo, "4|3", values{integer(3), integer(-1), text("7"), fraction(35), text("7.0")}, values{integer(4), integer(1), text("x"), text("7x"), null}},
		{evaluation.Modulo, "4|0", values{integer(0), integer(-4), fraction(-8), no}, values{yes, integer(2)}},
		{evaluation.Modulo, "-4|-1", values{integer(3), integer(-1)}, values{integer(1)}},
		{evaluation.Modulo, "2|1", values{yes, integer(-1), fraction(-3)}, values{no, fraction(1.5)}},
		{evaluation.Modulo, "1.5|0.5", values{integer(2), fraction(0.5)}, values{integer(3)}},
		{evaluation.Modulo, " 4 | 3 ", values{integer(3)}, values{integer(4)}},
		{evaluation.Modulo, "10|0", values{text("12345678901234567890000")}, values{text("1" + strings.Repeat("0", 400))}},
		{evaluation.Modulo, "0|0", nil, values{integer(0), integer(1), fraction(0)}},
		{evaluation.Modulo, "4", nil, values{integer(0), integer(4)}},
		{evaluation.Modulo, "4|x", nil, values{integer(0)}},
		{evaluation.Modulo, "x|0", nil, values{integer(0)}},
		{evaluation.Modulo, "4|0|0", nil, values{integer(0)}},
		{evaluation.Modulo, "", nil, values{integer(0)}},

		{evaluation.In, "a,b", values{text("a"), text("b")}, values{text("c"), text("a,b"), text(""), integer(1), null}},
		{evaluation.In, "a, b", values{text("a"), text(" b")}, values{text("b")}},
		{evaluation.In, "", values{text("")}, values{text(" "), null}},
		{evaluation.In, "7,007", values{integer(7), text("7"), text("007")}, values{fraction(7), text("7.0")}},
		{evaluation.In, "007,008", nil, values{text("007"), integer(7)}},
		{evaluation.In, "0,1", values{integer(0), integer(1)}, values{no, yes, fraction(0)}},
		{evaluation.In, "true,True,1.5,nan", values{text("true"), text("nan")}, values{yes, no, fraction(1.5), text("1.5")}},
		{evaluation.In, "12345678901234567890", values{text("12345678901234567890"), text("012345678901234567890")}, values{integer(1)}},
		{evaluation.In, `["a","b,c"," d"]`, values{text("a"), text("b,c"), text(" d")}, values{text("b"), text("d"), text(`["a"`)}},
		{evaluation.In, `[1,2.50,true,null,1e3,["x"],{"y":1}]`, values{integer(1), text("1"), text("True"), text("None")}, values{fraction(2.5), fraction(1000), yes, text("true"), text("x"), text("null"), null}},
		{evaluation.In, `[]`, nil, values{text(""), text("[]")}},
		{evaluation.In, `[a,b]`, values{text("[a"), text("b]")}, values{text("a")}},
		{evaluation.In, `["a"] x`, values{text(`["a"] x`)}, values{text("a")}},

		{evaluation.IsSet, "", values{text(""), text("x"), integer(0), fraction(0), no}, values{null}},
		{evaluation.IsNotSet, "", values{null}, values{text(""), integer(0), no}},
		{evaluation.IsSet, "anything", values{text("x")}, values{null}},

		{evaluation.PercentageSplit, "100", values{text("x"), text(""), integer(0), fraction(1), no}, values{null}},
		{evaluation.PercentageSplit, "-1", nil, values{text("x"), null}},
		{evaluation.PercentageSplit, "x", nil, values{text("x")}},
		{evaluation.PercentageSplit, "nan", nil, values{text("x")}},
	}
	for _, tt := range tests {
		c := evaluation.Condition{Property: "x", Operator: tt.operator, Value: tt.value}
		for _, want := range []bool{true, false} {
			for _, x := range map[bool]values{true: tt.in, false: tt.out}[want] {
				t.Run(fmt.Sprintf("%v_%s_%s_%v", x, tt.operator, tt.value, x.Kind()), func(t *testing.T) {
					if got := member(t, x, c); got != want {
						t.Errorf("%q (kind %d) %s %q: %v", x, x.Kind(), tt.operator, tt.value, got)
					}
				})
			}
		}
	}
}

// A trait that is missing is like null; an identity is needed for everything else.
func TestMissing(t *testing.T) {
	for _, op := range []evaluation.Operator{
		evaluation.Equal, evaluation.NotEqual, evaluation.GreaterThan, evaluation.GreaterThanInclusive, evaluation.LessThan,
		evaluation.LessThanInclusive, evaluation.Contains, evaluation.NotContains, evaluation.Regex, evaluation.Modulo,
		evaluation.PercentageSplit, evaluation.In, evaluation.IsSet, evaluation.IsNotSet,
	} {
		rule := evaluation.Rule{Type: evaluation.All, Conditions: []evaluation.Condition{{Property: "missing", Operator: op, Value: "1"}}}
		if got, want := memberOf(t, &evaluation.Identity{Identifier: "ada"}, rule), op == evaluation.IsNotSet; got != want {
			t.Errorf("%s of a missing trait: %v", op, got)
		}
	}
}

func TestLargeList(t *testing.T) {
	var list strings.Builder
	for i := range 100_000 {
		fmt.Fprintf(&list, "user-%d,%d,", i, i)
	}
	c := evaluation.Condition{Property: "x", Operator: evaluation.In, Value: list.String() + "end"}
	for x, want := range map[evaluation.Value]bool{
		text("user-0"): true, text("user-99999"): true, integer(99_999): true, text("end"): true,
		text("user-100000"): false, integer(-1): false, integer(100_000): false,
	} {
		if got := member(t, x, c); got != want {
			t.Errorf("%v in 100,000: %v", x, got)
		}
	}
}

// What cannot be compiled is an error, not a condition that is silently false.
func TestCompileErrors(t *testing.T) {
	for want, rule := range map[string]evaluation.Rule{
		"unknown rule type":                       {Type: "SOME"},
		"unknown operator":                        {Type: evaluation.Any, Conditions: []evaluation.Condition{{Property: "x", Operator: "LIKE"}}},
		"missing argument to repetition operator": {Type: evaluation.Any, Rules: []evaluation.Rule{{Type: evaluation.All, Conditions: []evaluation.Condition{{Property: "x", Operator: evaluation.Regex, Value: "*"}}}}},
		"invalid or unsupported Perl syntax":      {Type: evaluation.Any, Conditions: []evaluation.Condition{{Property: "x", Operator: evaluation.Regex, Value: "(?=x)"}}},
	} {
		_, err := evaluation.CompileSegment(evaluation.Segment{Key: "1", Name: "s", Rules: []evaluation.Rule{rule}})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}
