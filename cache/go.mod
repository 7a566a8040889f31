module github.com/musterhq/muster/cache

go 1.26

require (
	github.com/maypok86/otter/v2 v2.4.0
	github.com/musterhq/muster v0.0.0
)

require pgregory.net/rapid v1.3.0

replace github.com/musterhq/muster => ../
