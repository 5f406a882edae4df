package commands_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"flagledger/commands"
	"flagledger/domain"
)

// Every command has a name, and is read from all its members.
func TestDecodeCommand(t *testing.T) {
	for input, want := range map[string]commands.Command{
		`{"command":"delete_project"}`:                                           commands.DeleteProject{},
		`{"command":"set_feature_state","weights":{"a":1,"A":2,"Value":3}}`:      commands.SetFeatureState{StateInput: weights(map[string]float64{"a": 1, "A": 2, "Value": 3})}, // of variants
		`{"place":3,"command":"set_segment_override","environment":"prod"}`:      commands.SetSegmentOverride{Environment: "prod", Place: new(3)},
		`{"command":"create_environment","key":"qa","hide_sensitive_data":true}`: commands.CreateEnvironment{Key: "qa", Settings: commands.Settings{HideSensitiveData: new(true)}},
	} {
		got, err := commands.DecodeCommand([]byte(input))
		if err != nil || fmt.Sprintf("%T %s", got, written(t, got)) != fmt.Sprintf("%T %s", want, written(t, want)) {
			t.Errorf("%s is %#v, error %v, want %#v", input, got, err, want)
		}
	}
	_, err := commands.DecodeCommand([]byte(`{"command":"none"}`))
	if !refuses(err, `malformed command: "none" is not a command; there are: `) {
		t.Fatal(refusal(err))
	}
	_, names, _ := strings.Cut(refusal(err), "there are: ")
	for name := range strings.SplitSeq(names, ", ") {
		if c, err := commands.DecodeCommand([]byte(`{"command":"` + name + `"}`)); err != nil || c.Needs().Right == "" {
			t.Errorf("%s: %v, error %v", name, c, err)
		}
	}
}

