package main

import (
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
)

// listenPprof listens for those who profile the process, on this machine alone:
// profiles tell what is in its memory, and taking one costs.
func listenPprof(address string) (net.Listener, error) {
	tcp, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("address for profiles: %w", err)
	}
	if !tcp.IP.IsLoopback() {
		return nil, fmt.Errorf("address for profiles %s: want one of this machine alone, such as 127.0.0.1:6060", address)
	}
	listener, err := net.ListenTCP("tcp", tcp)
	if err != nil {
		return nil, fmt.Errorf("listen for profiles on %s: %w", address, err)
	}
	return listener, nil
}

func pprofHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index) // and by name: heap, goroutine, mutex ...
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return mux
}
