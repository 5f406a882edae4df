package evaluation

import (
	"cmp"
	"strings"
)

// semverSuffix at the end of a comparison's value says that texts are to be compared as versions.
const semverSuffix = ":semver"

// versionComparison compares texts by the precedence of Semantic Versioning 2.0. Values of other types are compared as
// without the suffix, which is to say: with a text that ends in it.
type versionComparison struct {
	*comparison
	version version
}

func compileVersionComparison(c *comparison, text string) predicate {
	return &versionComparison{comparison: c, version: scanVersion(text)}
}

func (c *versionComparison) holds(v *operand, ev *evaluator) bool {
	if v.kind != KindString {
		return c.comparison.holds(v, ev)
	}
	if !v.scanned { // many rules ask for one trait's version
		v.version, v.scanned = scanVersion(v.text), true
	}
	return v.version.valid() && c.version.valid() && c.want.has(v.version.compare(&c.version))
}

// version is a strict semantic version without its build metadata, which has no precedence. The zero version is none.
//
// Rules' versions are checked by Masterminds/semver when they are written; this form is for evaluation, where identities'
// versions are compared without allocating, and numbers of any length as numbers.
type version struct{ major, minor, patch, prerelease string }

func (v *version) valid() bool { return v.major != "" }

// scanVersion reads a version; it is invalid when s is not strictly one.
func scanVersion(s string) (v version) {
	s, build, hasBuild := strings.Cut(s, "+")
	s, pre, hasPre := strings.Cut(s, "-")
	major, s, _ := strings.Cut(s, ".")
	minor, patch, _ := strings.Cut(s, ".")
	if !isVersionNumber(major) || !isVersionNumber(minor) || !isVersionNumber(patch) ||
		hasBuild && !identifiers(build, true) || hasPre && !identifiers(pre, false) {
		return version{}
	}
	return version{major, minor, patch, pre}
}

func isVersionNumber(s string) bool { return isNumber(s) && (len(s) == 1 || s[0] != '0') }

// identifiers reports whether s is a list of the identifiers that follow a version: joined by dots, none empty, numbers
// without leading zeros where these are not allowed.
func identifiers(s string, leadingZeros bool) bool {
	for more := true; more; {
		var id string
		id, s, more = strings.Cut(s, ".")
		if id == "" || !leadingZeros && isNumber(id) && !isVersionNumber(id) {
			return false
		}
		for i := range len(id) {
			if c := id[i]; c != '-' && (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') {
				return false
			}
		}
	}
	return true
}

// compare orders versions by precedence: a pre-release comes before its release.
func (v *version) compare(w *version) int {
	if order := cmp.Or(compareNumbers(v.major, w.major), compareNumbers(v.minor, w.minor), compareNumbers(v.patch, w.patch)); order != 0 {
		return order
	}
	switch {
	case v.prerelease == w.prerelease:
		return 0
	case v.prerelease == "":
		return 1
	case w.prerelease == "":
		return -1
	}
	return comparePrereleases(v.prerelease, w.prerelease)
}

// comparePrereleases compares identifier by identifier: numbers by value and before words, words by their bytes; of two
// lists that begin alike the longer comes later.
func comparePrereleases(a, b string) int {
	for moreA, moreB := true, true; ; {
		switch {
		case !moreA && !moreB:
			return 0
		case !moreA:
			return -1
		case !moreB:
			return 1
		}
		var x, y string
		x, a, moreA = strings.Cut(a, ".")
		y, b, moreB = strings.Cut(b, ".")
		if order := compareIdentifiers(x, y); order != 0 {
			return order
		}
	}
}

func compareIdentifiers(x, y string) int {
	switch nx, ny := isNumber(x), isNumber(y); {
	case nx && ny:
		return compareNumbers(x, y)
	case nx:
		return -1
	case ny:
		return 1
	default:
		return strings.Compare(x, y)
	}
}

// compareNumbers orders decimal numbers without leading zeros: the longer is the larger.
func compareNumbers(x, y string) int {
	return cmp.Or(cmp.Compare(len(x), len(y)), strings.Compare(x, y))
}

func isNumber(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}
