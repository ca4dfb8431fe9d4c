//go:build !race

package testservices

const raceEnabled = false
