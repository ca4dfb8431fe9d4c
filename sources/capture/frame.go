// Package capture keeps raw venue traffic in files, so that decoding and book keeping can be run again on exactly what came.
//
// A capture is JSON lines, compressed with zstd: `t` is the kind of the line, `ts` the receipt in seconds since the Unix
// epoch with nine decimals, `conn` the connection, `url` or `addr` where it leads, `data` the text or `b64` the bytes. The
// reader also takes plain and gzip files, the captures of cryptofeed v3, whose shape this is, and those of hftbacktest, one
// `<receipt in ns> <json>` a line.
package capture

import "github.com/tapewatch/tapewatch/schemas"

// Kind says what a frame is.
type Kind string

// The kinds of frame.
const (
	// Header opens a file and names the venue.
	Header Kind = "header"
	// Connect says that a connection stands.
	Connect Kind = "connect"
	// Send is a message to the venue.
	Send Kind = "send"
	// Receive is a message from the venue.
	Receive Kind = "recv"
	// HTTP is the body of an answer to a GET.
	HTTP Kind = "http"
	// Peers says whether other sources of the process receive data, from here on: its data are 1 or 0.
	Peers Kind = "peers"
	// Close says that a connection is gone; its data say why.
	Close Kind = "close"
)

// A Frame is one line of a capture.
type Frame struct {
	Kind Kind
	// Conn names the connection: "slot" or "slot/session" where a slot is dialled again after a loss.
	Conn string
	// At is the receipt clock.
	At schemas.Time
	// URL is what was dialled or fetched; the venue's name on a header.
	URL string
	// Data are valid until the next call of the reader.
	Data []byte
}
