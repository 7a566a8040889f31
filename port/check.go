package port

import (
	"fmt"
	"time"
)

// Check answers [ErrInvalid] for a topic that cannot be declared.
func (t Topic) Check() error { return CheckName("topic", t.Name) }

// Over is t laid over what is set: each zero field takes old's value, and the default where old has none either.
func (t Topic) Over(old Topic) Topic {
	t.MaxAge = first(t.MaxAge, old.MaxAge, DefaultMaxAge)
	t.MaxCount = first(t.MaxCount, old.MaxCount, -1)
	t.MaxBytes = first(t.MaxBytes, old.MaxBytes, -1)
	t.Window = first(t.Window, old.Window, DefaultWindow)
	return t
}

func first[N time.Duration | int64](a, b, c N) N {
	switch {
	case a != 0:
		return a
	case b != 0:
		return b
	default:
		return c
	}
}

// Check answers [ErrInvalid] for a group that cannot be joined.
func (g Group) Check(c Caps) error {
	if err := CheckName("topic", g.Topic); err != nil {
		return err
	}
	if err := CheckGroupName(g.Name); err != nil {
		return err
	}
	if g.Loan <= 0 || g.Loan < c.MinLoan {
		return fmt.Errorf("group %q of topic %q: loan %v is shorter than the minimum %v: %w", g.Name, g.Topic, g.Loan, max(c.MinLoan, time.Millisecond), ErrInvalid)
	}
	if g.Remember < 0 {
		return fmt.Errorf("group %q of topic %q: remember %v is negative; 0 is none: %w", g.Name, g.Topic, g.Remember, ErrInvalid)
	}
	return nil
}

// CheckMember is Check for a call that a consumer makes: Fetch, Extend and Settle.
func (g Group) CheckMember(c Caps) error {
	if err := g.Check(c); err != nil {
		return err
	}
	return CheckName(fmt.Sprintf("consumer of group %q of topic %q", g.Name, g.Topic), g.Consumer)
}

// CheckFetch answers [ErrInvalid] for a Fetch that cannot be made.
func CheckFetch(c Caps, g Group, limit int) error {
	if err := g.CheckMember(c); err != nil {
		return err
	}
	if limit < 1 {
		return fmt.Errorf("fetch for group %q of topic %q: %d messages asked for, at least 1 is needed: %w", g.Name, g.Topic, limit, ErrInvalid)
	}
	return nil
}

// Check answers [ErrInvalid] for a range that cannot be read.
func (r Range) Check() error {
	if err := CheckName("topic", r.Topic); err != nil {
		return err
	}
	if r.Max < 1 {
		return fmt.Errorf("read of topic %q: %d entries asked for, at least 1 is needed: %w", r.Topic, r.Max, ErrInvalid)
	}
	if r.Wait < 0 {
		return fmt.Errorf("read of topic %q: wait %v is negative; 0 is none: %w", r.Topic, r.Wait, ErrInvalid)
	}
	return nil
}

// Check answers [ErrInvalid] for a message that no backend takes, or that c cannot take.
func (m *Message) Check(c Caps) error {
	if err := CheckName("topic", m.Topic); err != nil {
		return err
	}
	return m.checkRest(&c)
}

// checkRest is Check of all but the name of the topic.
func (m *Message) checkRest(c *Caps) error {
	if m.ID == "" || len(m.ID) > MaxKey {
		return CheckKey(fmt.Sprintf("message ID for topic %q", m.Topic), m.ID)
	}
	if len(m.Key) > MaxKey {
		return CheckKey(fmt.Sprintf("key of message %s for topic %q", brief(m.ID), m.Topic), m.Key)
	}
	if m.Group != "" {
		if err := CheckGroupName(m.Group); err != nil {
			return err
		}
	}
	if c.MaxBody > 0 && len(m.Body) > c.MaxBody {
		return checkSize(*c, fmt.Sprintf("body of message %s for topic %q", brief(m.ID), m.Topic), m.Body)
	}
	return nil
}

