// Package commands carries out changes. A [Change] says who asks for what and
// why; its commands are data. [Service.Do] decides them against the state of
// the project, appends the resulting events as one commit, and waits until the
// views show it. Deciding is pure, so a lost race is simply decided again.
//
// There is one file per noun with the commands about it. A command's Decide
// returns the events it leads to, none where everything already is as asked,
// or a refusal (*domain.Error).
package commands

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"flagledger/domain"
	"flagledger/domain/evaluation"
)

// ErrConflict is what a Log returns when the project's subject has moved on
// since the expected position.
var ErrConflict = errors.New("the log has moved on")

// decideWithin is for how long a change waits for its turn and for the log, and
// a lost race is decided again. Where other processes keep a project busy, the one that waits
// for its views to follow may lose many times.
const decideWithin = 10 * time.Second

// visibleWithin is how long a change waits for the views to show it.
const visibleWithin = 2 * time.Second

// A Log keeps commits.
type Log interface {
	// Append records the commit if the last one of its project is at the
	// expected position (0: there is none), and returns its own position once
	// it is durable.
	Append(ctx context.Context, commit domain.Commit, expected uint64) (uint64, error)
}

// Views are the read side, as far as deciding needs it.
type Views interface {
	Project(id string) *domain.Project
	Wait(ctx context.Context, position uint64) error
	// WaitProject returns when the project is at a later position than the given one.
	WaitProject(ctx context.Context, id string, after uint64) error
	// Answer finds the commit that an idempotency key led to; position 0: none.
	Answer(project, key string) (position uint64, requestHash string, err error)
	// KeyTaken tells whether an environment has the client key already.
	KeyTaken(clientKey string) bool
	// PastChanges returns what the selected commits of a project did, newest first.
	PastChanges(ctx context.Context, project string, selection domain.Selection) ([]domain.PastChange, error)
	// ChangesBetween returns what was done to an object of the project after one
	// position and before another, newest first.
	ChangesBetween(p *domain.Project, o domain.Object, after, before uint64) ([]domain.PastChange, error)
	// Past returns the project with one environment's parts as of a version of that environment.
	Past(p *domain.Project, environment string, version uint64) (*domain.Project, error)
	// Seed returns the seed that the state of a deleted feature had in an
	// environment, as known at p; 0 where it had none.
	Seed(p *domain.Project, environment string, feature *domain.Feature) (int32, error)
}

// Persons gives persons their surrogates. It lies outside the log.
type Persons interface {
	// Surrogate returns the person's durable surrogate, making one if need be.
	Surrogate(ctx context.Context, project string, environment int32, identifier string) (string, error)
	// Lookup returns the person's surrogate, "" when the person is not known.
	Lookup(project string, environment int32, identifier string) string
	// Name returns the identifier of the person the surrogate stands for, "" of one who was erased.
	Name(project string, environment int32, surrogate string) string
}

// A Command is one thing asked for. It is data: it can be kept, shown and
// decided again.
type Command interface {
	// Decide returns the events that carry the command out.
	Decide(p *domain.Project, in *Inputs) ([]domain.Event, error)
	// Needs says which right the command asks for.
	Needs() Need
}

// A Need is a right, in one environment or (Environment empty) in the whole project.
type Need struct {
	Right       domain.Right
	Environment string
}

// Inputs is what a decision takes from outside the project's state.
type Inputs struct {
	Context context.Context
	Limits  domain.Limits
	Now     time.Time
	DryRun  bool
	Views   Views
	Persons Persons

	newcomer string // whom a dry run gave no surrogate; of several, one whom SDKs take for others
}

// A Change is what a person or program asks for.
type Change struct {
	Project  string // key; empty for the organisation
	Commands []Command

	Actor         domain.Actor
	Client        domain.Client
	Source        domain.Source
	Reason        string
	Ticket        string
	CorrelationID string

	// IdempotencyKey makes a retry return the first answer. RequestHash tells
	// a retry from another request under the same key.
	IdempotencyKey string
	RequestHash    string

	// IfMatch, where not 0, is the revision that Object must have.
	IfMatch uint64
	Object  domain.Object

	// Listed says that whoever asks knows of the commands as a list: refusals
	// then say which of them they are about.
	Listed bool

	// OverrideTests lets cases of rules break; Reason must say why.
	OverrideTests bool

	// DryRun decides without recording. ShowBroken then tells of cases that would
	// break instead of refusing.
	DryRun, ShowBroken bool
}

