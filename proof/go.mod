module github.com/musterhq/muster/proof

go 1.26

replace github.com/musterhq/muster => ../
