module github.com/musterhq/muster/examples

go 1.26.0

require (
	github.com/musterhq/muster v0.0.0
	github.com/musterhq/muster/adapter/nats v0.0.0
	github.com/musterhq/muster/adapter/redis v0.0.0
	github.com/musterhq/muster/cache v0.0.0
	github.com/musterhq/muster/delivery v0.0.0
	github.com/redis/go-redis/v9 v9.22.0
)

require (
	github.com/antithesishq/antithesis-sdk-go v0.8.0-default-no-op // indirect
	github.com/cespare/xxhash/v2 v2.3.0 // indirect
	github.com/google/go-tpm v0.9.8 // indirect
	github.com/google/jsonschema-go v0.4.3 // indirect
	github.com/klauspost/compress v1.20.3 // indirect
	github.com/maypok86/otter/v2 v2.4.0 // indirect
	github.com/minio/highwayhash v1.0.4 // indirect
	github.com/nats-io/jwt/v2 v2.8.2 // indirect
	github.com/nats-io/nats-server/v2 v2.15.2 // indirect
	github.com/nats-io/nats.go v1.55.0 // indirect
	github.com/nats-io/nkeys v0.4.16 // indirect
	github.com/nats-io/nuid v1.0.1 // indirect
	github.com/redis/rueidis v1.0.79 // indirect
	go.uber.org/atomic v1.11.0 // indirect
	golang.org/x/crypto v0.58.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
	golang.org/x/time v0.16.0 // indirect
)

replace github.com/musterhq/muster => ../

replace github.com/musterhq/muster/adapter/nats => ../adapter/nats

replace github.com/musterhq/muster/adapter/redis => ../adapter/redis

replace github.com/musterhq/muster/delivery => ../delivery

replace github.com/musterhq/muster/cache => ../cache
