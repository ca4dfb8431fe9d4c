package testservices

import (
	"strconv"
	"testing"
)

// Redis starts an empty server for this test alone, which takes a tenth of a second, and returns its URL. Pub/sub
// crosses the databases of one server, so sharing one would let tests hear each other.
func Redis(t testing.TB) string {
	t.Helper()
	return RedisServer(t).URL
}

// RedisServer is Redis whose server the test may stop and start again. Its data survive that.
func RedisServer(t testing.TB) *Server {
	t.Helper()
	return newServer(t, "REDIS", "redis.sh", func() (dir, url string, err error) {
		return startOnFreePorts("redis", []int{0}, func(dir string, port int) (string, error) {
			return script("redis.sh", "start", dir, strconv.Itoa(port))
		})
	})
}
