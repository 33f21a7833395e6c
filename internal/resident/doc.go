// Package resident tells the system which of a program's pages it can do without.
//
// A program's code and constants are mapped from its file and come into memory where
// they are used, a start's share of them, too. They are clean: the kernel may take
// them back whenever it likes, and finds them in its cache or in the file when they
// are used again. But nothing makes it do so while memory is plenty, and until then
// they count as the process's.
//
// Invariant: only mappings that can't be written to, and no page of which differs
// from the file, are given back. A page that was changed on its way into memory, as
// loaders and debuggers do, would come back as it was before.
package resident
