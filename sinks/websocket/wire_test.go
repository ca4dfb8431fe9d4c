package websocket

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tapewatch/tapewatch/sinks/internal/sinktest"
)

// wire is a client that writes frames byte by byte.
type wire struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
}

func (s *stand) wire(t *testing.T) *wire {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.http.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(15 * time.Second))
	w := &wire{t, conn, bufio.NewReader(conn)}
	fmt.Fprint(conn, "GET /api/v1/events/ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	for {
		line, err := w.r.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if line == "\r\n" {
			break
		}
	}
	if op, text := w.frame(); op != 1 || !bytes.Contains(text, []byte("hello")) {
		t.Fatalf("the first frame is %d %s, want hello", op, text)
	}
	return w
}

// frame reads one frame of the server; the connection's end reads as opcode -1.
func (w *wire) frame() (op int, payload []byte) {
	head := make([]byte, 2)
	if _, err := io.ReadFull(w.r, head); err != nil {
		return -1, nil
	}
	n := uint64(head[1] & 0x7f)
	if n >= 126 {
		size := make([]byte, map[uint64]int{126: 2, 127: 8}[n])
		if _, err := io.ReadFull(w.r, size); err != nil {
			return -1, nil
		}
		n = 0
		for _, b := range size {
			n = n<<8 | uint64(b)
		}
	}
	payload = make([]byte, n)
	if _, err := io.ReadFull(w.r, payload); err != nil {
		return -1, nil
	}
	return int(head[0] & 0x0f), payload
}

// masked makes one frame with the first byte given and a mask of zeros.
func masked(first byte, payload []byte) []byte {
	out := []byte{first}
	switch n := len(payload); {
	case n < 126:
		out = append(out, 0x80|byte(n))
	default:
		out = append(out, 0x80|126, byte(n>>8), byte(n))
	}
	return append(append(out, 0, 0, 0, 0), payload...)
}

// TestBrokenFrames speaks RFC 6455 wrongly, section 5, and wants the close code that section 7.4 gives, or the end.
func TestBrokenFrames(t *testing.T) {
	s := newStand(t, 0, nil)
	huge := binary.BigEndian.AppendUint64([]byte{0x81, 0x80 | 127}, 1<<63)
	big := append(binary.BigEndian.AppendUint64([]byte{0x81, 0x80 | 127}, 1<<40), 0, 0, 0, 0)
	for name, c := range map[string]struct {
		bytes []byte
		codes []int // close codes that are right; 0 is an end without one
	}{
		"unmasked":                 {[]byte{0x81, 2, '{', '}'}, []int{1002, 0}},
		"reserved bit 1":           {masked(0xc1, []byte("{}")), []int{1002, 0}},
		"reserved bit 2":           {masked(0xa1, []byte("{}")), []int{1002, 0}},
		"reserved opcode 3":        {masked(0x83, nil), []int{1002, 0}},
		"reserved opcode 11":       {masked(0x8b, nil), []int{1002, 0}},
		"fragmented ping":          {masked(0x09, []byte("x")), []int{1002, 0}},
		"long ping":                {masked(0x89, make([]byte, 126)), []int{1002, 0}},
		"continuation of nothing":  {masked(0x80, []byte("x")), []int{1002, 0}},
		"text inside of a message": {append(masked(0x01, []byte("x")), masked(0x81, []byte("x"))...), []int{1002, 0}},
		"close with one byte":      {masked(0x88, []byte{3}), []int{1002, 0}},
		"close with code 1005":     {masked(0x88, []byte{0x03, 0xed}), []int{1002, 0}},
		"length 2^63":              {append(huge, 0, 0, 0, 0), []int{1002, 1009, 0}},
		"length 2^40":              {append(big, bytes.Repeat([]byte("x"), 64<<10)...), []int{1009, 0}},
		"bad UTF-8":                {masked(0x81, []byte{0xff, 0xfe}), []int{1007}},
	} {
		t.Run(name, func(t *testing.T) {
			w := s.wire(t)
			if _, err := w.conn.Write(c.bytes); err != nil {
				t.Fatal(err)
			}
			code := 0
			for {
				op, payload := w.frame()
				if op == 8 && len(payload) >= 2 {
					code = int(binary.BigEndian.Uint16(payload))
				}
				if op < 0 || op == 8 {
					break
				}
			}
			if !slices.Contains(c.codes, code) {
				t.Errorf("closed with %d, want one of %v", code, c.codes)
			}
		})
	}
	// The server has survived all of it.
	p := s.dial(nil)
	p.say(`{"type":"ping"}`)
	p.expect("pong")
}

