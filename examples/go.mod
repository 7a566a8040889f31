module github.com/musterhq/muster/examples

go 1.26

require github.com/musterhq/muster v0.0.0

replace github.com/musterhq/muster => ../
