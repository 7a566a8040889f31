package memory

import (
	"bytes"
	"time"

	"github.com/musterhq/muster/port"
)

// keys are the values, and when they end.
type keys struct {
	values map[string]*value
	ends   agenda[*value] // an element counts only while its value still ends then
	mortal int            // how many values end
}

type value struct {
	key   string
	bytes []byte
	end   int64 // never, or when it ends
}

// leastPrune is the size below which the agenda of ends is not cleaned of what does not count.
const leastPrune = 64

// get is the value that lives at key, or nil.
func (k *keys) get(key string, now moment) *value {
	v := k.values[key]
	if v != nil && v.end <= now.ns {
		k.remove(v)
		return nil
	}
	return v
}

func (k *keys) remove(v *value) {
	k.ending(v, never)
	delete(k.values, v.key)
}

// ending sets when v ends.
func (k *keys) ending(v *value, end int64) {
	if v.end == end {
		return
	}
	if v.end != never {
		k.mortal--
	}
	v.end = end
	if end == never {
		return
	}
	k.mortal++
	k.ends.add(end, v)
	if len(k.ends.list) > 2*k.mortal+leastPrune {
		k.ends.keep(func(at int64, v *value) bool { return v.end == at })
	}
}

// expire removes what has ended.
func (k *keys) expire(now moment) {
	for k.ends.next() <= now.ns {
		if at, v := k.ends.pop(); v.end == at {
			k.remove(v)
		}
	}
}

// holds reports whether the condition of ch holds.
func (k *keys) holds(ch *port.Change, now moment) bool {
	switch v := k.get(ch.Key, now); ch.If {
	case port.Absent:
		return v == nil
	case port.Equals:
		return v != nil && bytes.Equal(v.bytes, ch.Old)
	default:
		return true
	}
}

// change does what ch says, whatever its condition.
func (k *keys) change(ch *port.Change, now moment) {
	k.expire(now)
	v := k.get(ch.Key, now)
	if ch.Delete {
		if v != nil {
			k.remove(v)
		}
		return
	}
	end := never
	switch {
	case ch.TTL > 0:
		end = now.after(ch.TTL)
	case ch.TTL == port.KeepTTL && v != nil:
		end = v.end
	}
	k.set(v, ch.Key, bytes.Clone(ch.Value), end)
}

// set gives key new bytes and a new end. V is what is there.
func (k *keys) set(v *value, key string, b []byte, end int64) {
	if v == nil {
		v = &value{key: key, end: never}
		k.values[key] = v
	}
	v.bytes = b
	k.ending(v, end)
}

// show is what lives at key, for a caller.
func (k *keys) show(key string, withTTL bool, now moment) port.Value {
	v := k.get(key, now)
	if v == nil {
		return port.Value{Key: key}
	}
	shown := port.Value{Key: key, Found: true, Bytes: bytes.Clone(v.bytes)}
	if withTTL && v.end != never {
		shown.TTL = time.Duration(v.end - now.ns)
	}
	return shown
}
