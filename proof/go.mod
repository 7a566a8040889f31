module github.com/musterhq/muster/proof

go 1.26

require (
	github.com/anishathalye/porcupine v1.3.1
	github.com/maypok86/otter/v2 v2.4.0
	github.com/musterhq/muster v0.0.0
	github.com/musterhq/muster/adapter/redis v0.0.0
	github.com/musterhq/muster/cache v0.0.0
	github.com/redis/rueidis v1.0.79
)

require golang.org/x/sys v0.47.0 // indirect

replace (
	github.com/musterhq/muster => ../
	github.com/musterhq/muster/adapter/redis => ../adapter/redis
	github.com/musterhq/muster/cache => ../cache
)
