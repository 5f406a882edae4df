package evaluation

import (
	"encoding/binary"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
)

// A text that is wholly a number is that number on the server, however it is spelled: 007 is 7, and 1.50 is 1.5. SDKs look
// at the text. This file finds out what a rule about texts makes of such texts, so that it can be told where that matters.

// notNumber matches the texts that do not read like a number, but for the few that only lack an end ("", "-", "5.", "2e").
// It holds of no text that reads like a number, and of no number as any engine prints it (1e+21, 1E21, 1e-07), and so keeps
// them out wherever it stands beside a condition.
const notNumber = `^(?:[^-0-9]|-[^0-9]|-?[0-9]+(?:[^.0-9eE]|\.[^0-9]|\.[0-9]+[^0-9eE]|(?:\.[0-9]+)?[eE](?:[^-+0-9]|[-+][^0-9]|[-+]?[0-9]+[^0-9])))`

// textGuard is the plainest expression that matches what begins like the text, and nothing that reads like a number.
func textGuard(text string) string {
	for _, guard := range []string{"^[^-0-9]", "^[0-9]+[^.0-9eE]"} {
		if matched, err := regexp.MatchString(guard, text); err == nil && matched {
			return guard
		}
	}
	return notNumber
}

// leavesOutNumbers reports whether a condition is false, to all engines, of numbers and of texts that read like one.
func (v *validator) leavesOutNumbers(c Condition) bool {
	if strings.HasSuffix(c.Value, semverSuffix) {
		return false
	}
	isText := func(s string) bool { return s != "" && !beginsWithNumber(s) }
	switch c.Operator {
	case Regex:
		return !v.readNumbers(c.Value).matches
	case Contains:
		return c.Value != "" && !partOfNumber(c.Value)
	case Equal:
		return isText(c.Value)
	case In:
		return !slices.ContainsFunc(ListOf(c.Value), func(e string) bool { return !isText(e) })
	default:
		return false
	}
}

// readNumbers is the function of that name, which takes its time, once for each expression.
func (v *validator) readNumbers(pattern string) numberReading {
	r, ok := v.readings[pattern]
	if !ok {
		if v.readings == nil {
			v.readings = map[string]numberReading{}
		}
		r = readNumbers(pattern)
		v.readings[pattern] = r
	}
	return r
}

// numberReading is what a regular expression makes of texts that read like numbers.
type numberReading struct {
	matches  bool // it matches at least one of them, or of the numbers that are printed with an exponent
	spelling bool // of some number it matches one spelling and not another
}

// The parts of a number in decimal, as spellings of it are compared: what is fed to both of them, and zeros that only the
// longer one has.
const (
	atStart = iota
	afterSign
	inLeadingZeros // which another digit has to follow
	inZero         // the whole part is 0
	inWhole
	afterPoint
	inFraction
	inTrailingZeros
	afterE // of an exponent, which is for numbers only: a text such as 1e21 is a text to all
	afterExponentSign
	inExponent
)

