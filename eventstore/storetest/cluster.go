package storetest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"flagledger/eventstore"
)

// A Cluster is a number of NATS servers with JetStream on loopback, each with a
// directory of its own. It ends with the test.
type Cluster struct {
	t       testing.TB
	options []*server.Options
	Servers []*server.Server
}

// StartCluster starts n servers that sync every write. With n = 1 it is a
// single server that listens. Each configure may change the options of each server.
func StartCluster(t testing.TB, n int, configure ...func(*server.Options)) *Cluster {
	t.Helper()
	c := &Cluster{t: t, Servers: make([]*server.Server, n)}
	var routes []*url.URL
	for range n {
		routes = append(routes, &url.URL{Scheme: "nats", Host: FreeAddress(t)})
	}
	for i := range n {
		o := &server.Options{
			ServerName: fmt.Sprintf("n%d", i),
			Host:       "127.0.0.1", Port: PortOf(t, FreeAddress(t)),
			NoSigs: true, NoLog: true,
			JetStream: true, StoreDir: t.TempDir(), SyncAlways: true,
			MaxPayload: eventstore.MaxPayload,
		}
		if n > 1 {
			o.Cluster = server.ClusterOpts{Name: "storetest", Host: "127.0.0.1", Port: PortOf(t, routes[i].Host)}
			o.Routes = routes
		}
		for _, change := range configure {
			change(o)
		}
		c.options = append(c.options, o)
	}
	t.Cleanup(func() {
		for i := range c.Servers {
			c.Stop(i)
		}
	})
	for i := range n {
		c.Start(i)
	}
	for _, s := range c.Servers {
		if !s.ReadyForConnections(time.Minute) {
			t.Fatalf("NATS server %s is not ready", s.Name())
		}
	}
	return c
}

// Start starts a server, on its old address and directory if it ran before.
func (c *Cluster) Start(i int) {
	c.t.Helper()
	s, err := server.NewServer(c.options[i].Clone())
	if err != nil {
		c.t.Fatalf("configure NATS server %d: %v", i, err)
	}
	c.Servers[i] = s
	s.Start()
}

// Stop ends a server, abruptly for everybody connected.
func (c *Cluster) Stop(i int) {
	if c.Servers[i] != nil {
		c.Servers[i].Shutdown()
		c.Servers[i].WaitForShutdown()
	}
}

// URL lists the addresses of the servers.
func (c *Cluster) URL() string {
	var urls []string
	for _, o := range c.options {
		urls = append(urls, fmt.Sprintf("nats://127.0.0.1:%d", o.Port))
	}
	return strings.Join(urls, ",")
}

// Leader is the number of the server that leads the stream, -1 if none does.
func (c *Cluster) Leader(stream string) int {
	for i, s := range c.Servers {
		if s.JetStreamIsStreamLeader(server.DEFAULT_GLOBAL_ACCOUNT, stream) {
			return i
		}
	}
	return -1
}

const (
	firstPort   = 10_000
	systemPorts = 32_768 // where those begin that Linux gives out by itself
)

// Ports are tried one behind the other, from anywhere: several processes test at once.
var (
	anyPort = rand.Uint32N(systemPorts)
	tried   atomic.Uint32
)

// FreeAddress is a host and port of loopback where nobody listens. It is another one each time, and not one that the
// system gives out by itself: whoever asks for it later, or again after a server was stopped, finds it free.
func FreeAddress(t testing.TB) string {
	t.Helper()
	for range 100 {
		address := fmt.Sprintf("127.0.0.1:%d", firstPort+(anyPort+tried.Add(1))%(systemPorts-firstPort))
		l, err := net.Listen("tcp", address)
		if err != nil {
			continue
		}
		if err := l.Close(); err != nil {
			t.Fatalf("find a free port: %v", err)
		}
		return address
	}
	t.Fatal("find a free port: none of 100 is")
	return ""
}

// PortOf is the port of an address.
func PortOf(t testing.TB, address string) int {
	t.Helper()
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
