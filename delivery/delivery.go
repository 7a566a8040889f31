package delivery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/google/jsonschema-go/jsonschema"

	"github.com/musterhq/muster/envelope"
	"github.com/musterhq/muster/flow"
	"github.com/musterhq/muster/port"
)

// Config is what a [Pipeline] may be told. The zero Config works.
type Config struct {
	Name        string        // of the pipeline: the family of its runs and topics; default "delivery"
	Secrets     port.Secrets  // where the signing key is looked for; default nowhere
	Key         string        // the secret that holds it: an Ed25519 private key, PKCS #8 in PEM; default "signing-key"
	State       string        // directory where a signing key is made when no secret holds one; default .muster in the target
	Scratch     string        // directory in which programs are built and probed; default that of os.TempDir
	Answers     int           // what a model may answer to one question until it is in order, from 1; default 3
	Rounds      int           // how often code is written until it validates, from 1; default 4
	CommandTime time.Duration // of one go command at most, over 0; default 5 min
	ProbeTime   time.Duration // of one acceptance case at most, over 0; default 10 s
	Licences    []string      // SPDX identifiers that files may name; default Apache-2.0 and other permissive ones
}

// Pipeline delivers programs into one target directory. New makes one. It starts nothing and may be used by many at once.
type Pipeline struct {
	model    port.Model
	contents port.Contents
	runner   port.Runner
	target   target
	c        Config

	schemas map[string]*jsonschema.Resolved
	code    flow.Phase[draft, source] // where validate goes back to
	flow    flow.Pipeline[job, Summary]
}

// Requirements is what shall be built.
type Requirements struct {
	Name string // for people to read, such as the file's name; default "requirements"
	Text string // required; at most 256 KiB of UTF-8
}

// MaxRequirements is the most bytes that requirements may have.
const MaxRequirements = 256 << 10

// New is a pipeline that asks model, keeps contents in blobs, runs commands by runner, and releases into the directory out, which is
// made when it is not there. port.ErrInvalid for a Config that cannot be. Nothing is read or written before Start, Preflight or
// Work.
//
// Below out: current is a symbolic link to releases/<id>, which has bin/<program>, src/, plan.json and statement.json, the signed
// statement; .muster has what the pipeline itself keeps. All releases are kept. Several runs may release into one directory;
// the last switch counts.
func New(model port.Model, blobs port.Blobs, runner port.Runner, out string, c Config) (*Pipeline, error) {
	c, err := c.filled()
	if err != nil {
		return nil, err
	}
	if model == nil || blobs == nil || runner == nil || out == "" {
		return nil, fmt.Errorf("delivery: a model, blobs, a runner and a target directory are all needed: %w", port.ErrInvalid)
	}
	out, err = filepath.Abs(out)
	if err != nil {
		return nil, fmt.Errorf("delivery: target %q: %w: %w", out, port.ErrInvalid, err)
	}
	if c.State == "" {
		c.State = filepath.Join(out, stateFolder)
	}
	p := &Pipeline{model: model, contents: port.Contents{Blobs: blobs}, runner: runner, target: target{out}, c: c}
	if p.schemas, err = resolve(planSchema, codeSchema, reviewSchema); err != nil {
		return nil, err
	}
	return p, p.compile()
}

