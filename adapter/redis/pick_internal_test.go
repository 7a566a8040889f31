package redis

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/musterhq/muster/internal/testserver"
	"github.com/musterhq/muster/port"
)

// picks has two databases of one server: what is made in the first is copied to the second, and each is asked by one of the scripts.
type picks struct {
	t     *testing.T
	b     *Backend
	other rueidis.Client
	n     int
}

// question is what a script is asked, after a situation was made.
type question struct {
	limit, bytes int
	channel      string
	more         bool // a channel is also wanted where messages are handed out
	full         bool // the server's memory is full
	remember     time.Duration
}

type situation struct {
	short bool // the short script does it
	make  func(p *picks, g port.Group)
	ask   question
}

const picked = "wake:me"

var hour = question{limit: 100, bytes: mostBytes, channel: picked, remember: time.Hour}

func (q question) only(limit int) question        { q.limit = limit; return q }
func (q question) anyway() question               { q.more = true; return q }
func (q question) cramped() question              { q.full = true; return q }
func (q question) unheard() question              { q.channel = ""; return q }
func (q question) holding(bytes int) question     { q.bytes = bytes; return q }
func (q question) known(d time.Duration) question { q.remember = d; return q }

var situations = map[string]situation{
	"nothing, others wait, and nobody is to be woken": {true, func(p *picks, g port.Group) { p.raw("HSET", p.topic(g)[0], "waiters", "x") }, hour.unheard()},
	"nothing, in a full memory":                       {true, func(*picks, port.Group) {}, hour.cramped()},
	"some, in a full memory":                          {true, func(p *picks, g port.Group) { p.write(g, 3) }, hour.cramped().anyway()},
	"a delayed message will be due before one that waits": {true, func(p *picks, g port.Group) {
		p.write(g, 1)
		p.settle(g, port.Return, 2*time.Hour, p.fetch(g, 1)...)
		p.delayed(g, time.Hour)
	}, hour},
	"nothing was ever written":           {true, func(*picks, port.Group) {}, hour},
	"nothing, and nobody is to be woken": {true, func(*picks, port.Group) {}, hour.unheard()},
	"nothing more": {true, func(p *picks, g port.Group) {
		p.write(g, 3)
		p.fetch(g, 3)
	}, hour},
	"nothing more, and all is acknowledged": {true, func(p *picks, g port.Group) {
		p.write(g, 3)
		p.settle(g, port.Ack, 0, p.fetch(g, 3)...)
	}, hour},
	"nothing, and this process waits already": {true, func(p *picks, g port.Group) { p.raw("HSET", p.topic(g)[0], "waiters", picked) }, hour},
	"nothing, and others wait, which the topic's record tells": {true, func(p *picks, g port.Group) {
		p.write(g, 1)
		p.fetch(g, 1)
		record, err := command(p.ctx(), p.b.client, "HGET", p.topic(g)[0], "plain").ToString()
		p.must(err)
		p.raw("HSET", p.topic(g)[0], "waiters", "x", "plain", record+"w")
	}, hour},
	"nothing, and others wait":    {true, func(p *picks, g port.Group) { p.raw("HSET", p.topic(g)[0], "waiters", picked+"2 x") }, hour},
	"one":                         {true, func(p *picks, g port.Group) { p.write(g, 1) }, hour},
	"one after which to be woken": {true, func(p *picks, g port.Group) { p.write(g, 1) }, hour.anyway()},
	"one, and others wait for more": {true, func(p *picks, g port.Group) {
		p.write(g, 1)
		p.raw("HSET", p.topic(g)[0], "waiters", "x")
	}, hour.anyway()},
	"one of several, which is not the last":    {true, func(p *picks, g port.Group) { p.write(g, 5) }, hour.only(1).anyway()},
	"eight":                                    {true, func(p *picks, g port.Group) { p.write(g, 8) }, hour},
	"some of many":                             {true, func(p *picks, g port.Group) { p.write(g, 30) }, hour.only(21)},
	"some, after others":                       {true, func(p *picks, g port.Group) { p.write(g, 30); p.fetch(g, 7) }, hour},
	"a group that remembers nothing":           {true, func(p *picks, g port.Group) { p.write(g, 9) }, hour.known(0)},
	"as many bytes as an answer may have":      {true, func(p *picks, g port.Group) { p.write(g, 3) }, hour.holding(3 * 9)},
	"fewer, of many, than an answer may have":  {true, func(p *picks, g port.Group) { p.write(g, 30) }, hour.holding(2 * 10).only(2)},
	"more bytes than an answer may have":       {false, func(p *picks, g port.Group) { p.write(g, 30) }, hour.holding(30*10 - 1)},
	"the group is to remember for longer":      {false, func(p *picks, g port.Group) { p.write(g, 1) }, hour.known(2 * time.Hour)},
	"there is no group":                        {false, func(p *picks, g port.Group) { p.raw("DEL", p.group(g)[0]) }, hour},
	"there is no topic":                        {false, func(p *picks, g port.Group) { p.raw("DEL", p.topic(g)[0]) }, hour},
	"a delayed message is due":                 {false, func(p *picks, g port.Group) { p.delayed(g, -time.Hour) }, hour},
	"a delayed message will be due":            {true, func(p *picks, g port.Group) { p.delayed(g, time.Hour) }, hour},
	"a delayed message will be due, after one": {true, func(p *picks, g port.Group) { p.delayed(g, time.Hour); p.write(g, 1) }, hour.anyway()},
	"one was handed back":                      {false, func(p *picks, g port.Group) { p.write(g, 2); p.settle(g, port.Release, 0, p.fetch(g, 1)...) }, hour},
	"one waits":                                {true, func(p *picks, g port.Group) { p.write(g, 2); p.settle(g, port.Return, time.Minute, p.fetch(g, 2)...) }, hour},
	"a loan has ended": {false, func(p *picks, g port.Group) {
		p.write(g, 2)
		p.fetch(g, 1)
		p.raw("ZADD", p.group(g)[2], "1", "7")
	}, hour},
	"the one that there is was removed": {false, func(p *picks, g port.Group) {
		p.write(g, 1)
		p.remove(g, 0)
	}, hour},
	"one between others was removed": {false, func(p *picks, g port.Group) {
		p.write(g, 12)
		p.remove(g, 4)
	}, hour},
	"one between others, each written alone, was removed": {false, func(p *picks, g port.Group) {
		p.alone(g, 0, 12)
		p.remove(g, 4)
	}, hour},
	"the first, written alone, was removed":                   {true, func(p *picks, g port.Group) { p.alone(g, 0, 3); p.remove(g, 0) }, hour},
	"some, each written alone":                                {true, func(p *picks, g port.Group) { p.alone(g, 0, 40) }, hour.only(37)},
	"one of them":                                             {true, func(p *picks, g port.Group) { p.alone(g, 0, 7) }, hour.only(1)},
	"packs between what was written alone":                    {true, (*picks).mixed, hour.only(74)},
	"the same, to a group that remembers nothing":             {true, (*picks).mixed, hour.only(50).known(0)},
	"the middle of a pack":                                    {true, func(p *picks, g port.Group) { p.write(g, 30); p.fetch(g, 7) }, hour.only(9)},
	"the middle of a pack, to a group that remembers nothing": {true, func(p *picks, g port.Group) { p.write(g, 30); p.fetch(g, 7) }, hour.only(9).known(0)},
	"one in the middle of a pack is remembered": {false, func(p *picks, g port.Group) {
		p.write(g, 30)
		p.fetch(g, 7)
		p.raw("SADD", p.group(g)[6], "15")
	}, hour.only(9)},
	"those around what is wanted are remembered": {true, func(p *picks, g port.Group) {
		p.write(g, 30)
		p.fetch(g, 7)
		p.raw("SADD", p.group(g)[6], "6", "16")
	}, hour.only(9)},
	"what comes after what was removed": {true, func(p *picks, g port.Group) { p.write(g, 30); p.remove(g, 4); p.fetch(g, 7) }, hour},
	"the last of a pack was removed":    {false, func(p *picks, g port.Group) { p.write(g, 30); p.remove(g, 29); p.fetch(g, 7) }, hour},
	"the first of a pack was removed":   {false, func(p *picks, g port.Group) { p.write(g, 3); p.remove(g, 0) }, hour},
	"a part of a pack was trimmed": {false, func(p *picks, g port.Group) {
		p.must(p.b.Drop(p.ctx(), g.Topic, g.Name))
		p.write(g, 30)
		p.must(p.b.Declare(p.ctx(), port.Topic{Name: g.Topic, MaxCount: 20}))
		_, err := p.b.trim(p.ctx(), g.Topic)
		p.must(err)
		p.must(p.b.Join(p.ctx(), g))
	}, hour},
	"the one is remembered":        {false, func(p *picks, g port.Group) { p.write(g, 1); p.raw("SADD", p.group(g)[5], "0") }, hour},
	"the one is remembered since":  {false, func(p *picks, g port.Group) { p.write(g, 1); p.raw("SADD", p.group(g)[6], "0") }, hour},
	"the one is remembered before": {false, func(p *picks, g port.Group) { p.write(g, 1); p.raw("SADD", p.group(g)[7], "0") }, hour},
	"another is remembered":        {true, func(p *picks, g port.Group) { p.write(g, 1); p.raw("SADD", p.group(g)[5], "1") }, hour},
	"one of some is remembered":    {false, func(p *picks, g port.Group) { p.write(g, 5); p.raw("SADD", p.group(g)[6], "3") }, hour},
	"the log lost its end": {true, func(p *picks, g port.Group) {
		p.write(g, 3)
		p.fetch(g, 3)
		p.raw("HSET", p.topic(g)[0], "n", "2")
	}, hour},
	"nothing, and what is lent is of another type": {false, func(p *picks, g port.Group) { p.raw("SET", p.group(g)[8], "x") }, hour},
	"what is lent is of another type":              {false, func(p *picks, g port.Group) { p.write(g, 1); p.raw("SET", p.group(g)[8], "x") }, hour},
}

