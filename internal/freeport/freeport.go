// Package freeport gives tests addresses for servers that can't choose one by
// themselves, or that have to come back to the one they had.
package freeport

import (
	"math/rand/v2"
	"net"
	"strconv"
	"testing"
)

// Address is on this machine, and nobody listens on it. It is below the ports that
// systems give to whoever asks for any, so that neither a connection nor another
// server takes it before it is used, or between two uses.
func Address(t testing.TB) string {
	t.Helper()
	for range 100 {
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(10_000+rand.IntN(20_000)))
		listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", address)
		if err != nil {
			continue
		}
		if err := listener.Close(); err != nil {
			t.Fatal(err)
		}
		return address
	}
	t.Fatal("no port is free")
	return ""
}
