// Package trust breaks the real binary in the ways that machines break: kill -9
// and power cuts at any moment, full disks, flipped bits, hostile names. What
// was acknowledged must be there and right afterwards, wrong bytes must never
// come out, and the next start must need no help.
//
// The sizes are those of one change; -rounds multiplies them for a night. Tests
// that need root or a mount are skipped with their reason where they can't run.
package trust