func newPicks(t *testing.T) *picks {
	s := testserver.Redis(t, testserver.RedisConfig{Appendfsync: "off"})
	b, err := Open(t.Context(), Config{URL: s.URL()})
	p := &picks{t: t, b: b}
	p.must(err)
	b.janitor.once.Do(func() {}) // nobody else brings in what is due, however long this takes
	t.Cleanup(func() { p.must(b.Close()) })
	p.other, err = rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{s.Addr()}, SelectDB: 1, ForceSingleClient: true, DisableCache: true})
	p.must(err)
	t.Cleanup(p.other.Close)
	return p
}

func (p *picks) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *picks) ctx() context.Context        { return p.t.Context() }
func (p *picks) topic(g port.Group) []string { return p.b.space.addTopic(nil, g.Topic) }
func (p *picks) group(g port.Group) []string { return p.b.space.addGroup(nil, g.Topic, g.Name) }
func (p *picks) raw(words ...string) {
	p.t.Helper()
	p.must(command(p.ctx(), p.b.client, words...).Error())
}

func command(ctx context.Context, c rueidis.Client, words ...string) rueidis.RedisResult {
	return c.Do(ctx, c.B().Arbitrary(words...).Build())
}

// alone writes messages of nine bytes, each by a step of its own.
func (p *picks) alone(g port.Group, from, n int) {
	p.t.Helper()
	for i := range n {
		p.must(p.b.Write(p.ctx(), port.Batch{Messages: []port.Message{{Topic: g.Topic, ID: strconv.Itoa(from + i), Body: []byte("xxx")}}}))
	}
}

