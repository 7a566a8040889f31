package hold

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"time"
)

var (
	// ErrInvalid is matched by the error for a Config that cannot be kept.
	ErrInvalid = errors.New("invalid")
	// ErrLost is matched by the causes of loss where Config.Lost names no other error.
	ErrLost = errors.New("lost")
)

const (
	defaultJitter      = 0.15
	defaultRate        = 0.01
	defaultGranularity = time.Millisecond
	never              = time.Duration(math.MaxInt64)
)

// Config is what a holder knows of what it holds. Only Lease is required.
type Config struct {
	Lease       time.Duration // how long the store grants; required
	Period      time.Duration // from one renewal to the next; default Lease/3
	Jitter      float64       // by what part Period varies at random, below 1; negative: none; default 0.15
	Drain       time.Duration // what the holder's code needs to stop, at least Lease/50; default Lease/5
	Rate        float64       // by what part two clocks may differ in speed, below 1; negative: none; default 0.01
	Granularity time.Duration // what the store may cut off a duration; negative: nothing; default 1 ms
	Attempt     time.Duration // how long one renewal may take, at most half of what is left; default Period
	Lost        error         // matched by a renewal that is refused for good, and by every cause of loss; default ErrLost
	Overran     func()        // called once when fn has not returned Drain after the loss; default none
	Clock       Clock         // default the machine's
	// Random returns a number from 0 up to 1, which chooses a point of the jitter, and is safe for concurrent use; default that of
	// math/rand/v2.
	Random func() float64
}

// Terms is a Config with its defaults, and what follows from it. All times count from the moment before the request
// that granted or renewed was sent.
type Terms struct {
	Config
	Valid    time.Duration // until then nobody else can hold: Lease less the clocks' error and the granularity
	StepDown time.Duration // from then on nothing is held: Valid less Drain

	tick time.Duration // how often the keeper looks at the clock
}

// Terms fills in the defaults and checks that a renewal that fails can be followed by a drain in time:
// Drain + Period (1 + Jitter) + Attempt must be less than Lease (1 - Rate) - Granularity, else ErrInvalid.
func (c Config) Terms() (Terms, error) {
	if c.Lease <= 0 {
		return Terms{}, fmt.Errorf("hold: %w: lease %v is not positive", ErrInvalid, c.Lease)
	}
	attempt := c.Attempt // the default gives way to what is left; a given one is promised
	c = c.filled()
	switch {
	case c.Period <= 0:
		return Terms{}, fmt.Errorf("hold: %w: period %v of lease %v is not positive", ErrInvalid, c.Period, c.Lease)
	case c.Drain < c.Lease/50 || c.Drain <= 0:
		return Terms{}, fmt.Errorf("hold: %w: drain %v is less than a fiftieth of lease %v", ErrInvalid, c.Drain, c.Lease)
	case attempt < 0:
		return Terms{}, fmt.Errorf("hold: %w: attempt %v of lease %v is negative", ErrInvalid, attempt, c.Lease)
	case !(c.Jitter < 1):
		return Terms{}, fmt.Errorf("hold: %w: jitter %v is not below 1", ErrInvalid, c.Jitter)
	case !(c.Rate < 1):
		return Terms{}, fmt.Errorf("hold: %w: clock rate error %v is not below 1", ErrInvalid, c.Rate)
	}
	valid := c.Lease - time.Duration(float64(c.Lease)*c.Rate) - c.Granularity
	// In floating point, because the sum of what the caller gives may overflow.
	if float64(c.Drain)+float64(c.Period)*(1+c.Jitter)+float64(attempt) >= float64(valid) {
		return Terms{}, fmt.Errorf("hold: %w: lease %v is good for %v, too short for drain %v, period %v (jitter %v) and attempt %v",
			ErrInvalid, c.Lease, valid, c.Drain, c.Period, c.Jitter, attempt)
	}
	return Terms{Config: c, Valid: valid, StepDown: valid - c.Drain, tick: c.Drain / 4}, nil
}

func (c Config) filled() Config {
	if c.Period == 0 {
		c.Period = c.Lease / 3
	}
	if c.Drain == 0 {
		c.Drain = c.Lease / 5
	}
	c.Jitter = orDefault(c.Jitter, defaultJitter)
	c.Rate = orDefault(c.Rate, defaultRate)
	c.Granularity = orDefault(c.Granularity, defaultGranularity)
	if c.Attempt == 0 {
		c.Attempt = c.Period
	}
	if c.Lost == nil {
		c.Lost = ErrLost
	}
	if c.Random == nil {
		c.Random = rand.Float64
	}
	return c
}

// orDefault returns d for zero, and zero for what is negative and so means none.
func orDefault[T float64 | time.Duration](v, d T) T {
	switch {
	case v == 0:
		return d
	case v < 0:
		return 0
	}
	return v
}

// jittered varies d by Jitter; rnd is from 0 up to 1.
func (t Terms) jittered(d time.Duration, rnd float64) time.Duration {
	return time.Duration(float64(d) * (1 + t.Jitter*(2*rnd-1)))
}

// attemptTime is how long a renewal may take when left remains until the step-down.
func (t Terms) attemptTime(left time.Duration) time.Duration { return min(t.Attempt, left/2) }

// retryAfter is how long to wait after so many failures in a row, an eighth of Period first and then twice as much each
// time, when left remains until the step-down. It is never when too little is left for a further attempt.
func (t Terms) retryAfter(failures int, left time.Duration, rnd float64) time.Duration {
	wait := min(t.Period/8<<min(failures-1, 3), left/2)
	if wait < t.Period/16 {
		return never
	}
	return t.jittered(wait, rnd)
}
