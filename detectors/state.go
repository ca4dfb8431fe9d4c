package detectors

// A keeper is a part of a detector's state that writes and reads its own bytes.
type keeper interface {
	AppendState(dst []byte) []byte
	RestoreState(src []byte) (rest []byte, err error)
}

func appendAll(dst []byte, parts ...keeper) []byte {
	for _, p := range parts {
		dst = p.AppendState(dst)
	}
	return dst
}

func restoreAll(src []byte, parts ...keeper) (rest []byte, err error) {
	for _, p := range parts {
		if src, err = p.RestoreState(src); err != nil {
			return nil, err
		}
	}
	return src, nil
}
