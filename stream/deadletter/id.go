package deadletter

import (
	"fmt"
	"strconv"
	"strings"
)

// An ID names a dead letter by its coordinates on the dlq topic. It reads and prints as "partition/offset".
type ID struct {
	Partition int32
	Offset    int64
}

// String prints the id.
func (id ID) String() string { return fmt.Sprintf("%d/%d", id.Partition, id.Offset) }

// ParseID reads an id such as "3/1042".
func ParseID(text string) (ID, error) {
	p, o, ok := strings.Cut(text, "/")
	partition, perr := strconv.ParseUint(p, 10, 31)
	offset, oerr := strconv.ParseUint(o, 10, 63)
	if !ok || perr != nil || oerr != nil {
		return ID{}, fmt.Errorf("dead letter id is %q: it must be partition/offset, such as 3/1042", text)
	}
	return ID{Partition: int32(partition), Offset: int64(offset)}, nil
}