// A Result is what became of a change.
type Result struct {
	// Position of the commit. Where nothing was to be recorded, that of the
	// project's last commit.
	Position uint64
	Recorded bool
	// Visible is false when the views did not show the commit in time.
	Visible bool
	// Replayed is true when an earlier request under the same idempotency key
	// has been carried out and this one was not.
	Replayed bool
	Events   []domain.Event
	Objects  []domain.Object     // what the events change
	Broken   []domain.FieldError // cases that do not hold any more
	Before   *domain.Project
	After    *domain.Project
}

// Service carries out changes. It may be used by any number of goroutines.
type Service struct {
	log     Log
	views   Views
	persons Persons
	limits  domain.Limits
	now     func() time.Time

	mu    sync.Mutex
	lines map[string]*line // by project id
}

// line puts the changes of one project one behind the other, and remembers the
// state after the last one, which may be ahead of the views.
type line struct {
	turn chan struct{} // full while it is somebody's
	head *domain.Project
	// nothing remembers, by idempotency key, what led to no commit.
	nothing map[string]answer
}

// answer is what is kept of an answered change.
type answer struct {
	position uint64
	hash     string // of the request
}

// New makes a service. now is the clock that commits are stamped with.
func New(log Log, views Views, persons Persons, limits domain.Limits, now func() time.Time) *Service {
	return &Service{log: log, views: views, persons: persons, limits: limits, now: now, lines: map[string]*line{}}
}

// Limits are those that changes are held to.
func (s *Service) Limits() domain.Limits { return s.limits }

// Do carries a change out: all of it, or nothing.
func (s *Service) Do(ctx context.Context, ch Change) (Result, error) {
	ch.Reason, ch.Ticket = domain.Trim(ch.Reason), domain.Trim(ch.Ticket)
	if err := s.check(ch); err != nil {
		return Result{}, err
	}
	id := domain.OrganisationID
	if ch.Project != "" {
		id = domain.ProjectID(ch.Project)
	}
	result, err := s.record(ctx, id, ch)
	if err != nil || ch.DryRun {
		return result, err
	}
	wait, cancel := context.WithTimeout(ctx, visibleWithin)
	defer cancel()
	result.Visible = s.views.Wait(wait, result.Position) == nil
	if p := s.views.Project(id); result.Recorded && p.Position == result.Position {
		result.After = p // with the stream's times
	}
	return result, nil
}

func (s *Service) check(ch Change) error {
	if len(ch.Commands) == 0 {
		return domain.RefuseField(domain.Malformed, "commands", "there is no command in the change")
	}
	for _, c := range ch.Commands {
		if _, planned := c.(Planner); planned && ch.Reason == "" && !ch.DryRun {
			return domain.RefuseField(domain.Invalid, "reason", "this needs a reason")
		}
	}
	for _, text := range []struct{ field, value string }{{"reason", ch.Reason}, {"ticket", ch.Ticket}, {"Idempotency-Key", ch.IdempotencyKey}} {
		if err := s.limits.CheckText(text.field, text.value); err != nil {
			return err
		}
	}
	return nil
}

// record decides and appends, again and again while others are faster.
func (s *Service) record(ctx context.Context, id string, ch Change) (Result, error) {
	trying, cancel := context.WithTimeout(ctx, decideWithin)
	defer cancel()
	line := s.line(id)
	select {
	case line.turn <- struct{}{}:
		defer func() { <-line.turn }()
	case <-trying.Done():
	}
	if trying.Err() != nil { // nobody waits for all who stand before, each of whom waits for a log that is away
		return Result{}, domain.Refuse(domain.Unavailable, "other changes of the project have not been recorded for %v; try again", decideWithin)
	}
	in := &Inputs{Context: trying, Limits: s.limits, Now: s.now(), DryRun: ch.DryRun, Views: s.views, Persons: s.persons}
	commitID := uuid.Must(uuid.NewV7()).String()
	for {
		p := s.views.Project(id)
		if line.head != nil && line.head.Position > p.Position {
			p = line.head
		}
		if replayed, err := s.replay(trying, line, p, ch); err != nil || replayed.Replayed {
			return replayed, err
		}
		result, err := decide(p, ch, in)
		if err == nil && len(result.Events) == 0 && !ch.DryRun {
			line.remember(ch, p.Position)
		}
		if err != nil || len(result.Events) == 0 || ch.DryRun {
			return result, err
		}
		commit := ch.commit(commitID, id, s.now().UTC(), result)
		position, err := s.log.Append(trying, commit, p.Position)
		if errors.Is(err, ErrConflict) {
			line.head = nil
			if err := s.views.WaitProject(trying, id, p.Position); err != nil {
				return Result{}, domain.Refuse(domain.Unavailable, "others were faster to change the project, and this process does not see it yet: %v; try again", err)
			}
			continue
		}
		if err != nil {
			line.head = nil
			if _, refused := errors.AsType[*domain.Error](err); !refused && trying.Err() != nil && ctx.Err() == nil {
				err = domain.Refuse(domain.Unavailable, "the change was not recorded within %v: %v; try again", decideWithin, err)
			}
			return Result{}, fmt.Errorf("append commit %s: %w", commit.ID, err)
		}
		result.Position, result.Recorded = position, true
		result.After, _ = p.Evolve(result.Events, domain.Stamp{Position: position, Time: commit.Time})
		line.head = result.After
		return result, nil
	}
}

// replay finds the first answer to a retried request.
func (s *Service) replay(ctx context.Context, line *line, p *domain.Project, ch Change) (Result, error) {
	if ch.IdempotencyKey == "" || ch.DryRun {
		return Result{}, nil
	}
	if err := s.views.Wait(ctx, p.Position); err != nil { // what was recorded just now counts too
		return Result{}, domain.Refuse(domain.Unavailable, "cannot look up the idempotency key now: %v", err)
	}
	position, hash, err := s.views.Answer(p.ID, ch.IdempotencyKey)
	recorded := position > 0
	if none, known := line.nothing[ch.IdempotencyKey]; !recorded && known {
		position, hash = none.position, none.hash
	}
	if err != nil || position == 0 {
		return Result{}, err
	}
	if hash != ch.RequestHash && !recorded {
		return Result{}, domain.RefuseField(domain.Invalid, "Idempotency-Key", "%q was used for another request, which had nothing to record; use a new key", ch.IdempotencyKey)
	}
	if hash != ch.RequestHash {
		return Result{}, domain.RefuseField(domain.Invalid, "Idempotency-Key", "%q was used for another request, recorded at position %d; use a new key", ch.IdempotencyKey, position)
	}
	return Result{Position: position, Recorded: recorded, Replayed: true, Before: p, After: p}, nil
}

// maxNothing bounds how many answers without a commit are remembered.
const maxNothing = 10_000

// remember keeps the answer to a change that recorded nothing, so that a retry
// is not carried out after somebody else has changed what it is about. The log
// knows nothing of it: after a restart it is forgotten.
func (l *line) remember(ch Change, position uint64) {
	if ch.IdempotencyKey == "" {
		return
	}
	if len(l.nothing) >= maxNothing {
		clear(l.nothing)
	}
	if l.nothing == nil {
		l.nothing = map[string]answer{}
	}
	l.nothing[ch.IdempotencyKey] = answer{position, ch.RequestHash}
}

func (s *Service) line(id string) *line {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.lines[id]
	if l == nil {
		l = &line{turn: make(chan struct{}, 1)}
		s.lines[id] = l
	}
	return l
}

