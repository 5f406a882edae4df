package eventstore

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// A dirLock keeps other processes out of a data directory. NATS has no such
// lock: two servers on one directory would both acknowledge the same position,
// with different commits.
type dirLock struct{ file *os.File }

// lockDir creates the directory where it does not exist and locks it until
// unlock or the end of the process, however it ends.
func lockDir(dir string) (dirLock, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return dirLock{}, fmt.Errorf("create data directory: %w", err)
	}
	file, err := os.OpenFile(filepath.Join(dir, "LOCK"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return dirLock{}, fmt.Errorf("open lock of data directory: %w", err)
	}
	if err := lockFile(file); err != nil {
		holder := "another process"
		if pid, _ := io.ReadAll(file); len(pid) > 0 {
			holder = "process " + strings.TrimSpace(string(pid))
		}
		_ = file.Close()
		return dirLock{}, fmt.Errorf("data directory %s is in use by %s: %w", dir, holder, err)
	}
	if err := writePID(file); err != nil {
		_ = file.Close()
		return dirLock{}, fmt.Errorf("write lock of data directory: %w", err)
	}
	return dirLock{file}, nil
}

func writePID(file *os.File) error {
	if err := file.Truncate(0); err != nil {
		return err
	}
	_, err := file.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return err
}

// unlock leaves the file in place: removing it would let two processes lock
// two different files of the same name.
func (l dirLock) unlock() error { return l.file.Close() }

// InUse tells which process has the data directory, "" for none. It changes
// nothing.
func InUse(dir string) string {
	file, err := os.OpenFile(filepath.Join(dir, "LOCK"), os.O_RDWR, 0)
	if err != nil {
		return ""
	}
	defer func() { _ = file.Close() }() // which unlocks it
	if lockFile(file) == nil {
		return ""
	}
	pid, _ := io.ReadAll(file)
	return strings.TrimSpace("process " + strings.TrimSpace(string(pid)))
}
