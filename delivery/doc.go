// Package delivery turns requirements into a deployed program: a pipeline of package flow with six phases.
//
//	plan      the requirements become a plan with acceptance cases: a model's answer, checked against a schema
//	code      the plan becomes the files of a Go program, checked and kept by content
//	validate  go vet, go build, go test and the acceptance cases really run; what fails goes back to code
//	certify   the policy is checked, a review by the model recorded, and an in-toto statement signed (DSSE, Ed25519)
//	deploy    the signature and every digest are verified, then a release is placed and current switched in one step
//	monitor   the release is probed; an unhealthy one gives way to the release before it, and the run fails
//
// A run is carried on by any worker after a crash: what the phases hand on are digests of contents in port.Blobs, and what they
// do to the target directory can be done again. The models that answered and what they used are in every record. The programs
// are Go commands that need the standard library alone.
//
// What may not enter: the name of a backend, a model's or a runner's vendor, and any verdict that a model gives about its own
// work: a review is recorded and decides nothing.
package delivery
