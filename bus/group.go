package bus

import (
	"cmp"
	"crypto/rand"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/musterhq/muster/envelope"
	"github.com/musterhq/muster/port"
	"github.com/musterhq/muster/retry"
)

// Group says how one process takes part in the work on a topic. All processes that subscribe with the same Name share the work;
// each group gets every message.
type Group struct {
	Name     string        // required; no dots
	Workers  int           // calls of the handler at a time; default 16
	Ahead    int           // messages fetched beyond those being handled; negative: none; default 2 x Workers
	Loan     time.Duration // how long after a crash others take over; at least 1 s; default 30 s
	Grace    time.Duration // for running handlers when ctx ends; negative: none; default 30 s
	Timeout  time.Duration // of one call of the handler, by its context; default none
	Retry    retry.Backoff // tries of a message and the waits between them; default that of retry.Backoff
	Crashes  int           // workers that one message may take with it before it goes to the dead letters; default 5
	Remember time.Duration // how long the id of a handled message is known; negative: not at all; default 10 min
	From     port.Offset   // where a new group starts; default port.Earliest
	Worker   string        // who this is, for people to read; default host-pid
	Log      *slog.Logger  // what the bus decided (returned, dead, suspended); default slog.Default()
	Use      []Middleware  // around the handler, the first one outermost; default none
}

// MinLoan is the shortest loan of a [Group]: shorter ones make suspects of what only waits for a slow network.
const MinLoan = time.Second

// filled is g with its defaults; ahead is the default of Ahead.
func (g Group) filled(ahead int) Group {
	g.Workers = cmp.Or(g.Workers, 16)
	g.Ahead = orNone(cmp.Or(g.Ahead, ahead, 2*g.Workers))
	g.Loan = cmp.Or(g.Loan, 30*time.Second)
	g.Grace = orNone(cmp.Or(g.Grace, 30*time.Second))
	g.Crashes = cmp.Or(g.Crashes, 5)
	g.Remember = orNone(cmp.Or(g.Remember, 10*time.Minute))
	g.Worker = cmp.Or(g.Worker, hostPID())
	if g.Log == nil {
		g.Log = slog.Default()
	}
	g.Log = slog.New(envelope.LogHandler(g.Log.Handler()))
	return g
}

func orNone[N int | time.Duration](n N) N { return max(n, 0) }

// check refuses a filled group that cannot work, before any I/O.
func (g Group) check(topic string) error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("group %q of topic %q: %s: %w", g.Name, topic, fmt.Sprintf(format, args...), port.ErrInvalid)
	}
	if err := port.CheckName("topic", topic); err != nil {
		return err
	}
	if err := port.CheckGroupName(g.Name); err != nil {
		return err
	}
	switch {
	case g.Workers < 1:
		return bad("%d workers, at least 1 is needed", g.Workers)
	case g.Loan < MinLoan:
		return bad("loan %v is shorter than the minimum %v", g.Loan, MinLoan)
	case g.Timeout < 0:
		return bad("timeout %v is negative; 0 is none", g.Timeout)
	case g.Crashes < 1:
		return bad("crash cap %d, at least 1 is needed", g.Crashes)
	}
	if err := g.Retry.Check(); err != nil {
		return bad("%v", err)
	}
	return port.CheckName("worker", g.Worker)
}

// consumer is g on a topic, as the port knows it, under a name that no other process and no other call has.
func (g Group) consumer(topic string) port.Group {
	return port.Group{
		Topic: topic, Name: g.Name, Consumer: unique(g.Worker),
		Loan: g.Loan, From: g.From, Remember: g.Remember,
	}
}

// unique is name with 128 random bits, cut so that both fit a name of the port.
func unique(name string) string {
	const nonce = 26 // characters of rand.Text
	if most := port.MaxName - nonce - 1; len(name) > most {
		name = strings.TrimRight(name[:most], ".")
	}
	return name + "-" + rand.Text()
}

// hostPID is host-pid, with what is no character of a name replaced.
func hostPID() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	clean := strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '-', r == '_':
			return r
		default:
			return '-'
		}
	}, host)
	return fmt.Sprintf("%.64s-%d", clean, os.Getpid())
}
