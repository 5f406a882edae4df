package eventstore

import (
	"math"
	"os"

	"golang.org/x/sys/windows"
)

// lockFile takes the lock of an open file or fails at once. Locked ranges
// cannot be read on Windows, so it locks one byte far behind the process id.
func lockFile(file *os.File) error {
	const flags = windows.LOCKFILE_EXCLUSIVE_LOCK | windows.LOCKFILE_FAIL_IMMEDIATELY
	return windows.LockFileEx(windows.Handle(file.Fd()), flags, 0, 1, 0, &windows.Overlapped{OffsetHigh: math.MaxInt32})
}
