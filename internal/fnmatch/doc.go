// Package fnmatch chooses paths by patterns as Python's fnmatch.fnmatchcase
// does, which is what the clients of the Hugging Face Hub mean by a pattern.
// It knows nothing of files: a path is text.
package fnmatch
