package cache_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/musterhq/muster/adapter/memory"
	"github.com/musterhq/muster/cache"
	"github.com/musterhq/muster/port"
)

type User struct{ Name string }

func Example() {
	ctx, stop := context.WithCancel(context.Background())
	users := cache.New(memory.New(memory.Config{}), "users", cache.Config[User]{Bound: time.Second})
	followed := make(chan error)
	go func() { followed <- users.Follow(ctx) }()

	source := func(_ context.Context, key string) (User, error) {
		fmt.Println("loading", key)
		return User{Name: "Ann"}, nil
	}
	for range 2 {
		u, err := users.Load(ctx, "42", source)
		fmt.Println(u.Name, err)
	}
	// Ann marries: first the source, then the cache.
	fmt.Println(users.Delete(ctx, "42"))
	_, err := users.Get(ctx, "42")
	fmt.Println(errors.Is(err, port.ErrNotFound))

	stop()
	fmt.Println(<-followed)
	// Output:
	// loading 42
	// Ann <nil>
	// Ann <nil>
	// <nil>
	// true
	// <nil>
}

func ExampleCache_InvalidateTag() {
	ctx := context.Background()
	pages := cache.New(memory.New(memory.Config{}), "pages", cache.Config[string]{})
	render := func(_ context.Context, key string) (string, error) { return "page " + key, nil }
	page, err := pages.Load(ctx, "/ann", render, "user:42", "theme:dark")
	fmt.Println(page, err)
	fmt.Println(pages.InvalidateTag(ctx, "user:42"))
	_, err = pages.Get(ctx, "/ann")
	fmt.Println(errors.Is(err, port.ErrNotFound))
	// Output:
	// page /ann <nil>
	// <nil>
	// true
}

func ExampleCache_LoadStale() {
	ctx := context.Background()
	down := false
	b := memory.New(memory.Config{Fault: func(memory.Op) memory.Fault {
		if down {
			return memory.Fault{Err: port.ErrUnavailable}
		}
		return memory.Fault{}
	}})
	prices := cache.New(b, "prices", cache.Config[int]{})
	fmt.Println(prices.Set(ctx, "tea", 3))
	down = true
	source := func(context.Context, string) (int, error) { return 4, nil }
	_, err := prices.Load(ctx, "tea", source)
	fmt.Println(errors.Is(err, port.ErrUnavailable))
	a, err := prices.LoadStale(ctx, "tea", cache.Stale{IfError: time.Minute}, source)
	fmt.Println(a.Value, a.Stale, a.Age < time.Minute, err)
	// Output:
	// <nil>
	// true
	// 3 true true <nil>
}

func ExampleLargest() {
	ctx := context.Background()
	best := cache.New(memory.New(memory.Config{}), "scores", cache.Config[int]{Resolver: cache.Largest(cmp.Compare[int])})
	fmt.Println(best.Set(ctx, "ann", 7))
	err := best.Set(ctx, "ann", 5)
	fmt.Println(errors.Is(err, port.ErrConflict))
	got, err := best.Get(ctx, "ann")
	fmt.Println(got, err)
	// Output:
	// <nil>
	// true
	// 7 <nil>
}

// table is a local cache that somebody had before there was a fleet.
type table map[string]string

func (t table) Reset() { clear(t) }
func (t table) Apply(op cache.Op) {
	switch op.Kind {
	case cache.OpSet:
		t[op.Names[0]] = string(op.Value)
	case cache.OpDelete:
		for _, name := range op.Names {
			delete(t, name)
		}
	default:
		clear(t)
	}
}

func ExampleSync() {
	ctx, stop := context.WithCancel(context.Background())
	local := table{}
	rates := cache.NewSync(memory.New(memory.Config{}), "rates", local, cache.SyncConfig{})
	err := rates.Notify(ctx, cache.Op{Kind: cache.OpSet, Names: []string{"EUR"}, Value: []byte("1.09")})
	fmt.Println(err)
	stop() // Follow would apply it until then
	fmt.Println(rates.Follow(ctx))
	fmt.Println(rates.Serve(func() { fmt.Println(len(local)) }))
	// Output:
	// <nil>
	// <nil>
	// 0
	// false
}
