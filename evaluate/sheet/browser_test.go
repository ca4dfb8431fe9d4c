package sheet

import (
	"testing"

	"github.com/tapewatch/tapewatch/internal/testservices"
)

// framed shows the page at two widths and reports what a reader would see.
const framed = `<!doctype html><title>frames</title>
<iframe src="/page" style="width:1280px;height:900px;border:0"></iframe><iframe src="/page" style="width:400px;height:900px;border:0"></iframe>
<script>
onload = () => fetch("/report", {method: "POST", body: JSON.stringify([...document.querySelectorAll("iframe")].map(f => {
  const d = f.contentDocument, seen = x => x.getBoundingClientRect().width > 100 && x.getBoundingClientRect().height > 20
  return {
    title: d.title, width: f.clientWidth, needs: d.documentElement.scrollWidth, drawings: d.querySelectorAll("svg:not([aria-hidden])").length,
    seen: [...d.querySelectorAll("svg:not([aria-hidden])")].filter(seen).length, asked: f.contentWindow.performance.getEntriesByType("resource").length,
    named: [...d.querySelectorAll("svg:not([aria-hidden])")].filter(x => x.getAttribute("aria-label") || x.querySelector("title")).length,
  }
}))})
</script>`

// TestBrowser shows the page in a browser, as wide as a desk and as a telephone: it fits, every drawing has a size and a name, and nothing
// else is loaded.
func TestBrowser(t *testing.T) {
	b := testservices.NewBrowser(t)
	b.Serve("/page", string(pageOf(t, sample())))
	b.Serve("/frames", framed)
	b.Open("/frames")
	var frames []struct {
		Title                                      string
		Width, Needs, Drawings, Seen, Asked, Named int
	}
	b.Report(&frames)
	if len(frames) != 2 {
		t.Fatalf("%d frames were shown, want 2", len(frames))
	}
	for _, f := range frames {
		if f.Title == "" || f.Needs > f.Width || f.Drawings < 5 || f.Seen != f.Drawings || f.Named != f.Drawings || f.Asked != 0 {
			t.Errorf("at a width of %d: %+v", f.Width, f)
		}
	}
}
