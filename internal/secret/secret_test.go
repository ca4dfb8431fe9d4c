package secret

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestSecretNeverPrints(t *testing.T) {
	const text = "hunter2"
	s := Secret(text)
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("connecting", slog.Any("password", s), slog.Any("in", struct{ P Secret }{s}))
	asJSON, err := json.Marshal(map[string]any{"p": s, "s": struct{ P *Secret }{&s}})
	if err != nil {
		t.Fatal(err)
	}
	for how, got := range map[string]string{
		"%v": fmt.Sprintf("%v", s), "%q": fmt.Sprintf("%q", s), "%#v": fmt.Sprintf("%#v", s),
		"struct": fmt.Sprintf("%+v", struct{ P Secret }{s}), "json": string(asJSON), "log": log.String(),
	} {
		if strings.Contains(got, text) || !strings.Contains(got, Masked) {
			t.Errorf("%s printed %q: it must print %s", how, got, Masked)
		}
	}
	if s.Reveal() != text {
		t.Errorf("Reveal gave %q, want %q", s.Reveal(), text)
	}
	if Secret("").String() != "" {
		t.Error("an empty secret must print as empty, so that one sees that it is not set")
	}
}
