package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/tapewatch/tapewatch/internal/testservices"
)

// block is one fenced block of shell commands in a document.
type block struct {
	file string
	// run says that the commands are run, one after the other, against a broker of their own.
	run      bool
	commands []string
}

// blocks finds the commands of every document.
func blocks(t *testing.T) []block {
	t.Helper()
	var files []string
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/adr/*.md"} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	var out []block
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, language := range []string{"sh", "sh run"} {
			for _, commands := range testservices.Fenced(string(text), language) {
				b := block{file: filepath.Base(file), run: language == "sh run"}
				for line := range strings.SplitSeq(strings.ReplaceAll(commands, "\\\n", " "), "\n") {
					if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
						b.commands = append(b.commands, line)
					}
				}
				out = append(out, b)
			}
		}
	}
	return out
}

// TestDocsRun runs the blocks that are marked for it.
func TestDocsRun(t *testing.T) {
	testservices.Study(t)
	dir := t.TempDir()
	n := 0
	for _, b := range blocks(t) {
		if !b.run {
			continue
		}
		var script strings.Builder
		for _, c := range b.commands {
			script.WriteString("exec " + c + "\n")
		}
		name := filepath.Join(dir, strings.TrimSuffix(strings.ToLower(b.file), ".md")+string(rune('a'+n))+".txtar")
		if err := os.WriteFile(name, []byte(script.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		n++
	}
	if n == 0 {
		t.Fatal("no block is marked as ```sh run: the README's tour must be")
	}
	testscript.Run(t, testscript.Params{Dir: dir, Setup: withBroker})
}

// TestDocsCommandsExist checks every other documented command: the command, its flags and its arguments are known, make
// targets and scripts exist.
func TestDocsCommandsExist(t *testing.T) {
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	for _, b := range blocks(t) {
		for _, line := range b.commands {
			words := wordsOf(line)
			for len(words) > 0 && regexp.MustCompile(`^[A-Z_]+=`).MatchString(words[0]) {
				words = words[1:]
			}
			if len(words) == 0 {
				continue
			}
			checked++
			switch {
			case words[0] == "tapewatch":
				if err := checkCommand(words[1:]); err != nil {
					t.Errorf("%s: `%s`: %v", b.file, line, err)
				}
			case words[0] == "make":
				for _, target := range words[1:] {
					if !strings.Contains(target, "=") && !bytes.Contains(makefile, []byte("\n"+target+":")) {
						t.Errorf("%s: `%s`: the Makefile has no target %s", b.file, line, target)
					}
				}
			case strings.HasPrefix(words[0], "scripts/"):
				if _, err := os.Stat(filepath.Join(root, words[0])); err != nil {
					t.Errorf("%s: `%s`: %v", b.file, line, err)
				}
			}
		}
	}
	if checked < 20 {
		t.Errorf("only %d commands were found in the documents: the search is broken", checked)
	}
}

// checkCommand parses a command line without running it.
func checkCommand(args []string) error {
	root := newRoot(&app{stdin: strings.NewReader(""), stdout: &bytes.Buffer{}, stderr: &bytes.Buffer{}})
	cmd, rest, err := root.Find(args)
	if err != nil {
		return err
	}
	if err := cmd.ParseFlags(rest); err != nil {
		return err
	}
	if err := cmd.ValidateArgs(cmd.Flags().Args()); err != nil {
		return err
	}
	return cmd.ValidateRequiredFlags()
}

// wordsOf splits a line as a shell does, as far as the documents need: quotes, and an end at a pipe, a redirection, & or a
// comment.
func wordsOf(line string) []string {
	var out []string
	var word strings.Builder
	quote, open := rune(0), false
	end := func() {
		if open {
			out = append(out, word.String())
		}
		word.Reset()
		open = false
	}
	for _, r := range line {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(r)
		case r == '\'' || r == '"':
			quote, open = r, true
		case r == ' ':
			end()
		case strings.ContainsRune("|>&;#", r):
			end()
			return out
		default:
			open = true
			word.WriteRune(r)
		}
	}
	end()
	return out
}

// goStatement finds where goroutines are started.
var goStatement = regexp.MustCompile(`(?m)\bgo func\(|\bgo [a-z][A-Za-z.]*\(|\.Go\(`)

// TestDocsNameEveryGoroutine holds docs/concurrency.md to the code: it must name each file that starts one.
func TestDocsNameEveryGoroutine(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "docs", "concurrency.md"))
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, dir := range []string{"stream", "sinks", "sources", "api", "cmd", "internal", "evaluate"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, d os.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") ||
				strings.Contains(path, "/sinktest/") || strings.Contains(path, "/testservices/") || strings.Contains(path, "/chaos/") {
				return err
			}
			code, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			name := strings.TrimPrefix(filepath.ToSlash(path), root+"/")
			if goStatement.Match(code) {
				found++
				if !strings.Contains(string(text), "`"+name+"`") {
					t.Errorf("%s starts a goroutine and docs/concurrency.md does not name it", name)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if found < 10 {
		t.Errorf("only %d files that start goroutines were found: the search is broken", found)
	}
}
