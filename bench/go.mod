module github.com/musterhq/muster/bench

go 1.26

replace github.com/musterhq/muster => ../
