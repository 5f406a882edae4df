package evaluation

import (
	"regexp"
	"strings"
	"testing"
)

// What an expression makes of spellings of numbers, against trying out all of up to six characters, and numbers as they are printed with exponents.
func TestReadNumbers(t *testing.T) {
	var spellings []string
	var spell func(s string)
	spell = func(s string) {
		if v := coerce(String(s)); v.kind != KindString && strings.Trim(s, "-0.") != "" {
			spellings = append(spellings, s)
		}
		if len(s) < 6 {
			for _, c := range "-.0157" { // digits enough for the expressions below
				spell(s + string(c))
			}
		}
	}
	spell("")
	for pattern, want := range map[string]numberReading{
		"^0":                 {matches: true, spelling: true},
		"^0*7$":              {matches: true},
		"^-0*7$":             {matches: true},
		`^0*7\.50*$`:         {matches: true},
		`^0*7\.5$`:           {matches: true, spelling: true},
		"^7$":                {matches: true, spelling: true},
		"^[0-9]+$":           {matches: true},
		"^[0-9]{2}":          {matches: true, spelling: true},
		"^-?[0-9]":           {matches: true},
		`^[^\n]*5`:           {matches: true},
		`^[^\n]*0`:           {matches: true, spelling: true},
		"^":                  {matches: true},
		"^$":                 {},
		"^[a-z]":             {},
		"^[^-0-9]":           {},
		"^[^0-9]":            {matches: true},
		"^[0-9]+[^.0-9eE]":   {},
		"^[0-9]+[^.0-9]":     {matches: true}, // 1e21
		"^[0-9]+-":           {},
		`^[0-9]\.[0-9]+E-`:   {matches: true},
		"^[0-9]+[.]":         {matches: true},
		"^5(?:[.]|a)":        {matches: true, spelling: true},
		notNumber:            {},
		"^(?:-|[.]5)":        {matches: true},
		`^[0-9]+\.[0-9]{2}$`: {matches: true, spelling: true},
	} {
		re := regexp.MustCompile(`\A(?:` + translateRegex(pattern) + `)`)
		var found numberReading
		for _, s := range spellings {
			printed := string(appendPython(nil, coerce(String(s))))
			found.matches = found.matches || re.MatchString(s)
			found.spelling = found.spelling || re.MatchString(s) != re.MatchString(printed)
		}
		for _, s := range []string{"1e21", "1e+21", "1E21", "1.5e+21", "-1.05e+300", "1e-7", "5e-07", "1.7E-7", "1e+100"} {
			found.matches = found.matches || re.MatchString(s)
		}
		if got := readNumbers(pattern); got != want || found != want {
			t.Errorf("%s: %+v, tried out %+v, want %+v", pattern, got, found, want)
		}
	}
	// What would take too long, or is no expression, is taken for the worst.
	for _, pattern := range []string{"^(", "^[0-9]*1[0-9]{40}$"} {
		if got := readNumbers(pattern); got != (numberReading{true, true}) {
			t.Errorf("%s: %+v", pattern, got)
		}
	}
}

// The expression that is offered keeps out numbers, and lets in what it is offered for.
func TestTextGuard(t *testing.T) {
	for text, want := range map[string]string{"m": "^[^-0-9]", "": notNumber, "-x": notNumber, "2024-01-31": "^[0-9]+[^.0-9eE]", "4x": "^[0-9]+[^.0-9eE]", "4e8b": notNumber, "1e5.": notNumber, "1e+x": notNumber, "1.2.3": notNumber, "é": "^[^-0-9]"} {
		if guard := textGuard(text); guard != want || readNumbers(guard).matches {
			t.Errorf("%q: %s", text, guard)
		}
		if text != "" && !regexp.MustCompile(textGuard(text)).MatchString(text) {
			t.Errorf("%q is left out", text)
		}
	}
}