// Check answers [ErrInvalid] for a batch that no backend takes or that c cannot take, and [ErrUnsupported] for one that spans
// families where c.Atomic is [AtomicFamily]. In is the topic whose family the step is in already, or "".
func (b *Batch) Check(c Caps, in string) error {
	if n := len(b.Messages) + len(b.Changes) + len(b.Removes); n > MaxParts {
		return fmt.Errorf("batch: %d messages, changes and removals, at most %d are allowed in one step: %w", n, MaxParts, ErrInvalid)
	}
	if len(b.ID) > MaxKey {
		return CheckKey("batch ID", b.ID)
	}
	if err := b.Fence.Check(); err != nil {
		return err
	}
	one := family{strict: c.Atomic == AtomicFamily}
	if err := one.add(in); err != nil {
		return err
	}
	for i := range b.Messages {
		m := &b.Messages[i]
		if i == 0 || m.Topic != b.Messages[i-1].Topic { // most often they are all for one
			if err := CheckName("topic", m.Topic); err != nil {
				return err
			}
			if err := one.add(m.Topic); err != nil {
				return err
			}
		}
		if err := m.checkRest(&c); err != nil {
			return err
		}
	}
	for _, r := range b.Removes {
		if err := CheckName("topic", r.Topic); err != nil {
			return err
		}
		if r.Offset == Earliest || r.Offset == Latest {
			return fmt.Errorf("removal from topic %q: %q is no offset of an entry: %w", r.Topic, r.Offset, ErrInvalid)
		}
		if err := one.add(r.Topic); err != nil {
			return err
		}
	}
	return b.checkChanges(c, &one)
}

func (b *Batch) checkChanges(c Caps, one *family) error {
	var seen map[string]bool
	if len(b.Changes) > 1 {
		seen = make(map[string]bool, len(b.Changes))
	}
	for _, ch := range b.Changes {
		if err := ch.Check(c); err != nil {
			return err
		}
		if seen[ch.Key] {
			return fmt.Errorf("batch: key %s is changed twice in one step: %w", brief(ch.Key), ErrInvalid)
		}
		if seen != nil {
			seen[ch.Key] = true
		}
		if err := one.add(ch.Key); err != nil {
			return err
		}
	}
	return nil
}

// IsZero reports whether the batch has nothing to do.
func (b *Batch) IsZero() bool {
	return len(b.Messages) == 0 && len(b.Changes) == 0 && len(b.Removes) == 0 && b.ID == "" && b.Fence.IsZero()
}

// Check answers [ErrInvalid] for a settlement that no backend takes or that c cannot take, and [ErrUnsupported] when its step
// leaves the family of the topic where c.Atomic is [AtomicFamily].
func (s *Settlement) Check(c Caps, topic string) error {
	bad := func(why string) error { return fmt.Errorf("%s of topic %q: %s: %w", s.Verdict, topic, why, ErrInvalid) }
	switch {
	case s.Receipt == "":
		return bad("the receipt is empty")
	case s.Verdict < Ack || s.Verdict > Release:
		return bad("verdict is not Ack, Return or Release")
	case s.After < 0:
		return bad("After is negative")
	case len(s.Reason) > MaxReason:
		return bad(fmt.Sprintf("the reason has %d bytes, at most %d are allowed", len(s.Reason), MaxReason))
	case s.Verdict == Ack && s.After != 0:
		return bad("an acknowledgement has no After")
	case s.Verdict != Return && s.Reason != "":
		return bad("only a return has a reason")
	case s.Verdict != Ack && !s.Then.IsZero():
		return bad("only an acknowledgement has a step")
	case s.Then.ID != "":
		return bad("the step has an ID; the receipt is its own")
	}
	if s.Then.IsZero() {
		return nil
	}
	return s.Then.Check(c, topic)
}

// family collects the names of one step and refuses the first that leaves the family where that matters.
type family struct {
	strict bool
	name   string
	known  bool
}

func (f *family) add(name string) error {
	if !f.strict || name == "" {
		return nil
	}
	switch fam := Family(name); {
	case !f.known:
		f.name, f.known = fam, true
	case f.name != fam:
		return fmt.Errorf("step spans the families %q and %q, and this backend keeps a step within one; name both alike up to the first . or /: %w", f.name, fam, ErrUnsupported)
	}
	return nil
}
