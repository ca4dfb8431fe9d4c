package venue

import "github.com/tapewatch/tapewatch/schemas"

// stamps tells the messages of a stream without ids apart by their times. Several may have one time, and while a session is
// renewed each comes twice, once by each, in one order: the n-th of a time by one session is the n-th by the other.
type stamps struct {
	at       schemas.Time // the latest
	n        int          // how many of that time were new
	sessions [2]turn      // the one that spoke last is first
}

// turn is where one session stands.
type turn struct {
	conn   string
	at     schemas.Time
	n      int    // messages of that time
	digest uint64 // the last one
}

// fresh says that a message is new. One that comes twice in a row by one session is not.
func (s *stamps) fresh(conn string, at schemas.Time, digest uint64) bool {
	if s.sessions[0].conn != conn {
		s.sessions[0], s.sessions[1] = s.sessions[1], s.sessions[0]
	}
	t := &s.sessions[0]
	switch {
	case t.conn == conn && at < t.at:
		return false
	case t.conn != conn || t.at != at:
		*t = turn{conn: conn, at: at}
	case t.n > 0 && t.digest == digest:
		return false
	}
	t.n++
	t.digest = digest
	switch {
	case at > s.at:
		s.at, s.n = at, t.n
	case at == s.at && t.n > s.n:
		s.n = t.n
	default:
		return false
	}
	return true
}
