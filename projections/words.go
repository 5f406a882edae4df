package projections

import (
	"bytes"
	"encoding/json"
	"iter"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The limits of the word index: what is longer is cut off, so that a list of
// 100,000 values does not fill it.
const (
	maxWords   = 64 // of a commit
	maxWordLen = 40 // bytes
)

// words are the lower-case words of a text: runs of letters and digits, and
// also whole keys such as western_users.
func words(text string) iter.Seq[string] {
	return func(yield func(string) bool) {
		text := strings.ToLower(text)
		key, word, words := -1, -1, 0 // where they began, -1: there is none; words of the key
		for i, r := range text + " " {
			inWord := unicode.IsLetter(r) || unicode.IsDigit(r)
			if word >= 0 && !inWord {
				words++
				if !yieldWord(text[word:i], yield) {
					return
				}
				word = -1
			}
			inKey := inWord || r == '_' || r == '-' || r == '.'
			if key >= 0 && !inKey {
				if words > 1 && !yieldWord(strings.Trim(text[key:i], "_-."), yield) {
					return
				}
				key, words = -1, 0
			}
			if inWord && word < 0 {
				word = i
			}
			if inKey && key < 0 {
				key = i
			}
		}
	}
}

// HasWords tells whether there is a word in a text that can be looked for.
func HasWords(text string) bool {
	for range words(text) {
		return true
	}
	return false
}

func yieldWord(word string, yield func(string) bool) bool {
	if len(word) > maxWordLen {
		word = strings.ToValidUTF8(word[:maxWordLen], "")
	}
	return utf8.RuneCountInString(word) < 2 || yield(word)
}

// valuesOf are the strings and numbers of a JSON text, one after the other with
// blanks between them; the names of members are left out.
func valuesOf(raw []byte) string {
	var b strings.Builder
	for i := 0; i < len(raw); {
		switch c := raw[i]; {
		case c == '"':
			end := i + 1
			for end < len(raw) && raw[end] != '"' {
				if raw[end] == '\\' {
					end++
				}
				end++
			}
			end = min(end, len(raw)-1)
			if next := bytes.TrimLeft(raw[end+1:], " "); len(next) == 0 || next[0] != ':' {
				b.WriteString(unescaped(raw[i+1 : end]))
				b.WriteByte(' ')
			}
			i = end + 1
		case c >= '0' && c <= '9':
			b.WriteByte(c)
			i++
		default:
			b.WriteByte(' ')
			i++
		}
		if b.Len() > 1<<14 {
			break
		}
	}
	return b.String()
}

// unescaped is what stands between the quotes of a JSON string.
func unescaped(text []byte) string {
	var plain string
	if bytes.IndexByte(text, '\\') < 0 || json.Unmarshal(slices.Concat([]byte{'"'}, text, []byte{'"'}), &plain) != nil {
		return string(text)
	}
	return plain
}
