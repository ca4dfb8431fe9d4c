package poll

import (
	"encoding/json"
	"fmt"
)

// ReadCursor reads what WriteCursor wrote; nothing is the zero value.
func ReadCursor[C any](raw []byte) (C, error) {
	var c C
	if len(raw) == 0 {
		return c, nil
	}
	if err := json.Unmarshal(raw, &c); err != nil {
		return c, fmt.Errorf("reading the cursor: %w", err)
	}
	return c, nil
}

// WriteCursor writes a cursor, which is made of text, numbers and bytes.
func WriteCursor(c any) []byte {
	raw, err := json.Marshal(c)
	if err != nil {
		panic(err) // of such a cursor there is no error
	}
	return raw
}
