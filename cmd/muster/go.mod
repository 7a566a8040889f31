module github.com/musterhq/muster/cmd/muster

go 1.26

require (
	github.com/musterhq/muster v0.0.0
	github.com/musterhq/muster/delivery v0.0.0
	github.com/spf13/cobra v1.10.2
)

require (
	github.com/google/jsonschema-go v0.4.3 // indirect
	github.com/inconshreveable/mousetrap v1.1.0 // indirect
	github.com/spf13/pflag v1.0.9 // indirect
)

replace github.com/musterhq/muster => ../../

replace github.com/musterhq/muster/delivery => ../../delivery
