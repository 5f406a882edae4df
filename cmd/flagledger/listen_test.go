package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"flagledger/http/wire"
)

// Whoever sends or takes nothing for a while is cut off. The test shortens the times, a hundredth of a second for each second.
func TestSlowClientsAreCutOff(t *testing.T) {
	t.Parallel()
	large, huge := make([]byte, 1<<20), make([]byte, 32<<20) // the network buffers some MiB
	handlerEnded := make(chan error, 1)
	server := newHTTPServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/plain/huge":
			w.Header().Set("Content-Length", strconv.Itoa(len(huge)))
			_, err := w.Write(huge)
			handlerEnded <- err
		case "/body":
			_, err := io.ReadAll(r.Body)
			handlerEnded <- err
		case "/large":
			var err error
			for err == nil {
				_, err = w.Write(large)
			}
			handlerEnded <- err
		}
	}), slog.New(slog.DiscardHandler))
	for name, d := range map[string]*time.Duration{
		"header": &server.ReadHeaderTimeout, "read": &server.ReadTimeout, "write": &server.WriteTimeout, "idle": &server.IdleTimeout,
	} {
		if *d <= 0 || *d > 2*time.Minute {
			t.Errorf("the %s timeout is %v", name, *d)
		}
		*d /= 100
	}
	listener, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	both := wire.New(server, func(path string) bool { return strings.HasPrefix(path, "/plain/") }, 0)
	go func() { _ = both.Serve(listener) }()
	t.Cleanup(func() { _ = both.Close() })

	for _, tc := range []struct {
		name, sent string
		reads      bool // the client takes what it is sent
		handler    bool // a handler is under way, and is told
	}{
		{"nothing", "", true, false},
		{"half a header", "GET / HTTP/1.1\r\nHost: a\r\nX-", true, false},
		{"half a body", "POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf", true, true},
		{"half a chunk", "POST /body HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n64\r\nhalf", true, true},
		{"nothing after an answer", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", true, false},
		{"what reads nothing", "GET /large HTTP/1.1\r\nHost: a\r\n\r\n", false, true},
		{"half a plain body", "POST /plain/body HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf", true, false},
		{"nothing after a plain answer", "GET /plain/ HTTP/1.1\r\nHost: a\r\n\r\n", true, false},
		{"half a header after a plain answer", "GET /plain/ HTTP/1.1\r\nHost: a\r\n\r\nGET /pl", true, false},
		{"half a body after a plain answer", "GET /plain/ HTTP/1.1\r\nHost: a\r\n\r\nPOST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf", true, true},
		{"what reads no plain answer", "GET /plain/huge HTTP/1.1\r\nHost: a\r\n\r\n", false, true},
	} {
		conn, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, tc.sent); err != nil {
			t.Fatal(err)
		}
		if tc.handler && within(t, tc.name, handlerEnded) == nil {
			t.Errorf("%s: the handler has not been told", tc.name)
		}
		if tc.reads {
			ended := make(chan error, 1)
			go func() {
				_, err := io.Copy(io.Discard, conn)
				ended <- err
			}()
			_ = within(t, tc.name, ended) // closed, or reset
		}
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	}
}

// within waits for something that is to happen soon.
func within(t *testing.T, what string, done <-chan error) error {
	t.Helper()
	select {
	case err := <-done:
		return err
	case <-time.After(patience):
		t.Fatalf("%s: it is not cut off within %v", what, patience)
		return nil
	}
}

