package commands

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"time"

	"github.com/google/uuid"

	"flagledger/domain"
)

// NewClientKey is a new random client-side SDK key: 26 characters, 130 bits.
func NewClientKey() string { return rand.Text() }

// Hash is how secrets are kept: the hex SHA-256. They are random and long, so
// that nothing slower is called for.
func Hash(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

var clientKeyForm = regexp.MustCompile(`^[A-Za-z0-9_-]{8,64}$`)

func checkClientKey(key string) error {
	if clientKeyForm.MatchString(key) {
		return nil
	}
	return domain.RefuseField(domain.Invalid, "client_key", "%q cannot be a client key; it is 8 to 64 of the characters A-Z a-z 0-9 _ -", key)
}

// CreateToken adds a bearer token of the administration. NewToken makes one.
type CreateToken struct {
	ID        string
	Name      string
	Hash      string
	Grants    []domain.Grant
	ExpiresAt time.Time
	// First makes it only where there has never been a token.
	First bool
}

// NewToken makes the command that adds a token, and its secret, which is not to
// be had again.
func NewToken(name string, grants []domain.Grant, expiresAt time.Time) (CreateToken, string) {
	return CreateToken{ID: uuid.NewString(), Name: name, Grants: grants, ExpiresAt: expiresAt}.WithSecret("flt_" + rand.Text() + rand.Text())
}

// WithSecret gives the token a secret of the caller's choice.
func (c CreateToken) WithSecret(secret string) (CreateToken, string) {
	c.Hash = Hash(secret)
	return c, secret
}

// Needs implements Command.
func (CreateToken) Needs() Need { return Need{Right: domain.Manage} }

// Decide implements Command.
func (c CreateToken) Decide(p *domain.Project, in *Inputs) ([]domain.Event, error) {
	if c.First && p.Position > 0 {
		return nil, nil
	}
	if c.Name == "" {
		return nil, domain.RefuseField(domain.Invalid, "name", "a token needs a name: the history shows it")
	}
	if err := checkTexts(in, "name", c.Name); err != nil {
		return nil, err
	}
	if len(c.Grants) == 0 {
		return nil, domain.RefuseField(domain.Invalid, "grants", "a token needs at least one grant")
	}
	for _, g := range c.Grants {
		if !g.Role.Known() {
			return nil, domain.RefuseField(domain.Invalid, "grants", "%q is not a role; there are viewer, auditor, editor, approver, admin", g.Role)
		}
		if g.Environment != "" && g.Project == "" {
			return nil, domain.RefuseField(domain.Invalid, "grants", "a grant for environment %q must name its project", g.Environment)
		}
	}
	if !c.ExpiresAt.IsZero() && !c.ExpiresAt.After(in.Now) {
		return nil, domain.RefuseField(domain.Invalid, "expires_at", "%s is in the past", c.ExpiresAt.Format(time.RFC3339))
	}
	for _, t := range p.Tokens.All() {
		if t.Hash == c.Hash {
			return nil, nil // asked for again with the same secret
		}
	}
	return []domain.Event{domain.TokenCreated{ID: c.ID, Name: c.Name, Hash: c.Hash, Grants: c.Grants, ExpiresAt: c.ExpiresAt}}, nil
}

// RevokeToken ends a token.
type RevokeToken struct {
	ID string `json:"id"`
}

// Needs implements Command.
func (RevokeToken) Needs() Need { return Need{Right: domain.Manage} }

// Decide implements Command.
func (c RevokeToken) Decide(p *domain.Project, in *Inputs) ([]domain.Event, error) {
	t := p.Tokens.Get(c.ID)
	if t == nil {
		return nil, domain.RefuseField(domain.NotFound, "id", "there is no token %q", c.ID)
	}
	for _, other := range p.Tokens.All() {
		if other.ID != t.ID && !other.Expired(in.Now) && other.Allows(domain.Manage, "", "") {
			return []domain.Event{domain.TokenRevoked{ID: t.ID}}, nil
		}
	}
	return nil, domain.Refuse(domain.Conflict, "token %q is the last one that may administer everything; create another first", t.Name)
}
