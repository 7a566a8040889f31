module github.com/musterhq/muster/examples

go 1.26

require (
	github.com/musterhq/muster v0.0.0
	github.com/musterhq/muster/delivery v0.0.0
)

require github.com/google/jsonschema-go v0.4.3 // indirect

replace github.com/musterhq/muster => ../

replace github.com/musterhq/muster/delivery => ../delivery
