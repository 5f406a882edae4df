package httpapi

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"flagledger/domain"
	"flagledger/projections"
)

// An event stream is opened by its address alone: browsers send no headers with
// it. So the address has a token, which says for which environment and SDK key
// it is, and is signed with what is known of that key. It is the same in all
// answers, from all processes, since clients take another address for another
// stream; and it is worth no more than the key, with which it ends.

// streamAddress is where the event stream of a key is.
func streamAddress(at sdkAccess) string {
	key := ""
	if at.key != nil {
		key = at.key.ID
	}
	subject := at.environment.Project + "/" + strconv.Itoa(int(at.environment.ID)) + "/" + key
	return ofrepStreams + base64.RawURLEncoding.EncodeToString(append(sign(subject, keyMaterial(at.snapshot.Environment, at.key)), subject...))
}

// signatureSize is the length of a signature in bytes.
const signatureSize = 16

func sign(subject, secret string) []byte {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte("event stream\n" + subject))
	return mac.Sum(nil)[:signatureSize]
}

// keyMaterial is what is known of an SDK key: of a server key its hash; client
// keys are public, and so are the addresses that can be made from them.
func keyMaterial(env *domain.Environment, key *domain.SDKKey) string {
	switch {
	case key == nil:
		return env.ClientKey
	case key.Kind == domain.ServerKey:
		return key.Hash
	}
	return key.Key
}

// A streamToken is what the address of a stream says.
type streamToken struct {
	environment projections.EnvironmentID
	key         string // id; "" for the environment's own client key
	subject     string
	signature   []byte
}

func parseToken(token string) (t streamToken, ok bool) {
	raw, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(raw) < signatureSize {
		return t, false
	}
	t.signature, t.subject = raw[:signatureSize], string(raw[signatureSize:])
	project, rest, _ := strings.Cut(t.subject, "/")
	environment, key, _ := strings.Cut(rest, "/")
	number, err := strconv.ParseInt(environment, 10, 32)
	t.environment, t.key = projections.EnvironmentID{Project: project, ID: int32(number)}, key
	return t, err == nil
}

// opens tells whether the token is one for the snapshot's environment, with a
// key that may be used now.
func (o *ofrep) opens(t streamToken, s *projections.Snapshot) bool {
	env := o.Views.Project(t.environment.Project).Environments.Get(s.Environment.Key) // keys are newer than the snapshot may be
	if env == nil {
		return false
	}
	var key *domain.SDKKey
	if t.key != "" {
		if key = env.Keys.Get(t.key); key == nil || !key.Usable(o.Now()) {
			return false
		}
	}
	return hmac.Equal(t.signature, sign(t.subject, keyMaterial(env, key)))
}

// stream tells a provider, for as long as it listens, to fetch the flags again
// when they may have changed. Whoever does not say that the current snapshot is
// the last that he was told of is told at once: providers do not ask by
// themselves after an interruption.
func (o *ofrep) stream(c echo.Context) error {
	token, ok := parseToken(c.Param("token"))
	if !ok {
		return errUnauthorized
	}
	id := token.environment
	snapshot := o.Views.Snapshot(id)
	if snapshot == nil || !o.opens(token, snapshot) {
		return errUnauthorized
	}
	if !o.enter(c) {
		return errTooManyStreams
	}
	defer o.leave()
	retry := time.Second + rand.N(2*time.Second) // not all at once
	first := fmt.Appendf(nil, "retry: %d\n\n", retry.Milliseconds())
	if c.Request().Header.Get("Last-Event-ID") != revision(id, snapshot) {
		first = append(first, refetchEvent(id, snapshot)...)
	}
	return o.follow(c, id, snapshot, first, 0, 0, func(s *projections.Snapshot, changed bool) []byte {
		switch {
		case !o.opens(token, s):
			return nil
		case changed:
			return refetchEvent(id, s)
		default:
			return heartbeatEvent
		}
	})
}

// refetchEvent is the event that tells of a snapshot.
func refetchEvent(id projections.EnvironmentID, s *projections.Snapshot) []byte {
	return s.Keep("refetch event", func(s *projections.Snapshot) any {
		revision := revision(id, s)
		return fmt.Appendf(nil, "id: %s\nevent: message\ndata: {\"type\":\"refetchEvaluation\",\"etag\":%q,\"lastModified\":%d}\n\n", revision, revision, s.Updated.Unix())
	}).([]byte)
}
