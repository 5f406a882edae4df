package eventstore

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// TestOutcomeOf: what is not known to be certain is unknown.
func TestOutcomeOf(t *testing.T) {
	api := func(status int, code jetstream.ErrorCode) error {
		return fmt.Errorf("nats: %w", &jetstream.APIError{Code: status, ErrorCode: code})
	}
	tests := []struct {
		name string
		err  error
		want outcome
	}{
		{"wrong last sequence, single server", api(400, 10071), stale},
		{"wrong last sequence, cluster", api(400, 10164), contended},
		{"duplicate message id in process", api(409, 10158), unknown},
		{"store failed", api(503, 10077), unknown},
		{"insufficient resources", api(503, 10023), full},
		{"insufficient storage", api(500, 10047), full},
		{"account resources exceeded", api(400, 10002), full},
		{"message too large", api(400, 10054), tooLarge},
		{"not the leader", api(500, 10009), away},
		{"temporarily unavailable", api(503, 10008), away},
		{"JetStream not enabled", jetstream.ErrJetStreamNotEnabled, away},
		{"another stream", api(400, 10060), refused},
		{"sealed stream", api(400, 10109), refused},
		{"id of another project", &duplicateError{}, refused},
		{"larger than the connection takes", nats.ErrMaxPayload, tooLarge},
		{"not connected", nats.ErrReconnectBufExceeded, away},
		{"nobody listens", nats.ErrNoResponders, away},
		{"no stream listens", jetstream.ErrNoStreamResponse, away},
		{"time over", context.DeadlineExceeded, unknown},
		{"caller gone", context.Canceled, unknown},
		{"connection closed while waiting", nats.ErrConnectionClosed, unknown},
		{"answer that cannot be read", jetstream.ErrInvalidJSAck, unknown},
		{"anything else", errors.New("write: broken pipe"), unknown},
	}
	for _, tt := range tests {
		if got := outcomeOf(tt.err); got != tt.want {
			t.Errorf("%s (%v): outcome %d, want %d", tt.name, tt.err, got, tt.want)
		}
	}
}