// With a certificate the program speaks HTTPS, from TLS 1.2 on, and nothing else.
func TestTLS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	pool := certify(t, dir)
	p := serving(t, nil, "--data-dir", filepath.Join(dir, "data"), "--tls-cert", filepath.Join(dir, "cert.pem"), "--tls-key", filepath.Join(dir, "key.pem"))
	address := strings.TrimPrefix(p.url, "http://")
	ask := func(config *tls.Config) (int, error) {
		transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}
		defer transport.CloseIdleConnections()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+address+"/healthz", nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := (&http.Client{Transport: transport}).Do(req)
		if err != nil {
			return 0, err
		}
		if res.ProtoMajor != 2 {
			t.Errorf("the answer is %s", res.Proto)
		}
		if got := res.Header.Get("Strict-Transport-Security"); got != "max-age=31536000" {
			t.Errorf("Strict-Transport-Security is %q", got)
		}
		return res.StatusCode, res.Body.Close()
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		if status, err := ask(&tls.Config{RootCAs: pool, MinVersion: version, MaxVersion: version}); status != 200 || err != nil {
			t.Errorf("%s: %d %v", tls.VersionName(version), status, err)
		}
	}
	if status, err := ask(&tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}); err == nil || !strings.Contains(err.Error(), "protocol version") {
		t.Errorf("TLS 1.1 is answered %d %v", status, err)
	}
	if _, err := ask(&tls.Config{MinVersion: tls.VersionTLS12}); !errors.As(err, new(*tls.CertificateVerificationError)) {
		t.Errorf("the certificate is not looked at: %v", err)
	}
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(conn).ReadString('\n'); err != nil || !strings.Contains(line, " 400 ") {
		t.Errorf("without TLS: %q %v", line, err)
	}
	p.stop(syscall.SIGTERM)
}

// certify writes a certificate for 127.0.0.1 and its key, and returns who trusts it.
func certify(t *testing.T, dir string) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: der}, "key.pem": {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})) {
		t.Fatal("the certificate cannot be read")
	}
	return pool
}

// The metrics tell how far the log is, how far the views are, and whether all is well.
func TestMetricsOfTheLog(t *testing.T) {
	t.Parallel()
	p := ready(t, "--data-dir", t.TempDir())
	p.openShop("checkout")
	position := p.position()
	p.await("the metrics show the log", func(ctx context.Context) error {
		if a := p.send(ctx, request{path: "/admin/v1/log/checkpoint"}); a.status != http.StatusOK { // is made when it is asked for
			return fmt.Errorf("no checkpoint: %d %s, error %w", a.status, a.body, a.err)
		}
		text := string(p.send(ctx, request{path: "/metrics"}).body)
		for _, line := range []string{
			"flagledger_ready 1", "flagledger_views_lag 0", fmt.Sprintf("flagledger_views_position %d", position), fmt.Sprintf("flagledger_log_position %d", position),
			fmt.Sprintf("flagledger_checkpoint_position %d", position), "flagledger_checkpoint_stopped 0", "flagledger_checkpoint_failures_total 0",
			"flagledger_checkpoint_unreadable_total 0", "flagledger_checkpoint_copies_waiting 0", "flagledger_event_streams 0",
		} {
			if !strings.Contains(text, "\n"+line+"\n") {
				return fmt.Errorf("they lack %s", line)
			}
		}
		if !strings.Contains(text, "\nflagledger_checkpoint_timestamp_seconds 1") {
			return errors.New("they do not tell when the checkpoint was signed")
		}
		return nil
	})
}

// Connections beyond the most that there may be wait until others end.
func TestMaxConnections(t *testing.T) {
	t.Parallel()
	p := ready(t, "--data-dir", t.TempDir(), "--max-connections", "3")
	var open []net.Conn
	dial := func() net.Conn {
		t.Helper()
		conn, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
	for range 3 {
		open = append(open, dial())
	}
	further := dial()
	if _, err := io.WriteString(further, "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if err := further.SetReadDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if n, err := further.Read(make([]byte, 1)); n > 0 {
		t.Errorf("a fourth connection is answered at once, %v", err)
	}
	for _, conn := range open {
		if err := conn.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := further.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if answer, err := io.ReadAll(further); !bytes.HasPrefix(answer, []byte("HTTP/1.1 200")) {
		t.Errorf("when the others have ended it is answered %q, %v", answer, err)
	}
}
