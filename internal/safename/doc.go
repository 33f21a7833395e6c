// Package safename judges every name that comes from outside: links of a DAG,
// files of a repository, request paths, names that peers sent. It is the only
// judge: no other package decides what a name may look like.
//
// It knows nothing of files. An accepted name is a plain relative path, so
// that joined to a directory it stays below it on every platform; symlinks on
// the disk are os.Root's business, not this package's.
package safename
