package capture

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/tapewatch/tapewatch/schemas"
)

// plain reads hftbacktest's lines, `<receipt in ns> <json>`. They know no connections: one is made up, which stands from the
// first line on. Answers to depth requests stand among the stream's messages and do not say whose they are: the file holds
// one instrument, so they belong to the one whose stream came first.
type plain struct {
	opened  bool
	symbol  string
	pending *Frame
}

const plainConn = "plain.0"

func (p *plain) frame(line []byte) (Frame, error) {
	stamp, data, ok := bytes.Cut(line, []byte(" "))
	if !ok {
		return Frame{}, errors.New("must be a receipt in nanoseconds, a space and JSON")
	}
	at, err := strconv.ParseInt(string(stamp), 10, 64)
	if err != nil {
		return Frame{}, fmt.Errorf("reading the receipt: %w", err)
	}
	f := Frame{Kind: Receive, Conn: plainConn, At: schemas.Time(at), Data: data}
	if rest, ok := bytes.CutPrefix(data, []byte(`{"stream":"`)); ok {
		if p.symbol == "" {
			symbol, _, _ := bytes.Cut(rest, []byte("@"))
			p.symbol = strings.ToUpper(string(symbol))
		}
	} else if bytes.HasPrefix(data, []byte(`{"lastUpdateId"`)) {
		f.Kind, f.URL = HTTP, "/depth?symbol="+p.symbol
	}
	if !p.opened {
		p.opened = true
		f.Data = bytes.Clone(f.Data)
		p.pending = &f
		return Frame{Kind: Connect, Conn: plainConn, At: f.At}, nil
	}
	return f, nil
}