func (c Config) filled() (Config, error) {
	c.Name = cmp.Or(c.Name, "delivery")
	c.Key = cmp.Or(c.Key, "signing-key")
	c.Scratch = cmp.Or(c.Scratch, os.TempDir())
	c.Answers = cmp.Or(c.Answers, 3)
	c.Rounds = cmp.Or(c.Rounds, 4)
	c.CommandTime = cmp.Or(c.CommandTime, 5*time.Minute)
	c.ProbeTime = cmp.Or(c.ProbeTime, 10*time.Second)
	if c.Licences == nil {
		c.Licences = []string{"0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "ISC", "MIT", "Unlicense"}
	}
	bad := func(format string, args ...any) (Config, error) {
		return c, fmt.Errorf("delivery: %s: %w", fmt.Sprintf(format, args...), port.ErrInvalid)
	}
	switch {
	case c.Answers < 1:
		return bad("Answers is %d, at least 1 is needed", c.Answers)
	case c.Rounds < 1:
		return bad("Rounds is %d, at least 1 is needed", c.Rounds)
	case c.CommandTime < 0 || c.ProbeTime < 0:
		return bad("CommandTime %v and ProbeTime %v must be over 0", c.CommandTime, c.ProbeTime)
	}
	if err := port.CheckName("secret", c.Key); err != nil {
		return c, fmt.Errorf("delivery: Key: %w", err)
	}
	var err error
	if c.Scratch, err = filepath.Abs(c.Scratch); err != nil {
		return bad("Scratch: %v", err)
	}
	if c.State != "" {
		if c.State, err = filepath.Abs(c.State); err != nil {
			return bad("State: %v", err)
		}
	}
	return c, nil
}

// The names of the phases.
const (
	phasePlan     = "plan"
	phaseCode     = "code"
	phaseValidate = "validate"
	phaseCertify  = "certify"
	phaseDeploy   = "deploy"
	phaseMonitor  = "monitor"
)

func (p *Pipeline) compile() error {
	plan := flow.First(phasePlan, p.planPhase)
	p.code = flow.Then(plan, phaseCode, p.codePhase)
	validate := flow.Then(p.code, phaseValidate, p.validatePhase)
	certify := flow.Then(validate, phaseCertify, p.certifyPhase)
	deploy := flow.Then(certify, phaseDeploy, p.deployPhase)
	monitor := flow.Then(deploy, phaseMonitor, p.monitorPhase)
	var err error
	p.flow, err = flow.NewPipeline(p.c.Name, plan, monitor)
	return err
}

// Phases are the names of the phases, in order.
func (p *Pipeline) Phases() []string { return p.flow.Phases() }

// Preflight reports what would keep a run from its end, as far as that can be known before: a target directory that cannot be
// written or is used otherwise, a runner without a go command of version 1.26 or newer, a signing key that cannot be read or
// made. It makes the directories and, where there is none, the key.
func (p *Pipeline) Preflight(ctx context.Context) error {
	if err := p.target.prepare(); err != nil {
		return err
	}
	if _, err := p.signer(ctx); err != nil {
		return err
	}
	return p.inScratch("preflight", func(dir string) error {
		_, err := p.toolchain(ctx, dir)
		return err
	})
}

// Start begins a run on b after Preflight. It returns when the run is queued; Work carries it on, here or elsewhere. The id has the
// characters of a topic's name; "" makes a new one. Starting an id again with the same requirements is the same run, with others
// port.ErrConflict.
func (p *Pipeline) Start(ctx context.Context, b flow.Backend, id string, r Requirements) (Run, error) {
	r.Name = cmp.Or(r.Name, "requirements")
	if err := r.check(); err != nil {
		return Run{}, err
	}
	if err := p.Preflight(ctx); err != nil {
		return Run{}, err
	}
	subject, err := p.contents.Put(ctx, []byte(r.Text))
	if err != nil {
		return Run{}, fmt.Errorf("delivery: keep the requirements: %w", err)
	}
	if id == "" {
		id = envelope.NewID()
	}
	run, err := p.flow.Start(ctx, b, id, job{Run: id, Name: r.Name, Subject: subject})
	if err != nil {
		return Run{}, fmt.Errorf("delivery: %w", err)
	}
	return Run{ID: run.ID, run: run}, nil
}

// Find is the run with an id; port.ErrNotFound where there is none.
func (p *Pipeline) Find(ctx context.Context, b flow.Backend, id string) (Run, error) {
	run, err := p.flow.Find(ctx, b, id)
	if err != nil {
		return Run{}, fmt.Errorf("delivery: %w", err)
	}
	return Run{ID: id, run: run}, nil
}

// Work carries the runs of b on until ctx ends, as flow.Pipeline.Work says. Contents, target directory, scratch directory and
// signing key must be the same for all workers of a pipeline, or shared between them.
func (p *Pipeline) Work(ctx context.Context, b flow.Backend, w flow.Worker) error {
	return p.flow.Work(ctx, b, w)
}

// inScratch gives fn a new directory and removes it with all that is in it.
func (p *Pipeline) inScratch(what string, fn func(dir string) error) error {
	dir, err := os.MkdirTemp(p.c.Scratch, "muster-"+what+"-")
	if err != nil {
		return fmt.Errorf("delivery: %s: no directory to work in, set TMPDIR to one that can be written: %w: %w", what, port.ErrUnavailable, err)
	}
	err = fn(dir)
	if rmErr := os.RemoveAll(dir); rmErr != nil {
		err = errors.Join(err, fmt.Errorf("delivery: %s: remove the directory that was worked in: %w: %w", what, port.ErrUnavailable, rmErr))
	}
	return err
}
