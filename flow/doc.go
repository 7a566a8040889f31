// Package flow is work in steps that survive a crash, on a queue and a key-value store of one backend.
//
// An [Orchestrator] is one step between two topics: it consumes, handles and emits. A [Pipeline] is a chain of phases with a run
// for each input: [First] and [Then] name the phases and their handlers, [NewPipeline] compiles them, Start begins a run, and
// Work, on any number of nodes, carries runs on.
//
// What a phase leaves behind (the run's record, the entry of its history, the input of the next phase) and the acknowledgement of
// its input are one step of the backend, so it happens as a whole and once. The handler itself runs at least once: again after
// a failure, and on another node after a crash, as soon as the loan of its message has run out. [Do] keeps what it has done so
// far from being repeated; envelope.IdempotencyKey names what it does elsewhere.
//
// Nothing of a run is in a process. Everything of a pipeline's runs lives in the family of the pipeline's name (see port.Family):
//
//	<pipeline>.<phase>.in    the inputs of a phase, worked off by the group "flow"; its dead letters beside it
//	<pipeline>.events        the news, for those who wait and watch; kept for a day
//	<pipeline>/run/<id>      the record of a run: a [Status] as JSON, of bounded size
//	<pipeline>/log/<id>/<n>  its history: [Record] by record, each with the hash of the one before
//	<pipeline>/do/<id>/...   what its handlers have done with [Do]
//
// A run stays until it is removed by Remove, whatever became of it.
//
// What may not enter: the name of a backend, work that is not driven by a message, and state that only one process knows.
package flow
