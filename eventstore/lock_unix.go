//go:build !windows

package eventstore

import (
	"os"
	"syscall"
)

// lockFile takes the lock of an open file or fails at once.
func lockFile(file *os.File) error {
	return syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
}
