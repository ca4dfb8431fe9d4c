// Package secret holds values that must never be printed: passwords, tokens, connection strings.
package secret

import (
	"fmt"
	"io"
	"log/slog"
)

// Masked is what a Secret that is set prints as.
const Masked = "***"

// Secret is a text that prints as Masked everywhere: by every verb of fmt, in JSON, YAML and slog. The text lies behind a
// pointer, as fmt calls no method of a value in an unexported field: it prints an address there. Reveal returns the text;
// the zero value is not set.
type Secret struct{ text *string }

// New makes a secret; an empty text is not set.
func New(text string) Secret {
	if text == "" {
		return Secret{}
	}
	return Secret{&text}
}

// IsZero reports whether the secret is not set.
func (s Secret) IsZero() bool { return s.text == nil }

// Reveal returns the text itself, for the one call that needs it.
func (s Secret) Reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

// Equal compares the texts; == would compare where they lie.
func (s Secret) Equal(o Secret) bool { return s.Reveal() == o.Reveal() }

// String masks a secret that is set.
func (s Secret) String() string {
	if s.IsZero() {
		return ""
	}
	return Masked
}

// Format masks the secret whatever the verb.
func (s Secret) Format(f fmt.State, verb rune) {
	text := s.String()
	if verb == 'q' || f.Flag('#') {
		text = `"` + text + `"`
	}
	_, _ = io.WriteString(f, text)
}

// MarshalText masks the secret in JSON and YAML.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText takes the text as it is.
func (s *Secret) UnmarshalText(text []byte) error {
	*s = New(string(text))
	return nil
}

// LogValue masks the secret in log lines.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }
