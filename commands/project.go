package commands

import (
	"strings"

	"flagledger/domain"
)

// CreateProject opens the project that the change is about.
type CreateProject struct {
	Name              string `json:"name"`
	Description       string `json:"description"`
	HideDisabledFlags bool   `json:"hide_disabled_flags"`
	PersistTraits     *bool  `json:"persist_traits"` // true where left out
	StrictContexts    bool   `json:"strict_contexts"`
	Key               string `json:"key"`
}

// Needs implements Command.
func (CreateProject) Needs() Need { return Need{Right: domain.Manage} }

// Decide implements Command.
func (c CreateProject) Decide(p *domain.Project, in *Inputs) ([]domain.Event, error) {
	if err := domain.CheckKey("key", c.Key); err != nil {
		return nil, err
	}
	if p.ID != domain.ProjectID(c.Key) {
		return nil, domain.RefuseField(domain.Invalid, "key", "this is a change of another project than %q", c.Key)
	}
	if p.Exists() {
		return nil, domain.RefuseField(domain.Conflict, "key", "there is already a project %q", c.Key)
	}
	if c.Name == "" {
		c.Name = c.Key
	}
	if err := checkTexts(in, "name", c.Name, "description", c.Description); err != nil {
		return nil, err
	}
	return []domain.Event{domain.ProjectCreated{
		Key: c.Key, Name: c.Name, Description: c.Description,
		ProjectSettings: domain.ProjectSettings{HideDisabledFlags: c.HideDisabledFlags, PersistTraits: or(c.PersistTraits, true), StrictContexts: c.StrictContexts},
	}}, nil
}

// UpdateProject changes what it names of the project.
type UpdateProject struct {
	Name              *string `json:"name"`
	Description       *string `json:"description"`
	HideDisabledFlags *bool   `json:"hide_disabled_flags"`
	PersistTraits     *bool   `json:"persist_traits"`
	StrictContexts    *bool   `json:"strict_contexts"`
}

// Needs implements Command.
func (UpdateProject) Needs() Need { return Need{Right: domain.Manage} }

// Decide implements Command.
func (c UpdateProject) Decide(p *domain.Project, in *Inputs) ([]domain.Event, error) {
	if err := exists(p); err != nil {
		return nil, err
	}
	now := domain.ProjectUpdated{Name: p.Name, Description: p.Description, ProjectSettings: p.ProjectSettings}
	next := now
	next.Name, next.Description = or(c.Name, now.Name), or(c.Description, now.Description)
	next.HideDisabledFlags, next.PersistTraits = or(c.HideDisabledFlags, now.HideDisabledFlags), or(c.PersistTraits, now.PersistTraits)
	next.StrictContexts = or(c.StrictContexts, now.StrictContexts)
	if next == now {
		return nil, nil
	}
	if next.StrictContexts && !now.StrictContexts {
		if err := checkAllRules(p, func(q *domain.Project) { q.StrictContexts = true }); err != nil {
			return nil, err
		}
	}
	return []domain.Event{next}, checkNamed(in, "project", next.Name, next.Description)
}

// DeleteProject ends the project. Its environments must be gone before.
type DeleteProject struct{}

// Needs implements Command.
func (DeleteProject) Needs() Need { return Need{Right: domain.Manage} }

// Decide implements Command.
func (DeleteProject) Decide(p *domain.Project, _ *Inputs) ([]domain.Event, error) {
	if err := exists(p); err != nil {
		return nil, err
	}
	var used []string
	for key := range p.Environments.All() {
		used = append(used, key)
	}
	if len(used) > 0 {
		return nil, domain.Refuse(domain.Conflict, "project %q still has environments: %s; delete them first", p.Key, strings.Join(used, ", "))
	}
	return []domain.Event{domain.ProjectDeleted{Key: p.Key}}, nil
}

func exists(p *domain.Project) error {
	if p.Exists() {
		return nil
	}
	return domain.RefuseField(domain.NotFound, "project", "there is no such project")
}

// environmentOf finds an environment, or refuses.
func environmentOf(p *domain.Project, key string) (*domain.Environment, error) {
	if err := exists(p); err != nil {
		return nil, err
	}
	if env := p.Environments.Get(key); env != nil {
		return env, nil
	}
	return nil, domain.RefuseField(domain.NotFound, "environment", "there is no environment %q in project %q", key, p.Key)
}

// featureOf finds a feature, or refuses.
func featureOf(p *domain.Project, key string) (*domain.Feature, error) {
	if err := exists(p); err != nil {
		return nil, err
	}
	if f := p.Features.Get(key); f != nil {
		return f, nil
	}
	return nil, domain.RefuseField(domain.NotFound, "feature", "there is no feature %q in project %q", key, p.Key)
}

// segmentOf finds a segment, or refuses.
func segmentOf(p *domain.Project, key string) (*domain.Segment, error) {
	if err := exists(p); err != nil {
		return nil, err
	}
	if s := p.Segments.Get(key); s != nil {
		return s, nil
	}
	return nil, domain.RefuseField(domain.NotFound, "segment", "there is no segment %q in project %q", key, p.Key)
}

// inEnvironment finds a feature and an environment, or refuses.
func inEnvironment(p *domain.Project, environment, feature string) (*domain.Environment, *domain.Feature, error) {
	env, err := environmentOf(p, environment)
	if err != nil {
		return nil, nil, err
	}
	f, err := featureOf(p, feature)
	return env, f, err
}

// checkTexts checks pairs of a field's name and its text.
func checkTexts(in *Inputs, pairs ...string) error {
	for i := 0; i < len(pairs); i += 2 {
		if err := in.Limits.CheckText(pairs[i], pairs[i+1]); err != nil {
			return err
		}
	}
	return nil
}

// checkNamed checks the name and description of what cannot do without a name.
func checkNamed(in *Inputs, noun, name, description string) error {
	if name == "" {
		return domain.RefuseField(domain.Invalid, "name", "a %s needs a name", noun)
	}
	return checkTexts(in, "name", name, "description", description)
}

func or[T any](v *T, other T) T {
	if v == nil {
		return other
	}
	return *v
}
