//go:build !unix

package bench

import "time"

func processTime() time.Duration { return 0 }
