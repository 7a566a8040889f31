package dir_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/musterhq/muster/adapter/dir"
	"github.com/musterhq/muster/port"
)

func Example() {
	path, err := os.MkdirTemp("", "blobs")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { fmt.Println("removed:", os.RemoveAll(path)) }()
	ctx := context.Background()

	b, err := dir.Open(path)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { fmt.Println("closed:", b.Close()) }()
	for range 2 {
		_, err := b.Put(ctx, "reports/today.txt", strings.NewReader("all is well"), port.PutOptions{IfAbsent: true})
		fmt.Println("put:", err == nil, errors.Is(err, port.ErrConflict))
	}
	for blob, err := range b.List(ctx, "reports/") {
		fmt.Println(blob.Key, blob.Size, err)
	}
	digest, err := port.Contents{Blobs: b}.Put(ctx, []byte("hello"))
	fmt.Println(digest[:8], err)
	// Output:
	// put: true false
	// put: false true
	// reports/today.txt 11 <nil>
	// 2cf24dba <nil>
	// closed: <nil>
	// removed: <nil>
}
