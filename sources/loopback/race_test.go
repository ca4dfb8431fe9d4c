//go:build race

package loopback

func init() { raced = true }
