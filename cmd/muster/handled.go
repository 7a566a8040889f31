package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/musterhq/muster/bus"
	"github.com/musterhq/muster/envelope"
)

// The variables by which a command of muster work knows its message, and a muster publish inside of it what it belongs to.
const (
	envID      = "MUSTER_ID"
	envCorrID  = "MUSTER_CORR_ID"
	envTenant  = "MUSTER_TENANT"
	envHeaders = "MUSTER_HEADERS"
)

// maxVariable is the longest value of a variable. Linux takes 128 KiB with the name, other systems less for all of them together.
const maxVariable = 64 << 10

// handledVariables are the variables of a message, all of them, so that none is inherited from the handling of another. A value that
// no variable can hold is an error.
func handledVariables(ctx context.Context, m *bus.Message[[]byte]) ([]string, error) {
	headers := m.Headers
	if headers == nil {
		headers = map[string]string{}
	}
	asJSON, err := json.Marshal(headers)
	if err != nil {
		return nil, err
	}
	var variables []string
	for _, v := range [][2]string{
		{envID, m.ID},
		{"MUSTER_TYPE", m.Type},
		{"MUSTER_TIME", m.At.UTC().Format(time.RFC3339Nano)},
		{envCorrID, m.CorrID},
		{"MUSTER_CAUSE_ID", m.CauseID},
		{envTenant, m.Tenant},
		{"MUSTER_SOURCE", m.Source},
		{"MUSTER_KEY", m.Key},
		{"MUSTER_CONTENT_TYPE", m.ContentType},
		{envHeaders, string(asJSON)},
		{"MUSTER_TOPIC", m.Topic},
		{"MUSTER_GROUP", m.Group},
		{"MUSTER_WORKER", m.Worker},
		{"MUSTER_ATTEMPT", strconv.Itoa(m.Attempt)},
		{"MUSTER_CRASHES", strconv.Itoa(m.Crashes)},
		{"MUSTER_LAST_ERROR", strings.ReplaceAll(m.LastError, "\x00", "")},
		{"MUSTER_IDEMPOTENCY_KEY", envelope.IdempotencyKey(ctx)},
	} {
		if strings.Contains(v[1], "\x00") {
			return nil, fmt.Errorf("%s would hold a zero byte, which no variable can", v[0])
		}
		if len(v[1]) > maxVariable {
			return nil, fmt.Errorf("%s would have %d bytes, at most %d are handed on", v[0], len(v[1]), maxVariable)
		}
		variables = append(variables, v[0]+"="+v[1])
	}
	return variables, nil
}

// withHandled is ctx under the message that the command which runs this one handles, if there is one.
func withHandled(ctx context.Context) context.Context {
	id := os.Getenv(envID)
	if id == "" {
		return ctx
	}
	meta := envelope.Meta{ID: id, CorrID: os.Getenv(envCorrID), Tenant: os.Getenv(envTenant)}
	if err := json.Unmarshal([]byte(os.Getenv(envHeaders)), &meta.Headers); err != nil {
		meta.Headers = nil // somebody else's variable: it holds no trace
	}
	return envelope.With(ctx, meta)
}
