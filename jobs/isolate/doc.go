// Package isolate keeps the executor of one job away from other jobs, from the
// node's repository and from its user's files.
//
// It knows nothing of jobs, bridges and stores: it gets paths and limits, and
// the command to run.
//
// How a command is started:
//
//  1. Start runs this very program again, with a hidden verb and with the
//     specification in an inherited memory file; nothing of it is in the
//     arguments or the environment.
//  2. Enter, called first thing in main, applies the specification to its own
//     process: mount view, network, user, capabilities, no_new_privs, Landlock,
//     limits.
//  3. Enter executes the command in its own place: the process id that Start
//     got is the command's, which leads its own session.
//
// Invariants
//
//  1. Closed on failure: what was asked for is applied whole or the command does
//     not run.
//  2. Nothing is weaker in silence: Report.Plan says what is reached and why it
//     is not more.
//  3. A confined process and its descendants stay marked, whatever they do to
//     their session, group and environment: Confined finds the mark.
package isolate
