package evaluation

import "strings"

// modulo is MODULO, written "divisor|remainder": the remainder has the sign of the divisor, -1 modulo 4 is 3.
type modulo struct{ divisor, remainder float64 }

func compileModulo(value string) predicate {
	m, ok := parseModulo(value)
	if !ok {
		return never
	}
	return &m
}

func parseModulo(value string) (m modulo, ok bool) {
	divisor, remainder, ok1 := strings.Cut(value, "|")
	m.divisor, ok = castFloat(divisor)
	if !ok1 || !ok {
		return m, false
	}
	m.remainder, ok = castFloat(remainder)
	return m, ok
}

func (m *modulo) holds(v *operand, _ *evaluator) bool {
	f, ok := toFloat(v.Value)
	return ok && pythonMod(f, m.divisor) == m.remainder
}
