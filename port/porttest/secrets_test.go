package porttest

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/musterhq/muster/port"
)

// someSecrets is a sound source, unless get breaks it.
type someSecrets struct {
	values map[string]string
	get    func(s someSecrets, ctx context.Context, name string) (port.Secret, error)
}

func (s someSecrets) Get(ctx context.Context, name string) (port.Secret, error) {
	if s.get != nil {
		return s.get(s, ctx, name)
	}
	return s.sound(ctx, name)
}

func (s someSecrets) sound(ctx context.Context, name string) (port.Secret, error) {
	if err := port.CheckName("secret", name); err != nil {
		return port.Secret{}, err
	}
	if ctx.Err() != nil {
		return port.Secret{}, context.Cause(ctx)
	}
	if s.values[name] == "" {
		return port.Secret{}, fmt.Errorf("secret %q: %w", name, port.ErrNotFound)
	}
	return port.NewSecret(s.values[name]), nil
}

func secretsSuite(get func(s someSecrets, ctx context.Context, name string) (port.Secret, error)) SecretsSuite {
	return SecretsSuite{Open: func(_ *testing.T, secrets map[string]string) port.Secrets {
		return someSecrets{maps.Clone(secrets), get}
	}}
}

func TestBrokenSecretsAreCaught(t *testing.T) {
	catchAll(t, secretsPromises(), secretsSuite(nil), []broken[SecretsSuite]{
		{"trims spaces", secretsSuite(func(s someSecrets, ctx context.Context, name string) (port.Secret, error) {
			v, err := s.sound(ctx, name)
			return port.NewSecret(strings.TrimSpace(v.Reveal())), err
		}), []string{"a secret comes back to the byte"}},
		{"takes an absent secret for an empty one", secretsSuite(func(s someSecrets, ctx context.Context, name string) (port.Secret, error) {
			return port.NewSecret(s.values[name]), nil
		}), []string{"an empty secret is none", "a secret that is not there is not found, and the error says where it was looked for", "a name that is no name is refused"}},
		{"shows the secrets that it has in its error", secretsSuite(func(s someSecrets, ctx context.Context, name string) (port.Secret, error) {
			v, err := s.sound(ctx, name)
			if err != nil {
				err = fmt.Errorf("%w; there are %v", err, s.values)
			}
			return v, err
		}), []string{"errors show no secret"}},
		{"does not look at its context", secretsSuite(func(s someSecrets, _ context.Context, name string) (port.Secret, error) {
			return s.sound(context.Background(), name)
		}), []string{"a call whose context has ended says why"}},
		{"serves one caller at a time and refuses the next", secretsSuite(func(s someSecrets, ctx context.Context, name string) (port.Secret, error) {
			if name == "two" {
				return port.Secret{}, port.ErrUnavailable
			}
			return s.sound(ctx, name)
		}), []string{"many may ask at once"}},
	})
}
