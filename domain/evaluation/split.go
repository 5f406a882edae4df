package evaluation

// split is PERCENTAGE_SPLIT: of all values, those that the hash with the segment's key puts on the first percent of the
// line, both ends included.
type split struct {
	salt    string
	percent float64
}

func compileSplit(salt, value string) predicate {
	percent, ok := castFloat(value)
	if !ok {
		return never
	}
	return &split{salt: salt, percent: percent}
}

func (s *split) holds(v *operand, ev *evaluator) bool { return s.bucket(v, ev) <= s.percent }

func (s *split) bucket(v *operand, ev *evaluator) float64 {
	ev.text = appendPython(ev.text[:0], v.Value)
	return ev.bucket(ev.hashing, s.salt, ev.text)
}