// readNumbers follows an expression through all spellings of all numbers at once: a spelling with zeros too many in one
// set of threads, the same number without them in another. -0 is left aside, since every expression about digits would
// tell it from 0. What is not followed to the end, for its size, counts as matching and as telling spellings apart.
func readNumbers(pattern string) (r numberReading) {
	unknown := numberReading{matches: true, spelling: true}
	parsed, err := syntax.Parse(translateRegex(pattern), syntax.Perl)
	if err != nil {
		return unknown
	}
	prog, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return unknown
	}
	const most = 1 << 18 // instructions looked at; a usual expression takes some thousands
	t := &threadRunner{prog: prog, left: most}
	type place struct {
		part          int
		longer, plain threads
	}
	first := t.follow([]uint32{uint32(prog.Start)}, syntax.EmptyBeginText)
	queue := []place{{atStart, first, first}}
	seen := map[string]bool{}
	for len(queue) > 0 && !(r.matches && r.spelling) {
		p := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		if key := string(rune(p.part)) + p.longer.key() + "|" + p.plain.key(); seen[key] {
			continue
		} else {
			seen[key] = true
		}
		if t.left < 0 {
			return unknown
		}
		if p.part == inZero || p.part == inWhole || p.part == inFraction || p.part == inTrailingZeros {
			longer, plain := t.ends(p.longer), t.ends(p.plain)
			r.matches = r.matches || longer || plain
			r.spelling = r.spelling || longer != plain
		}
		if p.part == inExponent {
			r.matches = r.matches || t.ends(p.plain)
		}
		both := func(c rune, next int) { queue = append(queue, place{next, t.step(p.longer, c), t.step(p.plain, c)}) }
		zero := func(next int) { queue = append(queue, place{next, t.step(p.longer, '0'), p.plain}) }
		digits := func(next, nextZero int) {
			both('0', nextZero)
			for c := '1'; c <= '9'; c++ {
				both(c, next)
			}
		}
		exponent := func() {
			both('e', afterE)
			both('E', afterE)
		}
		switch p.part {
		case atStart:
			both('-', afterSign)
			zero(inLeadingZeros)
			digits(inWhole, inZero)
		case afterSign, inLeadingZeros:
			zero(inLeadingZeros)
			digits(inWhole, inZero)
		case inZero:
			both('.', afterPoint)
		case inWhole:
			digits(inWhole, inWhole)
			both('.', afterPoint)
			exponent()
		case afterPoint:
			digits(inFraction, inFraction)
		case inFraction:
			digits(inFraction, inFraction)
			zero(inTrailingZeros)
			exponent()
		case afterE:
			both('-', afterExponentSign)
			both('+', afterExponentSign)
			digits(inExponent, inExponent)
		case afterExponentSign, inExponent:
			digits(inExponent, inExponent)
		case inTrailingZeros:
			zero(inTrailingZeros)
		}
	}
	return r
}

// threads are the places of a program that a text has come to; once it has matched, what follows does not matter.
type threads struct {
	at      []uint32 // in order
	matched bool
}

func (t threads) key() string {
	if t.matched {
		return "!"
	}
	var b []byte
	for _, pc := range t.at {
		b = binary.AppendUvarint(b, uint64(pc))
	}
	return string(b)
}

// threadRunner runs a program on all threads at once, and counts down what that takes.
type threadRunner struct {
	prog *syntax.Prog
	left int
}

// follow goes from the places on to those that wait for a character, or for the end of the text.
func (r *threadRunner) follow(from []uint32, here syntax.EmptyOp) (t threads) {
	been := map[uint32]bool{}
	for stack := slices.Clone(from); len(stack) > 0; r.left-- {
		pc := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if been[pc] {
			continue
		}
		been[pc] = true
		switch inst := &r.prog.Inst[pc]; inst.Op {
		case syntax.InstAlt, syntax.InstAltMatch:
			stack = append(stack, inst.Out, inst.Arg)
		case syntax.InstCapture, syntax.InstNop:
			stack = append(stack, inst.Out)
		case syntax.InstEmptyWidth:
			if needs := syntax.EmptyOp(inst.Arg) &^ here; needs == 0 {
				stack = append(stack, inst.Out)
			} else if needs&^syntax.EmptyEndText == 0 {
				t.at = append(t.at, pc)
			}
		case syntax.InstMatch:
			return threads{matched: true}
		case syntax.InstFail:
		default:
			t.at = append(t.at, pc)
		}
	}
	slices.Sort(t.at)
	return t
}

func (r *threadRunner) step(t threads, c rune) threads {
	if t.matched {
		return t
	}
	var next []uint32
	for _, pc := range t.at {
		r.left--
		if inst := &r.prog.Inst[pc]; inst.Op != syntax.InstEmptyWidth && inst.MatchRune(c) {
			next = append(next, inst.Out)
		}
	}
	return r.follow(next, 0)
}

// ends reports whether the text matches if it ends here.
func (r *threadRunner) ends(t threads) bool {
	return t.matched || r.follow(t.at, syntax.EmptyEndText).matched
}
