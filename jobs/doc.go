// Package jobs keeps the node's jobs: their ids, work directories and bridge
// sockets, across restarts; and it runs executors.
//
// It knows nothing of the node's network, of the command line and of what
// executors do.
//
// Invariants
//
//  1. A job is recorded before its directory is made, and its record is the
//     last thing that is removed: whatever a crash leaves has a record, so that
//     Remove can be asked again.
//  2. Paths come from the job's id and the configuration, never from a record:
//     a damaged record can't make Remove reach outside the jobs directory.
//  3. Directories are 0700, sockets and files 0600, from their first moment.
//  4. Two supervisors with different jobs directories never share a path.
//  5. When Run returns, no process that the executor started is alive, as far
//     as the system lets it be known.
package jobs
