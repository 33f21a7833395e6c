package rig

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
)

// BinaryVariable names the environment variable that says which binary to test.
const BinaryVariable = "HYPHA_BINARY"

// Build returns the binary that the environment names. Without one it builds the
// command from this module into dir, static and without the machine's paths.
func Build(ctx context.Context, dir string) (string, error) {
	if name := os.Getenv(BinaryVariable); name != "" {
		return filepath.Abs(name)
	}
	binary := filepath.Join(dir, "hypha-node")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", binary, "github.com/hypha-node/hypha-node/cmd/hypha-node")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build hypha-node: %w: %s", err, out)
	}
	return binary, nil
}

// Random returns a reader of n bytes that follow from the seed and can't be
// compressed.
func Random(seed uint64, n int64) io.Reader {
	var key [32]byte
	for i := range 8 {
		key[i] = byte(seed >> (8 * i))
	}
	return io.LimitReader(rand.NewChaCha8(key), n)
}

// WriteRandom writes Random(seed, n) to a new file and returns its sha256 in hex.
func WriteRandom(name string, seed uint64, n int64) (sum string, err error) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	hash := sha256.New()
	buf := bufio.NewWriterSize(io.MultiWriter(f, hash), 1<<20)
	if _, err := io.Copy(buf, Random(seed, n)); err != nil {
		return "", err
	}
	if err := buf.Flush(); err != nil {
		return "", err
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

// HashFile returns the sha256 of a file in hex.
func HashFile(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

// SameTree returns an error that names the first difference between two trees:
// names, types, contents and targets of symlinks; not modes. It returns how many
// entries it compared.
func SameTree(a, b string) (entries int, err error) {
	var names [2][]string
	for i, root := range []string{a, b} {
		err := filepath.WalkDir(root, func(name string, _ fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			rel, err := filepath.Rel(root, name)
			names[i] = append(names[i], rel)
			return err
		})
		if err != nil {
			return 0, err
		}
	}
	for i := range max(len(names[0]), len(names[1])) {
		if i >= len(names[0]) || i >= len(names[1]) || names[0][i] != names[1][i] {
			return i, fmt.Errorf("entry %d: only one of the trees has it: %.1q, %.1q", i, names[0][min(i, len(names[0])):], names[1][min(i, len(names[1])):])
		}
		if err := sameEntry(filepath.Join(a, names[0][i]), filepath.Join(b, names[0][i])); err != nil {
			return i, fmt.Errorf("%s: %w", names[0][i], err)
		}
	}
	return len(names[0]), nil
}

// sameEntry compares two entries without following symlinks.
func sameEntry(a, b string) error {
	infoA, err := os.Lstat(a)
	if err != nil {
		return err
	}
	infoB, err := os.Lstat(b)
	if err != nil {
		return err
	}
	if infoA.Mode().Type() != infoB.Mode().Type() {
		return fmt.Errorf("type %v, %v", infoA.Mode().Type(), infoB.Mode().Type())
	}
	switch {
	case infoA.Mode().IsRegular():
		return sameContent(a, b)
	case infoA.Mode()&fs.ModeSymlink != 0:
		targetA, errA := os.Readlink(a)
		targetB, errB := os.Readlink(b)
		if targetA != targetB {
			return fmt.Errorf("symlink to %q, %q", targetA, targetB)
		}
		return errors.Join(errA, errB)
	}
	return nil
}

// sameContent compares two files byte by byte.
func sameContent(a, b string) error {
	fileA, err := os.Open(a)
	if err != nil {
		return err
	}
	defer fileA.Close()
	fileB, err := os.Open(b)
	if err != nil {
		return err
	}
	defer fileB.Close()
	bufA, bufB := make([]byte, 256<<10), make([]byte, 256<<10)
	for off := int64(0); ; {
		n, errA := io.ReadFull(fileA, bufA)
		m, errB := io.ReadFull(fileB, bufB)
		if n != m || !bytes.Equal(bufA[:n], bufB[:m]) {
			return fmt.Errorf("contents differ after byte %d", off)
		}
		off += int64(n)
		endA := errors.Is(errA, io.EOF) || errors.Is(errA, io.ErrUnexpectedEOF)
		endB := errors.Is(errB, io.EOF) || errors.Is(errB, io.ErrUnexpectedEOF)
		if endA && endB {
			return nil
		}
		if err := errors.Join(errA, errB); err != nil {
			return err
		}
	}
}
