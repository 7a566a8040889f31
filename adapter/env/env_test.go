package env_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/musterhq/muster/adapter/env"
	"github.com/musterhq/muster/port"
	"github.com/musterhq/muster/port/porttest"
)

const prefix = "MUSTER_ENV_TEST_"

func variable(name string) string {
	return prefix + strings.ToUpper(strings.NewReplacer(".", "_", "-", "_").Replace(name))
}

func TestVariablesPassTheContract(t *testing.T) {
	porttest.Secrets(t, porttest.SecretsSuite{Open: func(t *testing.T, secrets map[string]string) port.Secrets {
		for name, value := range secrets {
			t.Setenv(variable(name), value)
		}
		return env.Secrets{Prefix: prefix}
	}})
}

func TestFilesPassTheContract(t *testing.T) {
	porttest.Secrets(t, porttest.SecretsSuite{Open: func(t *testing.T, secrets map[string]string) port.Secrets {
		folder := t.TempDir()
		for name, value := range secrets {
			file(t, filepath.Join(folder, name), value)
			t.Setenv(variable(name)+"_FILE", filepath.Join(folder, name))
		}
		return env.Secrets{Prefix: prefix}
	}})
}

func file(t *testing.T, path, body string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(body), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestOneLineEndIsNoPartOfASecretInAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	t.Setenv(variable("key")+"_FILE", path)
	for body, want := range map[string]string{"v\n": "v", "v\r\n": "v", "v\n\n": "v\n", "v\r": "v\r", " v ": " v ", strings.Repeat("x", env.MaxFile): strings.Repeat("x", env.MaxFile)} {
		file(t, path, body)
		got, err := env.Secrets{Prefix: prefix}.Get(t.Context(), "key")
		if err != nil || got.Reveal() != want {
			t.Errorf("a file with %.10q gives %.10q, %v; want %.10q", body, got.Reveal(), err, want)
		}
	}
}

func TestASecretThatIsNotThereSaysWhichVariablesToSet(t *testing.T) {
	_, err := env.Secrets{Prefix: prefix}.Get(t.Context(), "api.my-key")
	for _, says := range []string{`"api.my-key"`, prefix + "API_MY_KEY nor " + prefix + "API_MY_KEY_FILE"} {
		if !errors.Is(err, port.ErrNotFound) || !strings.Contains(err.Error(), says) {
			t.Errorf("the error %v does not say %q", err, says)
		}
	}
}

func TestAFileThatDoesNotServeIsAnErrorThatNamesItsVariable(t *testing.T) {
	folder := t.TempDir()
	large, empty := filepath.Join(folder, "large"), filepath.Join(folder, "empty")
	file(t, large, strings.Repeat("hunter2", env.MaxFile))
	file(t, empty, "\n")
	for path, want := range map[string]error{
		large:                         port.ErrInvalid,
		empty:                         port.ErrNotFound,
		filepath.Join(folder, "none"): port.ErrNotFound,
		folder:                        port.ErrUnavailable,
		filepath.Join(large, "below"): port.ErrUnavailable,
	} {
		t.Setenv(variable("key")+"_FILE", path)
		_, err := env.Secrets{Prefix: prefix}.Get(t.Context(), "key")
		if !errors.Is(err, want) || !strings.Contains(err.Error(), prefix+"KEY_FILE") || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: error is %v, want %v with the variable's name", path, err, want)
		}
	}
}

func TestAVariableAndAFileAtOnceAreRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	file(t, path, "one")
	t.Setenv(variable("key")+"_FILE", path)
	t.Setenv(variable("key"), "two")
	if _, err := (env.Secrets{Prefix: prefix}).Get(t.Context(), "key"); !errors.Is(err, port.ErrInvalid) {
		t.Errorf("error is %v", err)
	}
}

func TestASecretIsReadAtEachGet(t *testing.T) {
	for _, value := range []string{"first", "second"} {
		t.Setenv("MUSTER_ENV_TEST_ROTATED", value)
		got, err := env.Secrets{}.Get(t.Context(), "muster_env_test_rotated")
		if err != nil || got.Reveal() != value {
			t.Errorf("got %q, %v; want %q", got.Reveal(), err, value)
		}
	}
}
