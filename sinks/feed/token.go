package feed

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrToken is wrapped by every refusal of a `since` token.
var ErrToken = errors.New("since is not valid")

// Layout of a token before base64: version, 8 bytes of the topic's id, count of partitions, offsets as varints, 8 bytes of the
// SHA-256 of all before. The checksum finds damage; it is no signature and need not be one, because a token gives no rights:
// whatever offsets it holds, it only chooses where in the topic that the client may read anyway the reading starts.
const (
	tokenVersion   = 1
	tokenID        = 8
	tokenSum       = 8
	maxTokenLength = 8 << 10
)

// encodeToken makes the opaque text of a vector of next offsets.
func encodeToken(topicID [16]byte, next []int64) string {
	raw := make([]byte, 0, 2+tokenID+10*len(next)+tokenSum)
	raw = append(raw, tokenVersion)
	raw = append(raw, topicID[:tokenID]...)
	raw = binary.AppendUvarint(raw, uint64(len(next)))
	for _, n := range next {
		raw = binary.AppendUvarint(raw, uint64(n))
	}
	sum := sha256.Sum256(raw)
	return base64.RawURLEncoding.EncodeToString(append(raw, sum[:tokenSum]...))
}

// decodeToken reads a token and checks it against the topic: its id, its partitions, and where each now ends.
func decodeToken(text string, topicID [16]byte, end []int64) ([]int64, error) {
	if len(text) > maxTokenLength {
		return nil, fmt.Errorf("%w: it has %d bytes, and at most %d are taken", ErrToken, len(text), maxTokenLength)
	}
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(raw) < 2+tokenID+tokenSum {
		return nil, fmt.Errorf("%w: it must be a value that this server sent as since, unchanged", ErrToken)
	}
	body, sum := raw[:len(raw)-tokenSum], sha256.Sum256(raw[:len(raw)-tokenSum])
	if !bytes.Equal(raw[len(raw)-tokenSum:], sum[:tokenSum]) || body[0] != tokenVersion {
		return nil, fmt.Errorf("%w: it must be a value that this server sent as since, unchanged", ErrToken)
	}
	if !bytes.Equal(body[1:1+tokenID], topicID[:tokenID]) {
		return nil, fmt.Errorf("%w: it is of another cluster, or of a topic that was made anew", ErrToken)
	}
	rest := body[1+tokenID:]
	read := func() (uint64, bool) {
		v, n := binary.Uvarint(rest)
		if n <= 0 {
			return 0, false
		}
		rest = rest[n:]
		return v, true
	}
	count, ok := read()
	if !ok || count != uint64(len(end)) {
		return nil, fmt.Errorf("%w: it is about %d partitions and the topic has %d", ErrToken, count, len(end))
	}
	next := make([]int64, len(end))
	for p := range next {
		v, ok := read()
		if !ok {
			return nil, fmt.Errorf("%w: it is cut short", ErrToken)
		}
		if v > uint64(end[p]) {
			return nil, fmt.Errorf("%w: offset %d of partition %d lies beyond the end of the topic (%d)", ErrToken, v, p, end[p])
		}
		next[p] = int64(v)
	}
	if len(rest) > 0 {
		return nil, fmt.Errorf("%w: it has %d bytes too many", ErrToken, len(rest))
	}
	return next, nil
}
