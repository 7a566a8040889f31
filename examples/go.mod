module github.com/musterhq/muster/examples

go 1.26

replace github.com/musterhq/muster => ../
