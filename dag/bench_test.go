package dag

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/hypha-node/hypha-node/blockstore"
)

// benchSize is the content of the large benchmarks, in bytes.
const benchSize = 256 << 20

// newDisk returns a store on disk.
func newDisk(t testing.TB) *blockstore.Disk {
	t.Helper()
	s, err := blockstore.Open(t.Context(), filepath.Join(t.TempDir(), "repo"), blockstore.Options{Reserve: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func benchFile(b *testing.B) *os.File {
	b.Helper()
	f, err := os.Create(filepath.Join(b.TempDir(), "content"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { f.Close() })
	if _, err := io.CopyN(f, &pattern{1}, benchSize); err != nil {
		b.Fatal(err)
	}
	return f
}

func BenchmarkImport(b *testing.B) {
	f := benchFile(b)
	for _, p := range []Profile{V1_2025(), V0_2015(), chunker(V1_2025(), 256<<10), chunker(V1_2025(), 4096)} {
		for _, hashOnly := range []bool{true, false} {
			b.Run(fmt.Sprintf("%s/hash only %v", p, hashOnly), func(b *testing.B) {
				b.SetBytes(benchSize)
				for b.Loop() {
					b.StopTimer()
					s := newDisk(b)
					b.StartTimer()
					_, err := Import(b.Context(), s, io.NewSectionReader(f, 0, benchSize), ImportOptions{Profile: p, HashOnly: hashOnly, Size: benchSize})
					if err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func BenchmarkRead(b *testing.B) {
	s := newDisk(b)
	f := benchFile(b)
	for _, p := range []Profile{V1_2025(), V0_2015(), chunker(V1_2025(), 256<<10), chunker(V1_2025(), 4096)} {
		file, err := Import(b.Context(), s, io.NewSectionReader(f, 0, benchSize), ImportOptions{Profile: p})
		if err != nil {
			b.Fatal(err)
		}
		r, err := Open(b.Context(), s, file.Root)
		if err != nil {
			b.Fatal(err)
		}
		b.Run("CopyRange/"+p.String(), func(b *testing.B) {
			b.SetBytes(benchSize)
			for b.Loop() {
				if _, err := r.CopyRange(b.Context(), io.Discard, 0, -1); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("CopyAt/"+p.String(), func(b *testing.B) {
			b.SetBytes(benchSize)
			for b.Loop() {
				if err := r.CopyAt(b.Context(), nowhere{}, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("Export/"+p.String(), func(b *testing.B) {
			b.SetBytes(benchSize)
			for b.Loop() {
				benchExport(b, s, file)
			}
		})
		if err := r.Close(); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("plain copy", func(b *testing.B) {
		b.SetBytes(benchSize)
		for b.Loop() {
			out, err := os.Create(filepath.Join(b.TempDir(), "out"))
			if err != nil {
				b.Fatal(err)
			}
			buf := make([]byte, 128<<10)
			if _, err := io.CopyBuffer(struct{ io.Writer }{out}, io.NewSectionReader(f, 0, benchSize), buf); err != nil {
				b.Fatal(err)
			}
			out.Close()
		}
	})
}

func benchExport(b *testing.B, s blockstore.Store, file File) {
	b.Helper()
	b.StopTimer()
	dir := b.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		b.Fatal(err)
	}
	b.StartTimer()
	if _, err := Export(b.Context(), s, file.Root, root, "out", ExportOptions{}); err != nil {
		b.Fatal(err)
	}
	b.StopTimer()
	if err := os.Remove(filepath.Join(dir, "out")); err != nil {
		b.Fatal(err)
	}
	root.Close()
	b.StartTimer()
}

// nowhere is an io.WriterAt that costs nothing.
type nowhere struct{}

func (nowhere) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }

// BenchmarkTree takes in and writes out 10,000 files of 4 KiB in 100 directories.
func BenchmarkTree(b *testing.B) {
	const files, size = 10_000, 4096
	dir := b.TempDir()
	for i := range files {
		d := filepath.Join(dir, fmt.Sprint(i%100))
		if err := os.MkdirAll(d, 0o700); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(d, fmt.Sprint(i)), content(size + i)[i:], 0o600); err != nil {
			b.Fatal(err)
		}
	}
	root := openRoot(b, dir)
	for _, hashOnly := range []bool{true, false} {
		b.Run(fmt.Sprintf("Import/hash only %v", hashOnly), func(b *testing.B) {
			b.SetBytes(files * size)
			for b.Loop() {
				b.StopTimer()
				s := newDisk(b)
				b.StartTimer()
				if _, err := ImportTree(b.Context(), s, root, ".", TreeOptions{ImportOptions: ImportOptions{HashOnly: hashOnly}}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	s := newDisk(b)
	tree, err := ImportTree(b.Context(), s, root, ".", TreeOptions{})
	if err != nil {
		b.Fatal(err)
	}
	b.Run("Walk", func(b *testing.B) {
		b.SetBytes(files * size)
		for b.Loop() {
			for _, err := range Walk(b.Context(), s, tree.Cid, Limits{}) {
				if err != nil {
					b.Fatal(err)
				}
			}
		}
	})
	b.Run("Export", func(b *testing.B) {
		b.SetBytes(files * size)
		for b.Loop() {
			b.StopTimer()
			out := openRoot(b, b.TempDir())
			b.StartTimer()
			if _, err := Export(b.Context(), s, tree.Cid, out, "out", ExportOptions{}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("Copy", func(b *testing.B) {
		b.SetBytes(files * size)
		for b.Loop() {
			b.StopTimer()
			to := newDisk(b)
			b.StartTimer()
			if _, err := Copy(b.Context(), to, newPeer(b, s), tree.Cid, CopyOptions{}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkCopy(b *testing.B) {
	from := newDisk(b)
	file, err := Import(b.Context(), from, io.NewSectionReader(benchFile(b), 0, benchSize), ImportOptions{})
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(benchSize)
	for b.Loop() {
		b.StopTimer()
		to := newDisk(b)
		b.StartTimer()
		if _, err := Copy(b.Context(), to, newPeer(b, from), file.Root, CopyOptions{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSmallImport(b *testing.B) {
	s := newDisk(b)
	content := content(4096)
	b.SetBytes(int64(len(content)))
	for b.Loop() {
		if _, err := Import(context.Background(), s, bytes.NewReader(content), ImportOptions{Size: 4096, HashOnly: true}); err != nil {
			b.Fatal(err)
		}
	}
}
