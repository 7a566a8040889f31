package redis_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/musterhq/muster/adapter/redis"
	"github.com/musterhq/muster/port"
)

// A backend is opened once for each process and shared. The password is not in the URL, and what prints the configuration prints no
// secret. (Nobody answers at this address.)
func ExampleOpen() {
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	c := redis.Config{URL: "redis://orders@127.0.0.1:1/0", PasswordEnv: "REDIS_PASSWORD", Namespace: "shop"}
	fmt.Println(c)
	b, err := redis.Open(ctx, c)
	if err != nil {
		fmt.Println("not opened")
		return
	}
	defer func() {
		if err := b.Close(); err != nil {
			log.Print(err)
		}
	}()
	if h := b.Health(ctx); h.State != port.Healthy {
		log.Print(h.Details) // whole sentences: what endangers a promise, and what to do
	}
	// Output:
	// redis redis://orders@127.0.0.1:1/0 namespace "shop"
	// not opened
}
