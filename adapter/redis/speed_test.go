package redis_test

import (
	"bufio"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/musterhq/muster/adapter/redis"
	"github.com/musterhq/muster/internal/testserver"
	"github.com/musterhq/muster/port"
)

// BenchmarkServer tells how much processor time of the server a message takes in each step, in batches of 400 and alone, with bodies of
// 256 bytes and IDs of 36:
//
//	go test -run '^$' -bench Server -benchtime 5x ./adapter/redis
func BenchmarkServer(b *testing.B) {
	for i := range 4 {
		remembers, n := i%2 == 1, []int{400, 1}[i/2]
		b.Run("remembers="+strconv.FormatBool(remembers)+"/batch="+strconv.Itoa(n), func(b *testing.B) {
			g := port.Group{Topic: "orders", Name: "g", Consumer: "host-123456-0123456789abcdef", Loan: time.Minute}
			topic := port.Topic{Name: "orders", Window: -1}
			if remembers {
				g.Remember, topic.Window = time.Hour, time.Hour
			}
			benchmarkServer(b, topic, g, n)
		})
	}
}

func benchmarkServer(b *testing.B, topic port.Topic, g port.Group, n int) {
	s := testserver.Redis(b, testserver.RedisConfig{Appendfsync: "off"})
	q, err := redis.Open(b.Context(), redis.Config{URL: s.URL()})
	must := func(err error) {
		b.Helper()
		if err != nil {
			b.Fatal(err)
		}
	}
	must(err)
	b.Cleanup(func() { must(q.Close()) })
	conn, err := new(net.Dialer).DialContext(b.Context(), "tcp", s.Addr())
	must(err)
	b.Cleanup(func() { _ = conn.Close() }) // the server may have closed it before
	in := bufio.NewReader(conn)
	cpu := func() (total float64) {
		_, err := conn.Write([]byte("INFO cpu\r\n"))
		must(err)
		for n := 0; n < 2; {
			line, err := in.ReadString('\n')
			must(err)
			for _, kind := range []string{"used_cpu_sys:", "used_cpu_user:"} {
				if value, ok := strings.CutPrefix(line, kind); ok {
					t, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
					must(err)
					total += t
					n++
				}
			}
		}
		for {
			line, err := in.ReadString('\n')
			must(err)
			if line == "\r\n" {
				return total
			}
		}
	}
	must(q.Declare(b.Context(), topic))
	must(q.Join(b.Context(), g))
	body := []byte(strings.Repeat("x", 256))
	spent, k := map[string]float64{}, 0
	step := func(name string, do func()) {
		from := cpu()
		do()
		spent[name] += cpu() - from
	}
	write := func() {
		batch := port.Batch{}
		for range n {
			k++
			batch.Messages = append(batch.Messages, port.Message{Topic: "orders", ID: "01234567-89ab-cdef-0123-" + strconv.Itoa(1e11+k), Body: body})
		}
		must(q.Write(b.Context(), batch))
	}
	var loans [][]port.Delivery
	fetch := func() {
		out, err := q.Fetch(b.Context(), g, n)
		must(err)
		if len(out) != n {
			b.Fatal(len(out))
		}
		loans = append(loans, out)
	}
	settle := func(out []port.Delivery) {
		list := make([]port.Settlement, n)
		for i := range out {
			list[i] = port.Settlement{Receipt: out[i].Receipt, Verdict: port.Ack}
		}
		for _, err := range q.Settle(b.Context(), g, list...) {
			must(err)
		}
	}
	batches := 20
	if n == 1 {
		batches = 500
	}
	for b.Loop() {
		step("write", func() {
			for range batches {
				write()
			}
		})
		loans = loans[:0]
		step("fetch", func() {
			for range batches {
				fetch()
			}
		})
		step("settle", func() {
			for _, out := range loans {
				settle(out)
			}
		})
	}
	for name, t := range spent {
		b.ReportMetric(t*1e6/float64(batches*n*b.N), name+"-us/msg")
	}
}
