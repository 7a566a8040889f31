package delivery

import (
	"context"
	"fmt"
	"time"
)

// Plan is what a model proposes to build.
type Plan struct {
	Name       string   `json:"name"`       // of the program and its Go module: a-z 0-9 -, a letter first, at most 40
	Summary    string   `json:"summary"`    // what it does, in a sentence or two
	Steps      []string `json:"steps"`      // how it is built
	Acceptance []Case   `json:"acceptance"` // what it must do; at least one
}

// Case is one acceptance case: the program is run, and must answer exactly this.
type Case struct {
	Name   string   `json:"name"`
	Args   []string `json:"args,omitempty"`
	Stdin  string   `json:"stdin"`
	Stdout string   `json:"stdout"`
	Exit   int      `json:"exit,omitempty"` // its exit status; default 0
}

const planSchema = `{
  "type": "object",
  "additionalProperties": false,
  "required": ["name", "summary", "steps", "acceptance"],
  "properties": {
    "name": {"type": "string", "pattern": "^[a-z][a-z0-9-]{0,39}$", "description": "of the program and its Go module"},
    "summary": {"type": "string", "minLength": 1, "maxLength": 2000, "description": "what the program does"},
    "steps": {"type": "array", "minItems": 1, "maxItems": 50, "items": {"type": "string", "minLength": 1, "maxLength": 1000}},
    "acceptance": {
      "type": "array", "minItems": 1, "maxItems": 50,
      "items": {
        "type": "object",
        "additionalProperties": false,
        "required": ["name", "stdin", "stdout"],
        "properties": {
          "name": {"type": "string", "minLength": 1, "maxLength": 200},
          "args": {"type": "array", "maxItems": 20, "items": {"type": "string", "maxLength": 1000}},
          "stdin": {"type": "string", "maxLength": 65536},
          "stdout": {"type": "string", "maxLength": 65536, "description": "the whole standard output, byte by byte"},
          "exit": {"type": "integer", "minimum": 0, "maximum": 125, "description": "the exit status, 0 if left out"}
        }
      }
    }
  }
}`

const planSystem = `You plan small Go command-line programs that need the standard library alone.
Answer with one JSON document that satisfies the schema. The acceptance cases are run against the finished program: standard input
and arguments in, standard output and exit status compared exactly. Cover the ordinary case and the edges that the requirements name.`

// planPhase asks for a plan until one is in order.
func (p *Pipeline) planPhase(ctx context.Context, in job) (draft, error) {
	w := begin(phasePlan, 0, in.Trail)
	text, err := p.load(ctx, "the requirements", in.Subject)
	if err != nil {
		return draft{}, err
	}
	q := question{system: planSystem, text: "The requirements:\n\n" + string(text), schema: planSchema, subject: in.Subject, answer: 1}
	plan, _, err := ask(ctx, p, w, q, Plan.check)
	if err != nil {
		return draft{}, w.failed(ctx, err)
	}
	out := draft{job: in, At: time.Now().UTC(), Program: plan.Name, Round: 1, Answer: 1}
	if out.Plan, err = p.keep(ctx, "the plan", plan); err != nil {
		return draft{}, err
	}
	out.Trail, err = w.end(ctx, true, fmt.Sprintf("program %q: %s, %s", plan.Name, count(len(plan.Steps), "step"), count(len(plan.Acceptance), "acceptance case")))
	return out, err
}

// check refuses what the schema cannot: two cases of one name.
func (plan Plan) check() error {
	seen := map[string]bool{}
	for _, c := range plan.Acceptance {
		if seen[c.Name] {
			return fmt.Errorf("two acceptance cases are named %q", c.Name)
		}
		seen[c.Name] = true
	}
	return nil
}
