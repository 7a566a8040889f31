package main

import (
	"context"
	"encoding/json"
	"os"

	"github.com/musterhq/muster/envelope"
)

// The variables by which a command of muster work knows its message, and a muster publish inside of it what it belongs to.
const (
	envID      = "MUSTER_ID"
	envCorrID  = "MUSTER_CORR_ID"
	envTenant  = "MUSTER_TENANT"
	envHeaders = "MUSTER_HEADERS"
)

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
