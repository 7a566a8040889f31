package redis

import (
	"context"
	"crypto/sha1"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/redis/rueidis"

	"github.com/musterhq/muster/port"
)

//go:embed lua/*.lua
var lua embed.FS

// script is one step. A server that does not know it (it was restarted, or its scripts were flushed) is sent the whole text, which
// it runs.
type script struct {
	lua   *rueidis.Lua
	sha   string // by which a server that knows the text runs it
	reads bool   // it changes nothing that a caller could see, so that nothing is uncertain when its answer is lost
}

// scripts are the steps, each made of the files that it names.
type scripts struct {
	write, append, settle, ack, emit, fetch, pick, take, extend, read, declare, join, inspect, trim, drop, leave script
	get, change, add, acquire, renew, release, holders, probe, signal                                            script
}

func load() (s scripts, err error) {
	for _, l := range []struct {
		into  *script
		files string
		reads bool
	}{
		{&s.write, "clock topic step write", false},
		{&s.append, "single names plain append", false},
		{&s.settle, "clock topic group step settle", false},
		{&s.ack, "names ack", false},
		{&s.emit, "names plain ack", false},
		{&s.fetch, "clock topic group fetch", false},
		{&s.pick, "pick", false},
		{&s.take, "take", false},
		{&s.extend, "clock group extend", false},
		{&s.read, "clock topic read", true},
		{&s.declare, "clock topic declare", false},
		{&s.join, "clock topic group join", false},
		{&s.inspect, "clock topic group inspect", true},
		{&s.trim, "clock topic group groups trim", false},
		{&s.drop, "clock groups drop", false},
		{&s.leave, "clock topic leave", false},
		{&s.get, "get", true},
		{&s.change, "change", false},
		{&s.add, "add", false},
		{&s.acquire, "acquire", false},
		{&s.renew, "renew", false},
		{&s.release, "release", false},
		{&s.holders, "holders", true},
		{&s.probe, "probe", true},
		{&s.signal, "signal", false},
	} {
		var b strings.Builder
		fmt.Fprintf(&b, "local DEFAULT_AGE, DEFAULT_WINDOW, STEP_WINDOW, PACK, PACK_BYTES = %d, %d, %d, %d, %d\n",
			port.Millis(port.DefaultMaxAge), port.Millis(port.DefaultWindow), port.Millis(port.BatchWindow), mostPacked, packBytes)
		for name := range strings.FieldsSeq(l.files) {
			text, err := lua.ReadFile("lua/" + name + ".lua")
			if err != nil {
				return s, fmt.Errorf("redis: script %s: %w", name, err)
			}
			b.Write(text)
			b.WriteByte('\n')
		}
		sum := sha1.Sum([]byte(b.String()))
		*l.into = script{rueidis.NewLuaScript(b.String()), hex.EncodeToString(sum[:]), l.reads}
	}
	return s, nil
}

// run runs a script. It is not begun when ctx has ended. What is as for fail.
func (b *Backend) run(ctx context.Context, what string, s script, keys, args []string) (rueidis.RedisMessage, error) {
	if err := b.alive(ctx, what); err != nil {
		return rueidis.RedisMessage{}, err
	}
	return b.ran(ctx, what, s, keys, s.lua.Exec(ctx, b.client, keys, args))
}

// runPiped is run by the pipeline. Key is the one, or one of those, that the script is about.
func (b *Backend) runPiped(ctx context.Context, what, key string, s script, keys, args []string) (rueidis.RedisMessage, error) {
	if err := b.alive(ctx, what); err != nil {
		return rueidis.RedisMessage{}, err
	}
	r := b.pipeline.do(ctx, key, b.client.B().Evalsha().Sha1(s.sha).Numkeys(int64(len(keys))).Key(keys...).Arg(args...).Build())
	if answer, ok := rueidis.IsRedisErr(r.Error()); ok && answer.IsNoScript() {
		return b.run(ctx, what, s, keys, args)
	}
	return b.ran(ctx, what, s, keys, r)
}

// ran is what a script answered.
func (b *Backend) ran(ctx context.Context, what string, s script, keys []string, r rueidis.RedisResult) (rueidis.RedisMessage, error) {
	m, err := r.ToMessage()
	if err == nil {
		return m, nil
	}
	err = b.fail(ctx, what, err, !s.reads)
	if errors.Is(err, port.ErrInvalid) {
		if place := b.misplaced(ctx, keys); place != "" {
			err = fmt.Errorf("%w: %s", err, place)
		}
	}
	return m, err
}

// alive answers for a backend that was closed or a ctx that has ended: nothing is begun. What is as for fail.
func (b *Backend) alive(ctx context.Context, what string) error {
	var err error
	switch {
	case b.ctx.Err() != nil:
		err = port.ErrClosed
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	default:
		return nil
	}
	if what != "" {
		what = "redis: " + what + ": "
	}
	return fmt.Errorf("%s%w", what, err)
}

// word is the text of a status that a script answers instead of a list, or "".
func word(m *rueidis.RedisMessage) string {
	if !m.IsString() {
		return ""
	}
	s, err := m.ToString()
	if err != nil {
		return ""
	}
	return s
}
