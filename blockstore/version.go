package blockstore

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/hypha-node/hypha-node/blockstore/internal/vfs"
)

// repoVersion is the version of a repository that this program writes.
const repoVersion = 3

// migrations bring a repository from the version at their place to the next one.
func migrations() []func(dir string) error {
	return []func(string) error{
		// 0: a repository without a version file is one that is being made.
		func(string) error { return nil },
		// 1: private blocks are not marked. The index is, when it is opened: it
		// says itself that it was (metaScoped).
		func(string) error { return nil },
		// 2: no pin ends or has an owner.
		func(string) error { return nil },
	}
}

// bringUpToDate checks the version of a repository, migrates an older one and
// gives a new one its version.
func bringUpToDate(dir string, log *slog.Logger) error {
	name := filepath.Join(dir, versionFile)
	text, err := os.ReadFile(name)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	version, ok := parseVersion(text)
	if !ok && len(text) > 0 {
		// Whatever a newer program writes, it writes three times over.
		log.Warn("version file is damaged and written again", slog.String("path", name))
		version = repoVersion
	}
	if version > repoVersion {
		return fmt.Errorf("repository %s has version %d, this program knows up to %d: %w", dir, version, repoVersion, ErrVersion)
	}
	if ok && version == repoVersion {
		return nil
	}
	for from, migrate := range migrations()[min(version, len(migrations())):] {
		if err := migrate(dir); err != nil {
			return fmt.Errorf("migrate repository %s from version %d: %w", dir, version+from, err)
		}
	}
	return writeVersion(dir)
}

// versionLine is one line of the version file, with a checksum of what is before
// it. There are three, so that a flipped bit decides nothing.
func versionLine(version int) string {
	line := fmt.Sprintf("hypha-node repository version %d", version)
	return fmt.Sprintf("%s %08x\n", line, crc32.Checksum([]byte(line), castagnoli()))
}

// parseVersion returns the highest version that a valid line names.
func parseVersion(text []byte) (version int, ok bool) {
	for line := range strings.Lines(string(text)) {
		var v int
		if _, err := fmt.Sscanf(line, "hypha-node repository version %d ", &v); err == nil && v >= 0 && line == versionLine(v) {
			version, ok = max(version, v), true
		}
	}
	return version, ok
}

func writeVersion(dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	temp := versionFile + ".new"
	f, err := root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(bytes.Repeat([]byte(versionLine(repoVersion)), 3))
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return noSpace(err)
	}
	if err := root.Rename(temp, versionFile); err != nil {
		return err
	}
	return vfs.SyncDir(dir)
}
