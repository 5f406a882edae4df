//go:build race

package evaluation_test

// The race detector empties sync.Pools at random, so that allocations cannot be counted.
const underRaceDetector = true
