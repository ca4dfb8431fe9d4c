package secret

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

const text = "hunter2"

// leaks finds the text, plain or in a form that a verb gives it.
func leaks(got string) bool {
	low := strings.ToLower(strings.NewReplacer(" ", "", "0x", "").Replace(got))
	bytesOf := strings.Trim(fmt.Sprintf("%d", []byte(text)), "[]")
	return strings.Contains(got, text) || strings.Contains(low, hex.EncodeToString([]byte(text))) || strings.Contains(got, bytesOf) ||
		strings.Contains(got, base64.StdEncoding.EncodeToString([]byte(text))[:8])
}

func TestNoVerbPrintsASecret(t *testing.T) {
	s := New(text)
	type hidden struct{ p Secret }
	values := map[string]any{
		"secret": s, "pointer": &s, "slice": []Secret{s}, "map": map[string]Secret{"k": s}, "key": map[Secret]int{s: 1},
		"exported": struct{ P Secret }{s}, "unexported": hidden{s}, "pointer to unexported": &hidden{s},
		"deep": struct{ h []hidden }{[]hidden{{s}}}, "any": struct{ a any }{s}, "embedded": struct{ Secret }{s},
	}
	for name, v := range values {
		for verb := rune('A'); verb <= 'z'; verb++ {
			for _, flags := range []string{"", "+", "#", " ", "0", "-", "+#", "20.3", "# "} {
				format := "%" + flags + string(verb)
				if got := fmt.Sprintf(format, v); leaks(got) {
					t.Errorf("%s printed the %s as %q", format, name, got)
				}
			}
		}
	}
	for format, want := range map[string]string{"%v": "***", "%d": "***", "%x": "***", "%q": `"***"`, "%#v": `"***"`} {
		if got := fmt.Sprintf(format, s); got != want {
			t.Errorf("%s printed %q, want %q", format, got, want)
		}
	}
	for format, v := range map[string]any{"%d": textType(text), "%+v": struct{ p textType }{text}, "% X": text, "%d ": []byte(text)} {
		if !leaks(fmt.Sprintf(format, v)) {
			t.Errorf("nothing was tested: the search does not find what %s prints of a %T", format, v)
		}
	}
}

// textType is what a Secret must not be: a string with methods.
type textType string

func (textType) String() string { return Masked }

func TestNoEncodingHoldsASecret(t *testing.T) {
	s := New(text)
	type hidden struct{ p Secret }
	var log bytes.Buffer
	for _, h := range []slog.Handler{slog.NewJSONHandler(&log, nil), slog.NewTextHandler(&log, nil)} {
		slog.New(h).Info("connecting", slog.Any("password", s), slog.Any("in", struct{ P Secret }{s}), slog.Any("un", hidden{s}), slog.Any("e", errors.New(fmt.Sprint(s))))
	}
	asJSON, err := json.Marshal(map[string]any{"p": s, "s": struct{ P *Secret }{&s}, "h": hidden{s}})
	if err != nil {
		t.Fatal(err)
	}
	for how, got := range map[string]string{"json": string(asJSON), "log": log.String()} {
		if leaks(got) || !strings.Contains(got, Masked) {
			t.Errorf("%s printed %q: it must print %s", how, got, Masked)
		}
	}
}

func TestASecretIsWhatWasSet(t *testing.T) {
	var s Secret
	if err := s.UnmarshalText([]byte(text)); err != nil || s.Reveal() != text || s.IsZero() || !s.Equal(New(text)) || s.Equal(New("other")) {
		t.Errorf("Reveal gave %q, error %v, want %q", s.Reveal(), err, text)
	}
	if err := s.UnmarshalText(nil); err != nil || !s.IsZero() || s.String() != "" || s.Reveal() != "" || New("") != (Secret{}) {
		t.Error("an empty secret must print as empty, so that one sees that it is not set")
	}
}