// write writes messages of nine bytes whose IDs are digits, or are longer.
func (p *picks) write(g port.Group, n int) {
	p.t.Helper()
	var step port.Batch
	for i := range n {
		step.Messages = append(step.Messages, port.Message{Topic: g.Topic, ID: strconv.Itoa(i), Body: []byte("xxx")})
	}
	p.must(p.b.Write(p.ctx(), step))
}

// mixed writes 2 messages alone, 70 at once and 3 alone.
func (p *picks) mixed(g port.Group) {
	p.t.Helper()
	p.alone(g, 500, 2)
	p.write(g, 70)
	p.alone(g, 600, 3)
}

func (p *picks) delayed(g port.Group, by time.Duration) {
	p.t.Helper()
	p.must(p.b.Write(p.ctx(), port.Batch{Messages: []port.Message{{Topic: g.Topic, ID: "later", At: time.Now().Add(time.Hour)}}}))
	if by < 0 {
		p.raw("HSET", p.topic(g)[0], "due", "1")
		p.raw("ZADD", p.topic(g)[2], "1", "0000000000000001\x01\x00\x05\x00\x00later")
	}
}

func (p *picks) fetch(g port.Group, limit int) []port.Delivery {
	p.t.Helper()
	got, err := p.b.Fetch(p.ctx(), g, limit)
	p.must(err)
	return got
}