func TestPingFloodIsNotAnsweredInFull(t *testing.T) {
	s := newStand(t, 0, nil)
	w := s.wire(t)
	const pings = 5000
	go func() {
		for range pings {
			if _, err := w.conn.Write(masked(0x89, []byte("x"))); err != nil {
				return
			}
		}
		_, _ = w.conn.Write(masked(0x88, []byte{0x03, 0xe8}))
	}()
	pongs := 0
	for {
		op, _ := w.frame()
		if op < 0 || op == 8 {
			break
		}
		if op == 10 {
			pongs++
		}
	}
	if pongs == 0 || pongs > 500 {
		t.Errorf("%d of %d pings were answered, want the burst of 100 and what the time allowed", pongs, pings)
	}
}

func TestOldHTTPIsRefused(t *testing.T) {
	s := newStand(t, 0, nil)
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.http.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET / HTTP/1.0\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	status, _ := bufio.NewReader(conn).ReadString('\n')
	if !strings.Contains(status, "426") {
		t.Errorf("an upgrade by HTTP/1.0 gave %q, want 426", status)
	}
}

// Programs of independent peers: they subscribe, count 50 events, check seq, and print the ids.
const nodePeer = `
const WebSocket = require('ws'); const ws = new WebSocket(process.argv[1], ['tapewatch.v1', 'bearer.` + testToken + `']);
let seq = 0, ids = [];
ws.on('message', d => { const m = JSON.parse(d);
  if (m.type === 'hello') ws.send(JSON.stringify({type: 'subscribe', id: 'a', since: process.argv[2]}));
  if (m.type === 'events') { if (m.seq !== seq + 1) { console.error('gap'); process.exit(2) }
    seq += m.events.length; ids.push(...m.events.map(e => e.id)); if (ids.length >= 50) { console.log(ids.join(' ')); ws.close(1000) } } });
ws.on('close', c => process.exit(c === 1000 && ws.protocol === 'tapewatch.v1' ? 0 : 3)); ws.on('error', e => { console.error(e); process.exit(4) });
`

const pythonPeer = `
import asyncio, json, sys, websockets
async def main():
    seq, ids = 0, []
    async with websockets.connect(sys.argv[1], subprotocols=['tapewatch.v1', 'bearer.` + testToken + `']) as ws:
        assert ws.subprotocol == 'tapewatch.v1'
        async for text in ws:
            m = json.loads(text)
            if m['type'] == 'hello':
                await ws.send(json.dumps({'type': 'subscribe', 'id': 'a', 'since': sys.argv[2]}))
            if m['type'] == 'events':
                assert m['seq'] == seq + 1, 'gap'
                seq += len(m['events']); ids += [e['id'] for e in m['events']]
                if len(ids) >= 50: break
    print(' '.join(ids))
asyncio.run(main())
`

// TestIndependentPeers lets implementations that share no code with ours speak to the server: npm ws (found by NODE_PATH)
// and Python's websockets.
func TestIndependentPeers(t *testing.T) {
	s := newStand(t, 0, nil, hash(testToken))
	since := s.server.feed.Here().Since
	sinktest.Produce(t, s.client, 0, 50)
	sinktest.Eventually(t, 5*time.Second, func() bool { head, _ := s.server.feed.Head(); return head == 50 }, "the feed is behind")
	spoke := 0
	for _, peer := range []struct{ program, flag, probe, code string }{
		{"node", "-e", "require('ws')", nodePeer}, {"python3", "-c", "import websockets", pythonPeer},
	} {
		if err := exec.Command(peer.program, peer.flag, peer.probe).Run(); err != nil {
			t.Logf("%s has no WebSocket library here: %v", peer.program, err)
			continue
		}
		cmd := exec.Command(peer.program, peer.flag, peer.code, s.url(), since)
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		if err != nil {
			t.Errorf("%s: %v", peer.program, err)
			continue
		}
		wantIDs(t, strings.Fields(string(out)), 0, 50, nil)
		spoke++
	}
	if spoke == 0 {
		t.Skip("SKIPPED: neither npm ws nor Python's websockets is installed (npm install ws; export NODE_PATH=.../node_modules)")
	}
}
