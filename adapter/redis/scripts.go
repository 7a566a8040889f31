package redis

import (
	"context"
	"embed"
	"fmt"
	"strings"

	"github.com/redis/rueidis"

	"github.com/musterhq/muster/port"
)

//go:embed lua/*.lua
var lua embed.FS

// scripts are the steps, each made of the files that it names. A server that does not know one (it was restarted, or its scripts
// were flushed) is sent the whole text, which it runs.
type scripts struct {
	write, settle, fetch, extend, read, declare, join, inspect, trim, drop, leave *rueidis.Lua
	get, change, add, acquire, renew, release, holders                            *rueidis.Lua
}

func load() (s scripts, err error) {
	for _, l := range []struct {
		into  **rueidis.Lua
		files string
	}{
		{&s.write, "clock topic step write"},
		{&s.settle, "clock topic group step settle"},
		{&s.fetch, "clock topic group fetch"},
		{&s.extend, "clock group extend"},
		{&s.read, "clock topic read"},
		{&s.declare, "clock topic declare"},
		{&s.join, "clock topic group join"},
		{&s.inspect, "clock topic group inspect"},
		{&s.trim, "clock topic group groups trim"},
		{&s.drop, "clock groups drop"},
		{&s.leave, "clock topic leave"},
		{&s.get, "get"},
		{&s.change, "change"},
		{&s.add, "add"},
		{&s.acquire, "clock lease acquire"},
		{&s.renew, "clock lease renew"},
		{&s.release, "clock lease release"},
		{&s.holders, "clock lease holders"},
	} {
		var b strings.Builder
		fmt.Fprintf(&b, "local DEFAULT_AGE, DEFAULT_WINDOW, STEP_WINDOW = %d, %d, %d\n",
			port.Millis(port.DefaultMaxAge), port.Millis(port.DefaultWindow), port.Millis(port.BatchWindow))
		for name := range strings.FieldsSeq(l.files) {
			text, err := lua.ReadFile("lua/" + name + ".lua")
			if err != nil {
				return s, fmt.Errorf("redis: script %s: %w", name, err)
			}
			b.Write(text)
			b.WriteByte('\n')
		}
		*l.into = rueidis.NewLuaScript(b.String())
	}
	return s, nil
}

// run runs a script that may write. It is not begun when ctx has ended.
func (b *Backend) run(ctx context.Context, what string, s *rueidis.Lua, keys, args []string) (rueidis.RedisMessage, error) {
	if err := b.alive(ctx, what); err != nil {
		return rueidis.RedisMessage{}, err
	}
	m, err := s.Exec(ctx, b.client, keys, args).ToMessage()
	return m, b.fail(ctx, what, err, true)
}

// alive answers for a backend that was closed or a ctx that has ended: nothing is begun.
func (b *Backend) alive(ctx context.Context, what string) error {
	if b.ctx.Err() != nil {
		return fmt.Errorf("redis: %s: %w", what, port.ErrClosed)
	}
	if ctx.Err() != nil {
		return fmt.Errorf("redis: %s: %w", what, context.Cause(ctx))
	}
	return nil
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
