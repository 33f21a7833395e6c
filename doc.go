// Package hypha is the root of hypha-node: a node that gets models and datasets
// into the work directories of machine-learning jobs, fetched once, verified
// always, shared between peers by content.
//
// There is nothing to import here. The command is cmd/hypha-node; node wires the
// packages together; docs/design.md draws how they lie on each other, and
// layers_test.go beside this file fails when an import goes against the drawing.
package hypha
