module github.com/musterhq/muster/examples

go 1.26

require (
	github.com/musterhq/muster v0.0.0
	github.com/musterhq/muster/adapter/redis v0.0.0
	github.com/musterhq/muster/cache v0.0.0
	github.com/musterhq/muster/delivery v0.0.0
	github.com/redis/go-redis/v9 v9.22.0
)

require (
	github.com/cespare/xxhash/v2 v2.3.0 // indirect
	github.com/google/jsonschema-go v0.4.3 // indirect
	github.com/maypok86/otter/v2 v2.4.0 // indirect
	github.com/redis/rueidis v1.0.79 // indirect
	go.uber.org/atomic v1.11.0 // indirect
	golang.org/x/sys v0.47.0 // indirect
)

replace github.com/musterhq/muster => ../

replace github.com/musterhq/muster/adapter/redis => ../adapter/redis

replace github.com/musterhq/muster/delivery => ../delivery

replace github.com/musterhq/muster/cache => ../cache
