// Command bench measures hypha-node against what a user would take instead, on
// this machine, and against the goals of the project:
//
//	bench -binary bin/hypha-node [-rows add,cat] [-rounds 5] [-size 1073741824] [-json FILE]
//
// How a row is measured, so that a noisy machine can't decide it:
//
//  1. Every round runs the subject and each rival once, in a shuffled order.
//  2. What a run needs is made before its clock starts, and what it wrote is
//     removed after it has stopped. `sync -f` before each run keeps one from
//     paying for the other's dirty pages, and memory for three times the file is
//     used and given back, so that none pays for what the host has taken away.
//  3. A goal is held to the median of the per-round ratios, not to the ratio of
//     medians: both runs of a ratio saw the same minute.
//  4. CPU seconds stand beside wall seconds: user and system time of the command
//     and its children, and of the daemons that worked for it.
//
// Rivals that aren't installed are left out and named. Links that are slow or far
// away are relays in user space (link.go), since kernels may lack netem.
package main
