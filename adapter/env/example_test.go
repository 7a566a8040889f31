package env_test

import (
	"context"
	"fmt"
	"os"

	"github.com/musterhq/muster/adapter/env"
)

func Example() {
	if err := os.Setenv("EXAMPLE_API_KEY", "hunter2"); err != nil {
		fmt.Println(err)
		return
	}

	secrets := env.Secrets{Prefix: "EXAMPLE_"}
	key, err := secrets.Get(context.Background(), "api-key")
	fmt.Printf("%v %q %+v %v\n", key, key, struct{ Key any }{key}, err)
	fmt.Println(len(key.Reveal()))

	_, err = secrets.Get(context.Background(), "signing-key")
	fmt.Println(err)
	fmt.Println(os.Unsetenv("EXAMPLE_API_KEY"))
	// Output:
	// [redacted] [redacted] {Key:[redacted]} <nil>
	// 7
	// env: secret "signing-key": neither EXAMPLE_SIGNING_KEY nor EXAMPLE_SIGNING_KEY_FILE is set; set one of them: not found
	// <nil>
}
