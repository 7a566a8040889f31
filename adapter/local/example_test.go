package local_test

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/musterhq/muster/adapter/local"
	"github.com/musterhq/muster/port"
)

func Example() {
	res, err := local.Runner{}.Run(context.Background(), port.Command{
		Program: "sh",
		Args:    []string{"-c", `tr a-z A-Z; echo "$GREETING" >&2; exit 3`},
		Dir:     os.TempDir(),
		Env:     []string{"PATH", "GREETING=hello"},
		Stdin:   []byte("in capitals\n"),
		Time:    time.Minute,
	})
	fmt.Printf("%s%s", res.Stdout, res.Stderr)
	fmt.Println(res.Ending, res.Exit, res.OK(), err)
	// Output:
	// IN CAPITALS
	// hello
	// exited 3 false <nil>
}
