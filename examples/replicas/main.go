// Command replicas is an HTTP service of which several replicas run on one Redis. Each answers from its own memory, and none
// answers with anything older than a second:
//
//	go run ./examples/replicas -listen :8001 -redis redis://localhost:6379 &
//	go run ./examples/replicas -listen :8002 -redis redis://localhost:6379 &
//	curl -X PUT -d 'Ann' localhost:8001/users/42
//	curl localhost:8002/users/42
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/adapter/redis"
	"github.com/musterhq/muster/cache"
	"github.com/musterhq/muster/port"
)

func main() {
	listen := flag.String("listen", ":8001", "where to serve")
	url := flag.String("redis", "redis://localhost:6379", "the Redis that all replicas share")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *listen, *url); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, listen, url string) error {
	b, err := redis.Open(ctx, redis.Config{URL: url})
	if err != nil {
		return err
	}
	s := newService(b, b)
	server := &http.Server{Addr: listen, Handler: s.handler(), ReadHeaderTimeout: 5 * time.Second}
	err = muster.Run(ctx,
		s.users.Follow,
		func(context.Context) error {
			if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
				return err
			}
			return nil
		},
		func(ctx context.Context) error {
			<-ctx.Done()
			return server.Shutdown(context.WithoutCancel(ctx))
		},
	)
	return errors.Join(err, b.Close())
}

// service is one replica.
type service struct {
	source port.KV // where users really live; a database, in earnest
	users  *cache.Cache[string]
}

func newService(source port.KV, b cache.Backend) *service {
	return &service{source: source, users: cache.New(b, "users", cache.Config[string]{Bound: time.Second, Negative: 10 * time.Second})}
}

func (s *service) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /users/{id}", s.get)
	mux.HandleFunc("PUT /users/{id}", s.put)
	return mux
}

func (s *service) get(w http.ResponseWriter, r *http.Request) {
	// While Redis does not answer, a copy of at most a minute is better than an error; the client is told its age.
	a, err := s.users.LoadStale(r.Context(), r.PathValue("id"), cache.Stale{IfError: time.Minute}, s.load)
	switch {
	case errors.Is(err, port.ErrNotFound):
		http.Error(w, "no such user", http.StatusNotFound)
	case err != nil:
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
	default:
		w.Header().Set("Age", fmt.Sprint(int(a.Age.Seconds())))
		if _, err := fmt.Fprintln(w, a.Value); err != nil {
			log.Printf("user %s: the client did not take the answer: %v", r.PathValue("id"), err)
		}
	}
}

// put changes the source first and the cache then: a load that read the source before loses against the deletion.
func (s *service) put(w http.ResponseWriter, r *http.Request) {
	name, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<10))
	if err == nil {
		_, err = s.source.Apply(r.Context(), port.Change{Key: "source/" + r.PathValue("id"), Value: name})
	}
	if err == nil {
		err = s.users.Delete(r.Context(), r.PathValue("id"))
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
	}
}

func (s *service) load(ctx context.Context, id string) (string, error) {
	got, err := s.source.Get(ctx, "source/"+id)
	if err != nil {
		return "", err
	}
	if !got[0].Found {
		return "", fmt.Errorf("user %q: %w", id, port.ErrNotFound)
	}
	return string(got[0].Bytes), nil
}