func (p *picks) settle(g port.Group, v port.Verdict, after time.Duration, list ...port.Delivery) {
	p.t.Helper()
	for i := range list {
		s := port.Settlement{Receipt: list[i].Receipt, Verdict: v, After: after}
		if v == port.Return {
			s.Reason = "why"
		}
		p.must(p.b.Settle(p.ctx(), g, s)[0])
	}
}

func (p *picks) remove(g port.Group, i int) {
	p.t.Helper()
	list, err := p.b.Read(p.ctx(), port.Range{Topic: g.Topic, Max: 100})
	p.must(err)
	p.must(p.b.Write(p.ctx(), port.Batch{Removes: []port.Removal{{Topic: g.Topic, Offset: list[i].Offset}}}))
}

// differs makes a situation, asks both scripts, and tells what is not as it should be; "" when all is.
func (p *picks) differs(s situation, pick script) string {
	p.t.Helper()
	p.n++
	g := port.Group{Topic: "t" + strconv.Itoa(p.n), Name: "g", Consumer: "c", Loan: time.Hour, Remember: time.Hour}
	if g.Remember = min(s.ask.remember, g.Remember); g.Remember == 0 {
		p.must(p.b.Declare(p.ctx(), port.Topic{Name: g.Topic, Window: -1}))
	}
	p.must(p.b.Join(p.ctx(), g))
	s.make(p, g)
	keys, err := command(p.ctx(), p.b.client, "KEYS", "*{"+g.Topic+"}*").AsStrSlice()
	p.must(err)
	for _, key := range keys {
		p.raw("COPY", key, key, "DB", "1")
	}
	before := p.dump(p.b.client, g)
	long := p.b.withGroups(g.Topic, []string{g.Name})
	short := append(slices.Clone(long[1:3]), long[1+topicKeys:]...)
	more := "0"
	if s.ask.more {
		more = "1"
	}
	args := []string{g.Consumer, "3600000", strconv.Itoa(s.ask.limit), strconv.Itoa(s.ask.bytes), number(port.Millis(s.ask.remember)), s.ask.channel}
	if s.ask.full {
		p.raw("CONFIG", "SET", "maxmemory", "1")
		defer p.raw("CONFIG", "SET", "maxmemory", "0")
	}
	got, err := pick.lua.Exec(p.ctx(), p.b.client, short, append(slices.Clone(args), more)).ToAny()
	after := p.dump(p.b.client, g)
	if err != nil && strings.HasPrefix(err.Error(), "WRONGTYPE") {
		got, err = int64(0), nil
	}
	if err != nil {
		return err.Error()
	}
	if n, ok := got.(int64); ok && n == 0 {
		if s.short {
			return "the short script leaves it to the long one"
		}
		return differ("answering 0", before, after)
	}
	if !s.short {
		return fmt.Sprintf("the short script answers %v", got)
	}
	want, err := p.b.scripts.fetch.lua.Exec(p.ctx(), p.other, long, args).ToAny()
	p.must(err)
	wanted := p.dump(p.other, g)
	// The one thing it does beyond the long one.
	if end := fmt.Sprint(got.([]any)[4]) != "0" && s.ask.more && before["hash "+p.topic(g)[0]+" n"] == after["hash "+p.group(g)[0]+" n"]; end {
		waiters := "hash " + p.topic(g)[0] + " waiters"
		wanted[waiters] = strings.TrimSpace(before[waiters] + " " + s.ask.channel)
		if record := "hash " + p.topic(g)[0] + " plain"; wanted[record] != "" {
			wanted[record] = strings.TrimSuffix(wanted[record], "w") + "w" // it tells that somebody waits
		}
		want.([]any)[3] = got.([]any)[3]
		if fmt.Sprint(got.([]any)[3]) == "-2" {
			return "it is not told that a channel is registered"
		}
	}
	return differ("the keys", wanted, after) + differ("the answer", answer(want), answer(got))
}

