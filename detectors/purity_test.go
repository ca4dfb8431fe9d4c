package detectors

import (
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// impure are the functions of allowed packages that a processor must not call: clocks, and floating-point functions whose bits
// differ between machines (internal/fixed has their place).
var impure = map[string][]string{
	"time": {"Now", "Since", "Until", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker", "Sleep"},
	"math": {"Log", "Log2", "Log10", "Log1p", "Exp", "Exp2", "Expm1", "Pow", "Cbrt", "Sin", "Cos", "Tan", "Tanh", "Atanh", "Hypot", "Gamma", "Erf"},
	"fmt":  {"Print", "Println", "Printf", "Scan", "Scanln", "Scanf"},
}

// pure are the imports that a processor may have: none of them does I/O, knows a clock but time, or random numbers.
var pure = []string{
	"bytes", "cmp", "encoding/binary", "errors", "fmt", "iter", "math", "math/bits", "path", "slices", "strconv", "strings", "time", "unicode", "unicode/utf8",
}

const ours = "github.com/tapewatch/tapewatch/"

// A processor's output depends on its configuration and its input alone. No lint can see all of that; this parses every file of
// the packages that hold processors.
func TestPurity(t *testing.T) {
	fset, imports := sources()
	for _, dir := range []string{".", "../stages"} {
		c := purityOf(t, dir, fset, imports)
		for _, f := range c.files {
			c.imports(f)
			c.declarations(f)
			ast.Inspect(f, c.node)
		}
	}
}

// The test must see what it forbids.
func TestPurityFinds(t *testing.T) {
	fset, imports := sources()
	for source, want := range map[string]string{
		`var counter int`:                                             "package variable",
		`func f() { go f() }`:                                         "goroutine",
		`func f(c chan int) {}`:                                       "channel",
		`func f(m map[string]int) { for range m {} }`:                 "ranges over a map",
		`import "os"`:                                                 "imports os",
		`import "time"; func f() any { return time.Now() }`:           "time.Now",
		`import "math"; func f() float64 { return math.Log(2) }`:      "math.Log",
		`func f(a, b, c float64) float64 { return a*b + c }`:          "fused",
		`func f(a, b, c float64) float64 { c -= (a * b); return c }`:  "fused",
		`func f(a, b, c float64) float64 { return float64(a*b) + c }`: "",
		`func f(a, b, c int) int { return a*b + c }`:                  "",
		`func init() { n := 1; _ = n }; var _ interface{ M() } = T{}; type T struct{}; func (T) M() {}`: "",
	} {
		f, err := parser.ParseFile(fset, "x.go", "package x; "+source, 0)
		if err != nil {
			t.Fatal(err)
		}
		var found []string
		c := &purity{fset: fset, report: func(_ token.Pos, what string) { found = append(found, what) }, info: checked(t, fset, imports, []*ast.File{f})}
		c.imports(f)
		c.declarations(f)
		ast.Inspect(f, c.node)
		if got := strings.Join(found, "; "); (want == "") != (got == "") || !strings.Contains(got, want) {
			t.Errorf("%s: found %q, want %q", source, got, want)
		}
	}
}

type purity struct {
	fset   *token.FileSet
	files  []*ast.File
	info   *types.Info
	report func(at token.Pos, what string)
}

// sources makes an importer that reads packages from source, and remembers them.
func sources() (*token.FileSet, types.Importer) {
	fset := token.NewFileSet()
	return fset, importer.ForCompiler(fset, "source", nil)
}

func purityOf(t *testing.T, dir string, fset *token.FileSet, imports types.Importer) *purity {
	t.Helper()
	c := &purity{fset: fset}
	c.report = func(at token.Pos, what string) { t.Errorf("%s: %s", c.fset.Position(at), what) }
	paths, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("%s: %d files, %v", dir, len(paths), err)
	}
	for _, p := range paths {
		if strings.HasSuffix(p, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(c.fset, p, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		c.files = append(c.files, f)
	}
	c.info = checked(t, fset, imports, c.files)
	return c
}

func checked(t *testing.T, fset *token.FileSet, imports types.Importer, files []*ast.File) *types.Info {
	t.Helper()
	info := &types.Info{Types: map[ast.Expr]types.TypeAndValue{}}
	conf := types.Config{Importer: imports, Error: func(error) {}}
	if _, err := conf.Check("x", fset, files, info); err != nil && !strings.Contains(err.Error(), "declared and not used") && !strings.Contains(err.Error(), "imported and not used") {
		t.Fatal(err)
	}
	return info
}

func (c *purity) imports(f *ast.File) {
	for _, i := range f.Imports {
		path := strings.Trim(i.Path.Value, `"`)
		inside := strings.HasPrefix(path, ours+"internal/") || path == ours+"schemas" || path == ours+"stream/processor"
		if !inside && !slices.Contains(pure, path) {
			c.report(i.Pos(), "imports "+path+": a processor may not")
		}
	}
}

func (c *purity) declarations(f *ast.File) {
	for _, d := range f.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.VAR {
			continue
		}
		for _, s := range g.Specs {
			for _, n := range s.(*ast.ValueSpec).Names {
				if n.Name != "_" {
					c.report(n.Pos(), "package variable "+n.Name+": instances would share it")
				}
			}
		}
	}
}

func (c *purity) node(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.GoStmt:
		c.report(n.Pos(), "goroutine")
	case *ast.ChanType, *ast.SelectStmt, *ast.SendStmt:
		c.report(n.Pos(), "channel")
	case *ast.RangeStmt:
		if t := c.info.TypeOf(n.X); t != nil {
			if _, ok := t.Underlying().(*types.Map); ok {
				c.report(n.Pos(), "ranges over a map: its order differs from run to run")
			}
		}
	case *ast.SelectorExpr:
		if pkg, ok := n.X.(*ast.Ident); ok && slices.Contains(impure[pkg.Name], n.Sel.Name) {
			c.report(n.Pos(), pkg.Name+"."+n.Sel.Name)
		}
	case *ast.BinaryExpr:
		if n.Op == token.ADD || n.Op == token.SUB {
			c.product(n.X)
			c.product(n.Y)
		}
	case *ast.AssignStmt:
		if n.Tok == token.ADD_ASSIGN || n.Tok == token.SUB_ASSIGN {
			c.product(n.Rhs[0])
		}
	}
	return true
}

// product reports a product of floats that is added to something: some machines round it once, some twice. A conversion around it
// forbids that.
func (c *purity) product(e ast.Expr) {
	b, ok := ast.Unparen(e).(*ast.BinaryExpr)
	if !ok || b.Op != token.MUL {
		return
	}
	tv := c.info.Types[b]
	basic, ok := tv.Type.(*types.Basic)
	if ok && basic.Info()&types.IsFloat != 0 && tv.Value == nil {
		c.report(b.Pos(), "product that may be fused with the sum around it: write float64(a*b)")
	}
}
