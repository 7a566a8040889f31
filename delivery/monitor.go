package delivery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
)

// monitorPhase probes the release. An unhealthy one gives way to the one before it, and the run fails with the reason.
func (p *Pipeline) monitorPhase(ctx context.Context, in deployed) (Summary, error) {
	w := begin(phaseMonitor, 0, in.Trail)
	key, err := p.signer(ctx)
	if err != nil {
		return Summary{}, w.failed(ctx, err)
	}
	cases, wrong := p.health(ctx, key, in.Release)
	if ctx.Err() != nil {
		return Summary{}, context.Cause(ctx)
	}
	if wrong != nil {
		return Summary{}, w.failed(ctx, p.rollBack(ctx, key, in, wrong))
	}
	trail, err := w.end(ctx, true, fmt.Sprintf("release %s is healthy: %s passed", in.Release, count(cases, "acceptance case")))
	if err != nil {
		return Summary{}, err
	}
	return p.summary(in, key, trail), nil
}

// health verifies a release and runs it through the acceptance cases of its plan. A release that cannot be probed is not healthy.
func (p *Pipeline) health(ctx context.Context, key signer, id string) (cases int, err error) {
	s, err := p.target.verify(id, key.public())
	if err != nil {
		return 0, err
	}
	body, err := os.ReadFile(p.target.release(id, planFile))
	if err != nil {
		return 0, err
	}
	var plan Plan
	if err := json.Unmarshal(body, &plan); err != nil {
		return 0, fmt.Errorf("%s: %w", planFile, err)
	}
	var wrong []string
	err = p.inScratch("probe", func(dir string) (err error) {
		wrong, err = p.probe(ctx, dir, p.target.release(id, "bin", s.Predicate.Program), plan.Acceptance)
		return err
	})
	if err == nil && len(wrong) > 0 {
		err = errors.New(clip(strings.Join(wrong, "; "), maxDetail/2))
	}
	return len(plan.Acceptance), err
}

// rollBack withdraws a release, and returns why the run fails. What it does may be repeated; it never goes back to a release that is not
// the one that was signed.
func (p *Pipeline) rollBack(ctx context.Context, key signer, in deployed, wrong error) error {
	to, aside := in.Previous, ""
	if to != "" {
		if _, err := p.target.verify(to, key.public()); err != nil {
			to, aside = "", fmt.Sprintf("; not back to %s: %v", in.Previous, err)
		}
	}
	if err := p.target.withdraw(in.Release, to); err != nil {
		return fmt.Errorf("release %s is unhealthy (%w) and stays: %w", in.Release, wrong, err)
	}
	now, err := p.target.now()
	if err != nil {
		return err
	}
	if now == "" {
		return final("release %s is unhealthy: %w; it was withdrawn, and no release is current%s", in.Release, wrong, aside)
	}
	state := "healthy"
	if _, err := p.health(ctx, key, now); err != nil {
		state = fmt.Sprintf("unhealthy too: %v", err)
	}
	return final("release %s is unhealthy: %w; rolled back to %s, which is %s%s", in.Release, wrong, now, state, aside)
}