func written(t *testing.T, x any) string {
	t.Helper()
	body, err := json.Marshal(x)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// Members that are left out, null, and given are three things.
func TestOptional(t *testing.T) {
	for input, want := range map[string]string{
		`{"command":"set_feature_state"}`:                              "false null",
		`{"command":"set_feature_state","value":null}`:                 "true null",
		`{"command":"set_feature_state","value":0}`:                    "true 0",
		`{"command":"set_feature_state","value":"","weights":null}`:    "true ",
		`{"command":"set_feature_state","value":12345678901234567890}`: "malformed value: ",
	} {
		c, err := commands.DecodeCommand([]byte(input))
		if err != nil {
			if !refuses(err, want) {
				t.Errorf("%s: %s, want %s", input, refusal(err), want)
			}
			continue
		}
		v := c.(commands.SetFeatureState).Value
		if got := fmt.Sprintf("%t %s", v.Set, v.Value.String()); got != want {
			t.Errorf("%s: %s, want %s", input, got, want)
		}
	}
}

// Of what cannot be read the refusal names the member and the place.
func TestDecodeRefusals(t *testing.T) {
	for input, want := range map[string]string{
		``:                                     "malformed : the body ends before the JSON value does, at line 1, column 1",
		`{`:                                    "malformed : the body ends before the JSON value does, at line 1, column 2",
		"{\n  \"key\": \"a\",\n}":              "malformed : the body is not valid JSON: invalid character '}' looking for beginning of object key string, at line 3, column",
		`{} {}`:                                "malformed : there is something after the JSON value, at line 1, column",
		`[]`:                                   "malformed : there is an array where an object is wanted, at line 1, column 1",
		`null`:                                 "",
		`{"key":5}`:                            "malformed key: there is a number where a string is wanted, at line 1, column 2",
		"{\"description\":\"x\",\n \"key\":5}": "malformed key: at line 2, column 2",
		`{"kye":"a"}`:                          `malformed kye: there is no member "kye" here, at line 1, column 2`,
		`{"server_key_only":"yes"}`:            "malformed server_key_only: there is a string where true or false is wanted",
		`{"tags":["a", 7]}`:                    "malformed tags[1]: there is a number where a string is wanted, at line 1, column 15",
		`{"tags":{}}`:                          "malformed tags: there is an object where a list is wanted",
		`{"variants":[{"key":"a"},{"key":true}]}`:     "malformed variants[1].key: there is a bool where a string is wanted, at line 1, column 27",
		`{"variants":[{"key":"a", "wieght":1}]}`:      `malformed variants[0].wieght: there is no member "wieght" here, at line 1, column 26`,
		`{"initial_value":{"a":1}}`:                   "malformed initial_value: this cannot be read: value: want a string, number, boolean or null, not an object or array, at line 1, column 2",
		`{"key":"a","variants":[{"value":[]}]}`:       "malformed variants[0].value: at line 1, column 25",
		`{"key":1,"tags":2}`:                          "malformed key: at line 1, column 2",
		strings.Repeat(`{"a":`, 65):                   "malformed : the body is nested deeper than 64, at line 1, column 321",
		strings.Repeat("[", 64):                       "malformed : the body ends before the JSON value does",
		`{"key":"` + strings.Repeat(`[\"`, 65) + `"}`: "", // that is text
		`{"key":"a","Key":"b"}`:                       `malformed Key: there is no member "Key" here; it is written "key", at line 1, column 12`,
		`{"key":"a", "\u006bey":"b"}`:                 `malformed key: the member "key" is given twice, at line 1, column 13`,
		`{"Key":"a"}`:                                 "malformed Key: it is written \"key\"", // the sign of Kelvin folds to k
		`{"variants":[{"key":"a","WEIGHT":1}]}`:       `malformed variants[0].WEIGHT: it is written "weight", at line 1, column 25`,
		`{"variants":[{"key":"a","key":"a"}]}`:        `malformed variants[0].key: given twice`,
		`{"initial_value":1,"initial_value":1}`:       `malformed initial_value: given twice, at line 1, column 20`,
	} {
		var c commands.CreateFeature
		err := commands.Decode([]byte(input), &c)
		if (err == nil) != (want == "") || err != nil && !refuses(err, want) {
			t.Errorf("%s\n got %s\nwant %s", input, refusal(err), want)
		}
	}
	for input, want := range map[string]string{
		`7`:             "malformed : there is a number where an object is wanted, at line 1, column 1",
		`{"command":7}`: "malformed command: there is a number where a string is wanted, at line 1, column 2",
		`{}`:            `malformed command: "" is not a command`,
		`{"environment":"e","enabled":1,"command":"set_feature_state"}`:                                               "malformed enabled: there is a number where true or false is wanted, at line 1, column 20",
		`{"command":"set_feature_state","value":[1]}`:                                                                 "malformed value: not an object or array, at line 1, column 32",
		`{"command":"set_feature_state","weights":{"a":1,"b":"x"}}`:                                                   "malformed weights.b: there is a string where a number is wanted, at line 1, column 49",
		`{"command":"set_feature_state","wieghts":{}}`:                                                                `malformed wieghts: there is no member "wieghts" here, at line 1, column 32`,
		`{"command":"update_environment","hide_disabled_flags":7}`:                                                    "malformed hide_disabled_flags: there is a number where true or false is wanted",
		`{"command":"update_sdk_key","expires_at":"tomorrow"}`:                                                        "malformed expires_at: at line 1, column 29",
		`{"command":"rollback","environment":"prod","version":1}`:                                                     "invalid command: a list of commands cannot rollback; ask POST /admin/v1/projects/{project}/environments/{environment}/rollback, first with",
		`{"command":"undo","position":1}`:                                                                             "invalid command: a list of commands cannot undo; ask POST /admin/v1/projects/{project}/undo, first with",
		`{"command":"set_segment_override","place":1.5}`:                                                              "malformed place: there is a number 1.5 where an integer is wanted",
		`{"command":"create_segment","rules":{"type":"ALL"}}`:                                                         "malformed rules: there is an object where a list is wanted",
		`{"command":"create_segment","rules":[{"type":"ALL"},{"type":"ANY","rules":[{"conditions":[{"value":1}]}]}]}`: "malformed rules[1].rules[0].conditions[0].value: there is a number where a string is wanted, at line 1, column 92",
		`{"command":"create_segment","rules":[{"type":"ALL","conditions":[{"propertie":"p"}]}]}`:                      `malformed rules[0].conditions[0].propertie: there is no member "propertie" here`,
		`{"command":"set_feature_state","command":"delete_project"}`:                                                  `malformed command: given twice, at line 1, column 32`,
		`{"COMMAND":"delete_project"}`:                                                                                `malformed COMMAND: there is no member "COMMAND" here`,
		`{"command":"set_feature_state","Weights":{}}`:                                                                `malformed Weights: it is written "weights", at line 1, column 32`,
		`{"command":"set_feature_state","weights":{"a":1,"a":2}}`:                                                     `malformed weights.a: given twice`,
		`{"command":"create_segment","rules":[{"type":"ALL","conditions":[{"property":"p","Value":"v"}]}]}`:           `malformed rules[0].conditions[0].Value: it is written "value"`,
		`{"command":"create_segment","rules":[{"field":"a","Operator":"eq","values":[1]}]}`:                           `malformed rules[0].Operator: it is written "operator"`,
		`{"command":"create_segment","rules":[{"type":"ALL","type":"ANY"}]}`:                                          `malformed rules[0].type: given twice`,
		`{"command":"create_segment","rules":[{"field":"a","operator":"eq","values":[{}]}]}`:                          "malformed rules[0]: want a string, number, boolean or null",
	} {
		if c, err := commands.DecodeCommand([]byte(input)); !refuses(err, want) {
			t.Errorf("%s\n got %s %v\nwant %s", input, refusal(err), c, want)
		}
	}
}

// Of several commands the refusal says which, in each of its findings.
func TestInCommand(t *testing.T) {
	d := newDecider(t, domain.DefaultLimits())
	d.must(shop()...)
	_, err := d.decide(commands.CreateSegment{Key: "new", Rules: when("a", "REGEX", "[")})
	own, _ := errors.AsType[*domain.Error](err)
	named, _ := errors.AsType[*domain.Error](commands.InCommand(err, 3))
	const field = "rules[0].conditions[0]"
	if named.Field != "commands[3]."+field || named.Errors[0].Field != "commands[3]."+field || named.Detail != own.Detail {
		t.Errorf("got %+v", named)
	}
	if own.Field != field || own.Errors[0].Field != field {
		t.Errorf("the refusal itself has changed: %+v", own)
	}
	if got, want := refusal(commands.InCommand(domain.Refuse(domain.Conflict, "in use"), 0)), "conflict commands[0]: in use"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if other := errors.New("broken"); !errors.Is(commands.InCommand(other, 0), other) {
		t.Error("an error that is no refusal became one")
	}
}

// Whatever is sent is a command or a malformed one (or rules that are refused
// when they are read), and the place told lies in it.
func FuzzDecodeCommand(f *testing.F) {
	for _, seed := range []string{
		`{"command":"create_feature","key":"a","variants":[{"key":"x","value":null,"weight":1e2}],"tags":["t"]}`,
		`{"command":"create_segment","rules":[{"type":"ALL","conditions":[{"property":"p","operator":"IN","value":"a"}]},{"field":"p","operator":"eq","values":[1]}]}`,
		`{"command":"update_sdk_key","expires_at":"2030-01-01T00:00:00Z","active":null}`, ` [ {} , 1 ] `, `{"command":"set_feature_state","weights":{"":"\u0000"}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := commands.DecodeCommand(data)
		if err == nil {
			written(t, c)
			return
		}
		e, ok := errors.AsType[*domain.Error](err)
		if !ok || e.Kind != domain.Malformed && e.Kind != domain.Invalid || e.Detail == "" {
			t.Errorf("%q: error %#v", data, err)
		}
	})
}
