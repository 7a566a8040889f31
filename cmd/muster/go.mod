module github.com/musterhq/muster/cmd/muster

go 1.26

require (
	github.com/musterhq/muster v0.0.0
	github.com/musterhq/muster/adapter/redis v0.0.0
	github.com/musterhq/muster/cache v0.0.0
	github.com/musterhq/muster/delivery v0.0.0
	github.com/spf13/cobra v1.10.2
	github.com/spf13/pflag v1.0.9
	golang.org/x/sys v0.47.0
	golang.org/x/term v0.45.0
)

require (
	github.com/google/jsonschema-go v0.4.3 // indirect
	github.com/inconshreveable/mousetrap v1.1.0 // indirect
	github.com/maypok86/otter/v2 v2.4.0 // indirect
	github.com/redis/rueidis v1.0.79 // indirect
)

replace github.com/musterhq/muster => ../../

replace github.com/musterhq/muster/delivery => ../../delivery

replace github.com/musterhq/muster/adapter/redis => ../../adapter/redis

replace github.com/musterhq/muster/cache => ../../cache
