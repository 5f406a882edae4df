package backup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	apiSnapshot = "$JS.API.STREAM.SNAPSHOT."
	apiRestore  = "$JS.API.STREAM.RESTORE."

	// chunkSize is how many bytes go into one message, between client and server.
	chunkSize = 128 << 10
	// windowSize is how much a server may send ahead of what was taken.
	windowSize = 4 << 20
	// answerWithin is how long the server may take for one step. A snapshot of a
	// large stream first takes stock of it.
	answerWithin = time.Minute
	// readyWithin is how long the server may take until it can answer at all, and
	// askAgain how often that is tried.
	readyWithin, askAgain = 30 * time.Second, 50 * time.Millisecond
)

// A snapshot is what the server says of a stream as it begins to send it.
type snapshot struct {
	Config json.RawMessage `json:"config"`
	State  json.RawMessage `json:"state"`
}

// An apiError is an error as the server of JetStream writes it.
type apiError struct {
	Code        int    `json:"code"`
	ErrCode     int    `json:"err_code"`
	Description string `json:"description"`
}

func (e *apiError) Error() string { return fmt.Sprintf("NATS answers %d: %s", e.Code, e.Description) }

// call makes a request to the API of JetStream.
func call(ctx context.Context, nc *nats.Conn, subject string, request, answer any) error {
	body, err := json.Marshal(request)
	if err != nil {
		return err
	}
	return untilReady(ctx, func() error {
		data, err := askOnce(ctx, nc, subject, body)
		if err != nil {
			return err
		}
		return parse(data, answer)
	})
}

// ask sends a message and returns the answer.
func ask(ctx context.Context, nc *nats.Conn, subject string, body []byte) (answer []byte, err error) {
	err = untilReady(ctx, func() error {
		answer, err = askOnce(ctx, nc, subject, body)
		return err
	})
	return answer, err
}

func askOnce(ctx context.Context, nc *nats.Conn, subject string, body []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	msg, err := nc.RequestWithContext(ctx, subject, body)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", subject, err)
	}
	return msg.Data, nil
}

// untilReady asks again while the server is not ready to answer.
func untilReady(ctx context.Context, ask func() error) error {
	again := time.NewTicker(askAgain)
	defer again.Stop()
	for begun := time.Now(); ; {
		err := ask()
		if err == nil || !passes(err) || time.Since(begun) > readyWithin {
			return err
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return err
		}
	}
}

// passes tells whether the error is one that goes away by itself: nobody takes
// the message, which in a cluster may be for a moment after another server has
// named the subject, the servers have not all found each other, or there is no leader.
func passes(err error) bool {
	const noSuitablePeers = 10005
	refused, ok := errors.AsType[*apiError](err)
	return errors.Is(err, nats.ErrNoResponders) || ok && (refused.ErrCode == noSuitablePeers || refused.Code == 503)
}

func parse(data []byte, answer any) error {
	var failed struct {
		Error *apiError `json:"error"`
	}
	if err := errors.Join(json.Unmarshal(data, &failed), json.Unmarshal(data, answer)); err != nil {
		return fmt.Errorf("decode the answer of NATS: %w", err)
	}
	if failed.Error != nil {
		return failed.Error
	}
	return nil
}

// fetch has the server write a stream as of now to w, its messages with their
// sequences and times. Appending goes on meanwhile.
func fetch(ctx context.Context, nc *nats.Conn, stream string, w io.Writer) (snapshot, error) {
	inbox := nc.NewInbox()
	sub, err := nc.SubscribeSync(inbox)
	if err != nil {
		return snapshot{}, err
	}
	defer func() { _ = sub.Unsubscribe() }() // the connection may be gone
	var s snapshot
	err = call(ctx, nc, apiSnapshot+stream, map[string]any{
		"deliver_subject": inbox, "no_consumers": true, "chunk_size": chunkSize, "window_size": windowSize, "jsck": true,
	}, &s)
	if err != nil {
		return snapshot{}, err
	}
	for {
		msg, err := next(ctx, sub)
		if err != nil {
			return snapshot{}, err
		}
		if len(msg.Data) == 0 { // the end
			if status := msg.Header.Get("Status"); status != "" && status != "204" {
				return snapshot{}, fmt.Errorf("NATS broke off: %s %s", status, msg.Header.Get("Description"))
			}
			return s, nil
		}
		if _, err := w.Write(msg.Data); err != nil {
			return snapshot{}, err
		}
		if msg.Reply != "" {
			if err := nc.Publish(msg.Reply, nil); err != nil {
				return snapshot{}, err
			}
		}
	}
}

func next(ctx context.Context, sub *nats.Subscription) (*nats.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	return sub.NextMsgWithContext(ctx)
}

// put makes the server create a stream from a snapshot, held by so many servers.
func put(ctx context.Context, nc *nats.Conn, stream string, s snapshot, replicas int, r io.Reader) error {
	config := map[string]json.RawMessage{}
	if err := json.Unmarshal(s.Config, &config); err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	config["num_replicas"] = fmt.Append(nil, replicas)
	delete(config, "placement") // of the cluster it came from
	var deliver struct {
		Subject string `json:"deliver_subject"`
	}
	if err := call(ctx, nc, apiRestore+stream, map[string]any{"config": config, "state": s.State}, &deliver); err != nil {
		return err
	}
	chunk := make([]byte, chunkSize)
	for {
		n, err := io.ReadFull(r, chunk)
		if n > 0 {
			answer, err := ask(ctx, nc, deliver.Subject, chunk[:n])
			if err == nil && len(answer) > 0 { // a refusal
				err = parse(answer, &struct{}{})
			}
			if err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	answer, err := ask(ctx, nc, deliver.Subject, nil)
	if err != nil {
		return err
	}
	return parse(answer, &struct{}{})
}
