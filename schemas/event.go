package schemas

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
)

// Severities from low to critical.
const (
	Low      = "low"
	Medium   = "medium"
	High     = "high"
	Critical = "critical"
)

// Statuses of an event within its episode.
const (
	Open     = "open"
	Update   = "update"
	Resolved = "resolved"
)

// Scopes that events are grouped under on events.scopes: an asset, by the prefix, or the whole market.
const (
	ScopeAsset  = "asset:"
	ScopeMarket = "market:all"
)

// SeverityRank orders severities: 1 low to 4 critical; 0 for an unknown one.
func SeverityRank(s string) int {
	switch s {
	case Low:
		return 1
	case Medium:
		return 2
	case High:
		return 3
	case Critical:
		return 4
	}
	return 0
}

// EventID is the deterministic id of an event: the first 32 hex digits of the SHA-256 of detector, version, key, type, event
// time and ordinal, which counts the events of one key and type at one event time, or, from 2^31 on, those that are earlier than one
// before them. Where the input lay plays no part, so the same input in another topic layout gives the same ids.
func EventID(e *Event, ordinal uint32) string {
	h := sha256.New()
	var n [8]byte
	str := func(s string) {
		binary.BigEndian.PutUint64(n[:], uint64(len(s)))
		h.Write(n[:])
		h.Write([]byte(s))
	}
	num := func(v uint64) {
		binary.BigEndian.PutUint64(n[:], v)
		h.Write(n[:])
	}
	str(e.Detector)
	num(uint64(e.DetectorVersion))
	str(e.Key)
	str(e.Type)
	num(uint64(e.EventTime))
	num(uint64(ordinal))
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// DedupKey is the key that all events of one episode share: the first 32 hex digits of the SHA-256 of detector, version, key
// and the time of the onset.
func DedupKey(detector string, version uint32, key string, onset Time) string {
	return EventID(&Event{Detector: detector, DetectorVersion: version, Key: key, Type: "episode", EventTime: int64(onset)}, 0)
}
