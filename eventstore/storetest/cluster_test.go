package storetest_test

import (
	"testing"

	"flagledger/eventstore/storetest"
)

// Addresses that are asked for together are of different ports, though nobody listens there yet.
func TestFreeAddress(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		address := storetest.FreeAddress(t)
		if seen[address] {
			t.Fatalf("%s comes twice", address)
		}
		seen[address] = true
	}
}