// about is a time in ms as it may be compared: the scripts ran one after the other.
func about(text string) string {
	n, err := strconv.ParseFloat(text, 64)
	if err != nil || n < 10000 {
		return text
	}
	return strconv.FormatInt(int64(n+30_000)/60_000, 10) + " min"
}

// answer is what a script answers, with the messages of packs one by one.
func answer(a any) map[string]string {
	out, list, i := map[string]string{}, a.([]any), 0
	for len(list) > 6 && i < len(list) {
		if i >= 6 && i+1 < len(list) && strings.HasPrefix(list[i+1].(string), "\x02") {
			list = slices.Replace(list, i, i+2, loose(list[i].(string), list[i+1].(string))...)
		}
		i++
	}
	for i, v := range list {
		out[fmt.Sprintf("%03d", i)] = fmt.Sprint(v)
	}
	out["001"], out["003"] = about(out["001"]), about(out["003"])
	return out
}

// loose is an entry as if each of its messages had one of its own: pairs of an id and a message.
func loose(id, blob string) []any {
	if !strings.HasPrefix(blob, "\x02") {
		return []any{id, blob}
	}
	ms, last, _ := strings.Cut(id, "-")
	n, err := strconv.Atoi(last)
	if err != nil {
		panic(err)
	}
	n -= int(blob[1])<<8 | int(blob[2])
	var out []any
	for blob = blob[3:]; blob != ""; {
		till := 2 + (int(blob[0])<<8 | int(blob[1]))
		n++
		out = append(out, ms+"-"+strconv.Itoa(n), blob[2:till])
		blob = blob[till:]
	}
	return out
}

func differ(what string, want, got map[string]string) (out string) {
	for _, k := range slices.Sorted(maps.Keys(want)) {
		if v, ok := got[k]; !ok || v != want[k] {
			out += fmt.Sprintf("%s: %s is %q, want %q\n", what, k, got[k], want[k])
		}
	}
	for k, v := range got {
		if _, ok := want[k]; !ok {
			out += fmt.Sprintf("%s: %s is %q, and is not wanted\n", what, k, v)
		}
	}
	return out
}

// dump is all that the keys of a topic and group hold.
func (p *picks) dump(c rueidis.Client, g port.Group) map[string]string {
	p.t.Helper()
	out := map[string]string{}
	for _, key := range append(p.topic(g), p.group(g)...) {
		kind, err := command(p.ctx(), c, "TYPE", key).ToString()
		p.must(err)
		switch kind {
		case "hash":
			m, err := command(p.ctx(), c, "HGETALL", key).AsStrMap()
			p.must(err)
			for k, v := range m {
				if k != "plain" || v != "" { // an empty one is none
					out["hash "+key+" "+k] = v
				}
			}
		case "zset":
			list, err := command(p.ctx(), c, "ZRANGE", key, "0", "-1", "WITHSCORES").ToAny()
			p.must(err)
			for _, pair := range list.([]any) {
				one := pair.([]any)
				out[fmt.Sprintf("zset %s %s", key, one[0])] = about(fmt.Sprintf("%.0f", one[1]))
			}
		case "set":
			list, err := command(p.ctx(), c, "SMEMBERS", key).AsStrSlice()
			p.must(err)
			slices.Sort(list)
			out["set "+key] = strings.Join(list, " ")
		case "stream":
			list, err := command(p.ctx(), c, "XRANGE", key, "-", "+").ToAny()
			p.must(err)
			out["stream "+key] = fmt.Sprint(list)
		default:
			out[kind+" "+key] = ""
		}
	}
	return out
}

