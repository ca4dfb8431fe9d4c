package testservices

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Examples returns the fenced blocks of a language in a document, such as "docs/events.md", so that a test can run them; it fails the test
// when there are none.
func Examples(t testing.TB, document, language string) []string {
	t.Helper()
	top, err := root()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(top, document))
	if err != nil {
		t.Fatal(err)
	}
	out := Fenced(string(text), language)
	if len(out) == 0 {
		t.Fatalf("%s has no example in %s", document, language)
	}
	return out
}

// Fenced returns the fenced blocks of a language in Markdown.
func Fenced(text, language string) (blocks []string) {
	fence := regexp.MustCompile("(?ms)^```" + regexp.QuoteMeta(language) + "\n(.*?)\n```$")
	for _, m := range fence.FindAllStringSubmatch(text, -1) {
		blocks = append(blocks, m[1])
	}
	return blocks
}

// ExampleLines are the lines of Examples that are not empty.
func ExampleLines(t testing.TB, document, language string) (lines []string) {
	t.Helper()
	for line := range strings.SplitSeq(strings.Join(Examples(t, document, language), "\n"), "\n") {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}
