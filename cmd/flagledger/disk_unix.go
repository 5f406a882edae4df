//go:build !windows

package main

import "golang.org/x/sys/unix"

// diskSpace is how many bytes are free for this user, and how many there are.
func diskSpace(dir string) (free, total uint64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, 0, err
	}
	return st.Bavail * uint64(st.Bsize), st.Blocks * uint64(st.Bsize), nil
}
