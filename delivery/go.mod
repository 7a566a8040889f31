module github.com/musterhq/muster/delivery

go 1.26

require (
	github.com/google/jsonschema-go v0.4.3
	github.com/musterhq/muster v0.0.0
)

replace github.com/musterhq/muster => ../
