package stages

import (
	"testing"

	"github.com/tapewatch/tapewatch/stream/processor/cases"
)

func TestCases(t *testing.T) {
	t.Run("bars", func(t *testing.T) { cases.Run(t, "testdata/bars") })
	t.Run("baskets", func(t *testing.T) { cases.Run(t, "testdata/baskets") })
	t.Run("crossquotes", func(t *testing.T) { cases.Run(t, "testdata/crossquotes") })
	t.Run("scopes", func(t *testing.T) { cases.Run(t, "testdata/scopes") })
}
