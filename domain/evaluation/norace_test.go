//go:build !race

package evaluation_test

const underRaceDetector = false
