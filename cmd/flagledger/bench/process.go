package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/procfs"
)

// adminToken is the administrator's in all servers that are measured.
const adminToken = "flt_bench_0123456789abcdef0123456789abcdef"

// A process is a server that is measured.
type process struct {
	cmd     *exec.Cmd
	address string
	stat    procfs.Proc
	exited  chan struct{} // closed when it has ended
	err     error         // how, once exited is closed
	mu      sync.Mutex
	said    []string // the last lines
}

var listening = regexp.MustCompile(`msg=listening address=(\S+)`)

// start runs a program and returns when it listens.
func start(ctx context.Context, binary string, args ...string) (*process, error) {
	p := &process{cmd: exec.Command(binary, args...), exited: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), "FLAGLEDGER_ADMIN_TOKEN="+adminToken)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // so that an interrupt ends it through stop alone
	read, write := io.Pipe()
	p.cmd.Stdout, p.cmd.Stderr = write, write
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", binary, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		_ = write.Close()
		close(p.exited)
	}()
	found := make(chan string, 1)
	go func() {
		lines := bufio.NewScanner(read)
		for lines.Scan() {
			if m := listening.FindStringSubmatch(lines.Text()); m != nil {
				found <- m[1]
			}
			p.mu.Lock()
			p.said = append(p.said, lines.Text())
			p.said = p.said[max(0, len(p.said)-20):]
			p.mu.Unlock()
		}
		_, _ = io.Copy(io.Discard, read)
	}()
	select {
	case p.address = <-found:
	case <-p.exited:
		return nil, fmt.Errorf("%s has ended: %w\n%s", binary, p.err, p.log())
	case <-ctx.Done():
		return nil, errors.Join(ctx.Err(), p.stop())
	}
	var err error
	if p.stat, err = procfs.NewProc(p.cmd.Process.Pid); err != nil {
		return nil, errors.Join(err, p.stop())
	}
	return p, nil
}

// startLedger runs Flagledger on a data directory and returns when it is ready.
// One token may make as many requests as it likes.
func startLedger(ctx context.Context, o options, dir string, args ...string) (*process, error) {
	p, err := start(ctx, o.binary, append([]string{"serve", "--listen", "127.0.0.1:0", "--data-dir", dir, "--admin-rate", "0"}, args...)...)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.address+"/readyz", nil)
		if err != nil {
			return nil, errors.Join(err, p.stop())
		}
		response, err := http.DefaultClient.Do(request)
		if err == nil {
			_ = response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return p, nil
			}
		}
		select {
		case <-again.C:
		case <-p.exited:
			return nil, fmt.Errorf("%s has ended: %w\n%s", o.binary, p.err, p.log())
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("%s is not ready: %w\n%s", o.binary, ctx.Err(), p.log()), p.stop())
		}
	}
}

// startFloor runs this program as what Flagledger is compared with.
func startFloor(ctx context.Context) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return start(ctx, self, "floor")
}

func (p *process) log() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.said, "\n")
}

// stop ends the process and waits for its end.
func (p *process) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.exited:
	case <-time.After(20 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.exited
		return fmt.Errorf("%s had to be killed\n%s", p.cmd.Path, p.log())
	}
	if p.err != nil {
		return fmt.Errorf("%s: %w\n%s", p.cmd.Path, p.err, p.log())
	}
	return nil
}

// cpu is the processor time that the process has used, in steps of 10 ms.
func (p *process) cpu() (time.Duration, error) {
	stat, err := p.stat.Stat()
	if err != nil {
		return 0, fmt.Errorf("accounting of process %d: %w", p.stat.PID, err)
	}
	return time.Duration(stat.CPUTime() * float64(time.Second)), nil
}

// rss is how many bytes of memory the process has resident.
func (p *process) rss() (int, error) {
	stat, err := p.stat.Stat()
	if err != nil {
		return 0, fmt.Errorf("memory of process %d: %w", p.stat.PID, err)
	}
	return stat.ResidentMemory(), nil
}
