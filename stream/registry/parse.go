package registry

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/sr"
)

// parse returns the top-level messages of a schema in order, when it is of our package: an earlier or later version of a file
// of the contract, written by another version of tapewatch.
func parse(s sr.Schema) ([]string, error) {
	if s.Type != sr.TypeProtobuf {
		return nil, fmt.Errorf("the schema is %s: it must be Protobuf", s.Type)
	}
	words := tokens(s.Schema)
	var out []string
	ours, depth := false, 0
	for i, w := range words {
		next := ""
		if i+1 < len(words) {
			next = words[i+1]
		}
		switch {
		case w == "{":
			depth++
		case w == "}":
			depth--
		case depth == 0 && w == "package":
			ours = next+"." == packageName
		case depth == 0 && w == "message":
			out = append(out, next)
		}
	}
	if !ours || depth != 0 || len(out) == 0 {
		return nil, errors.New("the schema is no file of package tapewatch.v1")
	}
	return out, nil
}

// tokens splits Protobuf source into words, strings and punctuation, without comments.
func tokens(text string) []string {
	var out []string
	for text != "" {
		switch {
		case strings.HasPrefix(text, "//"):
			_, text, _ = strings.Cut(text, "\n")
		case strings.HasPrefix(text, "/*"):
			_, text, _ = strings.Cut(text, "*/")
		case text[0] == '"' || text[0] == '\'':
			n := closing(text)
			out = append(out, text[:n])
			text = text[n:]
		default:
			n := strings.IndexFunc(text, func(r rune) bool { return !word(r) })
			if n < 0 {
				n = len(text)
			}
			if n == 0 {
				_, n = utf8.DecodeRuneInString(text)
			}
			if w := strings.TrimSpace(text[:n]); w != "" {
				out = append(out, w)
			}
			text = text[n:]
		}
	}
	return out
}

func word(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) || r == '_' || r == '.' }

// closing returns the length of the quoted string that text starts with.
func closing(text string) int {
	for i := 1; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case text[0]:
			return i + 1
		}
	}
	return len(text)
}
