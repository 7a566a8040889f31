package main

import (
	"errors"
	"strconv"
	"strings"
)

// size is a number of bytes as people write it: 1048576, 500MB, 10GiB. It is a flag's value.
type size int64

// leastSize is the smallest store that there is.
const leastSize = 1 << 20

func (s *size) Type() string { return "size" }

// String is "" for none, which is no default to be told of.
func (s *size) String() string {
	if *s == 0 {
		return ""
	}
	return strconv.FormatInt(int64(*s), 10)
}

// Set reads a whole number with a unit of 1,000 or 1,024, or none.
func (s *size) Set(text string) error {
	bad := errors.New("it is a size such as 500MB or 10GiB, at least 1MiB")
	digits := strings.TrimRight(text, "BKMGTikb")
	unit, ok := map[string]int64{
		"": 1, "B": 1, "kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40,
	}[strings.TrimPrefix(text, digits)]
	n, err := strconv.ParseInt(digits, 10, 64)
	if !ok || err != nil || n < 0 || n > (1<<60)/unit || n*unit < leastSize {
		return bad
	}
	*s = size(n * unit)
	return nil
}
