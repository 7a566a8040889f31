package delivery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/musterhq/muster/port"
	"github.com/musterhq/muster/retry"
)

// job is what every phase hands on. The contents themselves stay in the blobs.
type job struct {
	Run     string  `json:"run"`
	Name    string  `json:"name"`    // of the requirements
	Subject string  `json:"subject"` // the requirements' digest
	Trail   []Entry `json:"trail,omitempty"`
}

// draft is what code works on.
type draft struct {
	job
	At       time.Time `json:"at"`                 // when the plan was made: a part of the release's name
	Program  string    `json:"program"`            // its name
	Plan     string    `json:"plan"`               // digest
	Round    int       `json:"round"`              // of code and validate, from 1
	Answer   int       `json:"answer"`             // the number of the next answer that code asks for, from 1
	Files    string    `json:"files,omitempty"`    // digest of the files that the findings are about; none in the first round
	Findings []string  `json:"findings,omitempty"` // what was wrong with them
}

// source is what validate works on: Files has the program.
type source struct{ draft }

// checked is what certify works on.
type checked struct {
	source
	Report Report `json:"report"`
}

// certified is what deploy works on.
type certified struct {
	checked
	Statement string `json:"statement"` // digest of the signed envelope
	Review    Review `json:"review"`
}

// deployed is what monitor works on.
type deployed struct {
	certified
	Release  string `json:"release"`            // its id
	Previous string `json:"previous,omitempty"` // that of the one before
}

func (r Requirements) check() error {
	bad := func(why string) error {
		return fmt.Errorf("delivery: %s: %s: %w", r.Name, why, port.ErrInvalid)
	}
	switch {
	case r.Text == "":
		return bad("there is nothing in it: write down what the program shall do")
	case len(r.Text) > MaxRequirements:
		return bad(fmt.Sprintf("it has %d bytes, at most %d are allowed", len(r.Text), MaxRequirements))
	case !utf8.ValidString(r.Text):
		return bad("it is no UTF-8 text")
	}
	return nil
}

// load is the content with a digest. What is gone or damaged does not come back by trying again.
func (p *Pipeline) load(ctx context.Context, what, digest string) ([]byte, error) {
	body, err := p.contents.Get(ctx, digest)
	if err == nil {
		return body, nil
	}
	err = fmt.Errorf("%s: %w", what, err)
	for _, in := range []error{port.ErrNotFound, port.ErrLost, port.ErrInvalid} {
		if errors.Is(err, in) {
			return nil, retry.Permanent(err)
		}
	}
	return nil, err
}

// keep stores v as JSON and returns its digest.
func (p *Pipeline) keep(ctx context.Context, what string, v any) (string, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return "", retry.Permanent(fmt.Errorf("%s: %w", what, err))
	}
	digest, err := p.contents.Put(ctx, body)
	if err != nil {
		return "", fmt.Errorf("%s: %w", what, err)
	}
	return digest, nil
}

// loadJSON fills v from the content with a digest.
func (p *Pipeline) loadJSON(ctx context.Context, what, digest string, v any) error {
	body, err := p.load(ctx, what, digest)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, v); err != nil {
		return retry.Permanent(fmt.Errorf("%s: content %s: %w", what, digest, err))
	}
	return nil
}

// final is a failure that trying again does not help.
func final(format string, args ...any) error { return retry.Permanent(fmt.Errorf(format, args...)) }
