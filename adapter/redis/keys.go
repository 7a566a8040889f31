package redis

import (
	"strings"

	"github.com/musterhq/muster/port"
)

// The keys of a namespace are <namespace>:<kind>:{<family>}<rest of the name>, with :<group> or :<number> behind where there is one.
// The braces are the hash tag: all that one step may touch is in one slot of a cluster.

// space builds the names of one namespace's keys.
type space struct{ prefix string }

// tagged is name with its family in braces. A family that is empty or begins with a brace would be no hash tag: it gets a zero
// byte in front, and so does one that begins with a zero byte.
func tagged(name string) string {
	family := port.Family(name)
	if family == "" || family[0] == '}' || family[0] == 0 {
		return "{\x00" + family + "}" + name[len(family):]
	}
	return "{" + family + "}" + name[len(family):]
}

// untagged is what tagged was made of; false for what it never makes.
func untagged(s string) (string, bool) {
	if s == "" || s[0] != '{' {
		return "", false
	}
	family, rest := s[1:], ""
	if i := strings.IndexAny(family, "./"); i >= 0 {
		family, rest = family[:i], family[i:]
	}
	family, ok := strings.CutSuffix(family, "}")
	if !ok {
		return "", false
	}
	return strings.TrimPrefix(family, "\x00") + rest, true
}

func (s space) key(name string) string        { return s.prefix + "kv:" + tagged(name) }
func (s space) families() string              { return s.prefix + "families" }
func (s space) held() string                  { return s.prefix + "held" }
func (s space) probe() string                 { return s.prefix + "probe" }
func (s space) topics(family string) string   { return s.prefix + "topics:" + tagged(family) }
func (s space) fences(family string) string   { return s.prefix + "fences:" + tagged(family) }
func (s space) janitor(topic string) string   { return s.prefix + "janitor:" + tagged(topic) }
func (s space) topicHash(topic string) string { return s.prefix + "topic:" + tagged(topic) }
func (s space) signal(pattern string) string  { return s.prefix + "signal:" + pattern }
func (s space) wake(process string) string    { return s.prefix + "wake:" + process }
func (s space) leases(family string) string   { return s.prefix + "leases:" + tagged(family) }
func (s space) hint(family string) string     { return s.prefix + "hint:" + family }
func (s space) topicName(hash string) string  { return s.strip("topic:", hash) }
func (s space) keyName(key string) string     { return s.strip("kv:", key) }
func (s space) signalName(channel string) string {
	return strings.TrimPrefix(channel, s.prefix+"signal:")
}

func (s space) strip(kind, key string) string {
	name, _ := untagged(strings.TrimPrefix(key, s.prefix+kind))
	return name
}

// sets appends the names of three sets of known IDs.
func sets(keys []string, key string) []string {
	return append(keys, key+":0", key+":1", key+":2")
}

// addHead appends what every step has: the family's topics, fences and IDs of steps.
func (s space) addHead(keys []string, family string) []string {
	return s.addSteps(append(keys, s.topics(family), s.fences(family)), family)
}

func (s space) addSteps(keys []string, family string) []string {
	return sets(keys, s.prefix+"steps:"+tagged(family))
}

const topicKeys, groupKeys = 6, 9

// addTopic appends a topic's keys: hash, log, delayed messages, known IDs.
func (s space) addTopic(keys []string, topic string) []string {
	t := tagged(topic)
	return sets(append(keys, s.prefix+"topic:"+t, s.prefix+"log:"+t, s.prefix+"later:"+t), s.prefix+"known:"+t)
}

// addGroup appends a group's keys: hash, states, loans, waiting, bodies of addressed messages, remembered IDs, what was lent as one.
func (s space) addGroup(keys []string, topic, group string) []string {
	g := tagged(topic) + ":" + group
	keys = append(keys, s.prefix+"group:"+g, s.prefix+"state:"+g, s.prefix+"loans:"+g, s.prefix+"wait:"+g, s.prefix+"own:"+g)
	return append(sets(keys, s.prefix+"done:"+g), s.prefix+"lent:"+g)
}