func TestTheShortFetchLeavesWhatTheLongOneWould(t *testing.T) {
	p := newPicks(t)
	for name, s := range situations {
		if why := p.differs(s, p.b.scripts.pick); why != "" {
			t.Errorf("%s: %s", name, why)
		}
	}
}

// Without one of its checks, the short script is wrong in one of the situations.
func TestEachCheckOfTheShortFetchIsNeeded(t *testing.T) {
	p := newPicks(t)
	text, err := lua.ReadFile("lua/pick.lua")
	p.must(err)
	for _, cut := range []struct{ check, without string }{
		{"if not t[1] or not g[1] then", "if not g[1] then"},
		{"if not t[1] or not g[1] then", "if not t[1] then"},
		{"width < tonumber(ARGV[5]) or ", ""},
		{" or most * (t[6] or 0) > tonumber(ARGV[4])", ""},
		{"or most * (t[6]", "or behind * (t[6]"},
		{" or most > 0 and g[3] - (t[8] or 0) < 0", ""},
		{"or most > 0 and g[3]", "or g[3]"},
		{"local due = tonumber(t[3])", "local due"},
		{"for key = 5, 6 do", "for key = 5, 5 do"},
		{"for key = 5, 6 do", "for key = 6, 6 do"},
		{"and not (due and due < score)", ""},
		{"if due and due <= now then return 0 end", ""},
		{"if most > 0 then", "if false then"},
		{"if count == 0 then return 0 end", ""},
		{"elseif before ~= n then", "elseif false then"},
		{"local skip = math.max(n - before, 0)", "local skip = 0"},
		{"math.min(all - skip, most - count)", "all - skip"},
		{"math.min(all - skip, most - count)", "math.min(all, most - count)"},
		{"if count == most then break end", ""},
		{"if #some > 0 then from = '(' .. some[#some][1] end", ""},
		{"until ended or count == most", "until true"},
		{"until ended or count == most", "until count > 0"},
		{"if i == skip + 1 then from = at end", ""},
		{"if width > 0 and i > skip then", "if width > 0 then"},
		{"if width > 0 and i > skip then", "if i > skip + 1 then"},
		{"for i = 1, skip + use do", "for i = 1, all do"},
		{"string.sub(pack, from, till)", "string.sub(pack, from)"},
		{"at .. '-' .. n, blob", "at .. '-' .. last, blob"},
		{"if width > 0 and redis.call('SISMEMBER', KEYS[set], ids[1]) == 1 then return 0 end", ""},
		{"if math.max(unpack(redis.call('SMISMEMBER', KEYS[set], unpack(ids)))) == 1 then return 0 end", ""},
		{"for set = 8, 10 do", "for set = 8, 9 do"},
		{"for set = 8, 10 do", "for set = 9, 10 do"},
		{"redis.call('HDEL', KEYS[11], '')", ""},
		{"n ~= t[5] or ", ""},
		{" or ARGV[7] ~= '1'", ""},
		{"if channel == '' then due = now - 2 end", ""},
		{" and not string.find(' ' .. waiters .. ' ', ' ' .. channel .. ' ', 1, true)", ""},
		{"channel ~= '' and not", "not"},
		{"waiters == '' and channel or ", ""},
		{"if record ~= '' and", "if"},
		{" and string.sub(record, -1) ~= 'w'", ""},
		{"record = record .. 'w'", "record = ''"},
		{"if count % 8 > 0 then", "if true then"},
		{"math.min(tonumber(ARGV[3]), 500)", "500"},
		{"(g[5] or 0) + count", "count"},
	} {
		if strings.Count(string(text), cut.check) != 1 {
			t.Fatalf("%q is not there once", cut.check)
		}
		mutant := script{lua: rueidis.NewLuaScript(strings.Replace(string(text), cut.check, cut.without, 1))}
		if !slices.ContainsFunc(slices.Collect(maps.Values(situations)), func(s situation) bool { return p.differs(s, mutant) != "" }) {
			t.Errorf("without %q all is as before", cut.check)
		}
	}
}