// decide leads each command to its events, each against the state that the
// ones before it lead to.
func decide(p *domain.Project, ch Change, in *Inputs) (Result, error) {
	if ch.IfMatch != 0 {
		if now := p.Revision(ch.Object); now != ch.IfMatch {
			e := domain.RefuseField(domain.Stale, "If-Match", "%s is at revision %d, not %d; read it again", ch.Object, now, ch.IfMatch)
			e.Revision = now
			return Result{}, e
		}
	}
	result := Result{Position: p.Position, Before: p, After: p}
	at := domain.Stamp{Position: p.Position, Time: in.Now}
	seen := map[domain.Object]bool{}
	for i, c := range ch.Commands {
		events, err := c.Decide(result.After, in)
		if refusal, ok := errors.AsType[*domain.Error](err); ok && refusal.Kind == domain.NotFound && !result.After.Exists() && ch.Project != "" {
			err = domain.RefuseField(domain.NotFound, "project", "there is no project %q", ch.Project) // the state does not know its key
		}
		if err != nil && ch.Listed {
			err = InCommand(err, i)
		}
		if err != nil {
			return Result{}, err
		}
		next, objects := result.After.Evolve(events, at)
		for _, o := range objects {
			if !seen[o] {
				seen[o] = true
				result.Objects = append(result.Objects, o)
			}
		}
		result.Events = append(result.Events, events...)
		result.After = next
	}
	if len(result.Events) == 0 {
		return result, nil
	}
	if err := cmp.Or(
		result.After.CheckReferences(result.Objects),
		in.Limits.CheckChange(p, result.After, result.Objects),
		checkListed(p, result.After, result.Objects, in),
	); err != nil {
		return Result{}, err
	}
	var err error
	if result.Broken, err = brokenTests(p, result.After, ch, result.Objects, in); err != nil {
		return Result{}, err
	}
	return result, checkTests(ch, result.Broken)
}

// InCommand says which of several commands a refusal is about.
func InCommand(err error, i int) error {
	refusal, ok := errors.AsType[*domain.Error](err)
	if !ok {
		return err
	}
	in := func(field string) string { return strings.TrimSuffix(fmt.Sprintf("commands[%d].%s", i, field), ".") }
	e := *refusal
	e.Field, e.Errors = in(e.Field), slices.Clone(e.Errors)
	for j := range e.Errors {
		e.Errors[j].Field = in(e.Errors[j].Field)
	}
	return &e
}

func (ch Change) commit(id, project string, now time.Time, decided Result) domain.Commit {
	correlation := ch.CorrelationID
	if correlation == "" {
		correlation = id
	}
	return domain.Commit{
		ID: id, Project: project, Time: now, Actor: ch.Actor, Client: ch.Client, Source: ch.Source,
		Reason: ch.Reason, Ticket: ch.Ticket, CorrelationID: correlation,
		IdempotencyKey: ch.IdempotencyKey, RequestHash: ch.RequestHash, TestsOverridden: len(decided.Broken) > 0, Events: decided.Events,
	}
}

// numbers hands out SDK-facing numbers.
type numbers struct {
	last int32
	err  error
}

func numbersOf(p *domain.Project) *numbers { return &numbers{last: p.LastID} }

// next is the next number. When there are none left, err is set.
func (n *numbers) next() int32 {
	if n.last == 1<<31-1 {
		n.err = domain.Refuse(domain.LimitReached, "the project has used up its 2147483647 SDK-facing numbers")
		return 0
	}
	n.last++
	return n.last
}

// Optional is a member that may be left out, as distinct from null.
type Optional[T any] struct {
	Set   bool
	Value T
}

// Or is the value, or the given one where it was left out.
func (o Optional[T]) Or(other T) T {
	if o.Set {
		return o.Value
	}
	return other
}

// Some is an Optional that was given.
func Some[T any](v T) Optional[T] { return Optional[T]{Set: true, Value: v} }

// value checks a feature's value: a string, an integer of 32 bits, a boolean or
// null, as all SDKs read them.
func (in *Inputs) value(field string, v evaluation.Value) error {
	switch v.Kind() {
	case evaluation.KindFloat:
		return domain.RefuseField(domain.Invalid, field, "%s is not an integer; a value is a string, an integer, a boolean or null: write it as a string", v.String())
	case evaluation.KindInt:
		if n, _ := v.AsInt(); n != int64(int32(n)) {
			return domain.RefuseField(domain.Invalid, field, "%d does not fit into 32 bits, which not all SDKs can read; write it as a string", n)
		}
	case evaluation.KindString:
		if s, _ := v.AsString(); len([]rune(s)) > in.Limits.ValueLength {
			return domain.RefuseField(domain.LimitReached, field, "the value has %d characters; the limit is %d", len([]rune(s)), in.Limits.ValueLength)
		}
	}
	return nil
}
