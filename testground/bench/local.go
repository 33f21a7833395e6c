package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/hypha-node/hypha-node/testground/rig"
)

// bench is what all rows share.
type bench struct {
	binary     string
	kubo       string // "" when there is none
	hf         string // a Python that has huggingface_hub, "" when there is none
	aria2      string // likewise
	dir        string // scratch
	file       string // the big file
	size       int64  // its bytes
	moved      int64  // bytes that row flat moves
	garbage    int64  // bytes of the files of row gc
	blocks     int    // of row million
	sum        string // its sha256 in hex
	small      string // a directory of many small files
	smallBytes int64
	stored     string // a repository that holds the big file
	root       string // its root there
	kuboStored *rig.Kubo
	kuboRoot   string
}

// localMemory and transferMemory are the goals for RssAnon, in bytes.
const localMemory, transferMemory = 96 << 20, 192 << 20

// program is a contender that is one command, whose output goes nowhere.
func program(name string, command func(dir string) rig.Program) contender {
	return contender{name, func(_ context.Context, dir string) (func(context.Context) (sample, error), func() error, error) {
		p := command(dir)
		return func(ctx context.Context) (sample, error) {
			null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
			if err != nil {
				return sample{}, err
			}
			defer null.Close()
			p.Stdout = null
			r, err := p.Run(ctx)
			return ofResult(r), err
		}, nil, nil
	}}
}

// openssl hashes the big file: as fast as one core can.
func (b *bench) openssl() contender {
	return program("openssl", func(string) rig.Program {
		return rig.Program{Path: "openssl", Args: []string{"dgst", "-sha256", b.file}}
	})
}

// cp copies the big file without sharing its bytes.
func (b *bench) cp() contender {
	return program("cp", func(dir string) rig.Program {
		return rig.Program{Path: "cp", Args: []string{"--reflink=never", b.file, filepath.Join(dir, "copy")}}
	})
}

// hypha is the command on a repository.
func (b *bench) hypha(repo string, args ...string) rig.Program {
	return rig.Program{Path: b.binary, Args: append([]string{"--repo", repo}, args...)}
}

// hyphaAdd adds a path to a repository that was made before the clock starts.
func (b *bench) hyphaAdd(name, path string, used *int64) contender {
	return contender{name, func(ctx context.Context, dir string) (func(context.Context) (sample, error), func() error, error) {
		repo := filepath.Join(dir, "repo")
		first := filepath.Join(dir, "first")
		if err := os.WriteFile(first, []byte("first"), 0o600); err != nil {
			return nil, nil, err
		}
		if _, err := b.hypha(repo, "add", "-q", first).Run(ctx); err != nil {
			return nil, nil, err
		}
		return func(ctx context.Context) (sample, error) {
				r, err := b.hypha(repo, "add", "-q", "-r", path).Run(ctx)
				return ofResult(r), err
			}, func() error {
				n, err := rig.DiskUsage(repo)
				*used = max(*used, n)
				return err
			}, nil
	}}
}

// kuboAdd adds a path to a new Kubo repository with that kind of store, and
// flushes it if sync says so.
func (b *bench) kuboAdd(name, path, store string, sync bool) contender {
	return contender{name, func(ctx context.Context, dir string) (func(context.Context) (sample, error), func() error, error) {
		profile := "v1-2025"
		if store != "" {
			profile += "," + store
		}
		k, err := rig.NewKubo(ctx, b.kubo, filepath.Join(dir, "kubo"), profile)
		if err != nil {
			return nil, nil, err
		}
		p := k.Program("add", "-Q", "-r", "--progress=false", path)
		if sync {
			p.Args = []string{"-c", `"$@" && sync -f "$IPFS_PATH"`, "sh", p.Path, "add", "-Q", "-r", "--progress=false", path}
			p.Path = "/bin/sh"
		}
		return func(ctx context.Context) (sample, error) {
			r, err := p.Run(ctx)
			return ofResult(r), err
		}, nil, nil
	}}
}

// store puts the big file into a repository of ours and, if there is a Kubo, of
// Kubo's, for the rows that read.
func (b *bench) store(ctx context.Context) error {
	if b.stored != "" {
		return nil
	}
	repo := filepath.Join(b.dir, "stored")
	r, err := b.hypha(repo, "add", "-q", b.file).Run(ctx)
	if err != nil {
		return err
	}
	b.stored, b.root = repo, strings.TrimSpace(r.Stdout)
	if b.kubo == "" {
		return nil
	}
	if b.kuboStored, err = rig.NewKubo(ctx, b.kubo, filepath.Join(b.dir, "kubo-stored"), "v1-2025"); err != nil {
		return err
	}
	if b.kuboRoot, err = b.kuboStored.Add(ctx, b.file); err != nil {
		return err
	}
	if b.kuboRoot != b.root {
		return fmt.Errorf("our root %s, Kubo's %s", b.root, b.kuboRoot)
	}
	return nil
}

// addRow: a big file into the store, durably.
func (b *bench) addRow() row {
	var used int64
	r := row{
		name: "add", title: "`add` of a big file, durable: store, CIDs, sha256",
		subject: b.hyphaAdd("hypha-node add", b.file, &used),
		rivals:  []contender{b.openssl()},
		goals: []goal{
			{rival: "openssl", speed: 0.5},
			{rival: "ipfs add, sync -f", speed: 2, cpu: 0.45},
			{rival: "ipfs add", speed: 1.5},
		},
		anon: localMemory,
		after: func(context.Context) ([]check, error) {
			return []check{{
				What: "disk beyond the data", Got: mib(used - b.size), Goal: mib(b.size/1000 + 4<<20), Unit: "MiB",
			}}, nil
		},
	}
	if b.kubo != "" {
		r.rivals = append(r.rivals, b.kuboAdd("ipfs add, sync -f", b.file, "", true), b.kuboAdd("ipfs add", b.file, "", false))
	}
	return r
}

// catRow: a stored file to nowhere, verified.
func (b *bench) catRow(ctx context.Context) (row, error) {
	if err := b.store(ctx); err != nil {
		return row{}, err
	}
	r := row{
		name: "cat", title: "`cat > /dev/null`, verified",
		subject: program("hypha-node cat", func(string) rig.Program { return b.hypha(b.stored, "cat", b.root) }),
		rivals:  []contender{b.openssl()},
		goals:   []goal{{rival: "openssl", speed: 1.8}},
		anon:    localMemory,
	}
	if b.kubo != "" {
		r.rivals = append(r.rivals, program("ipfs cat (unverified)", func(string) rig.Program { return b.kuboStored.Program("cat", b.kuboRoot) }))
	}
	return r, nil
}

// getRow: a stored file to a file, verified.
func (b *bench) getRow(ctx context.Context) (row, error) {
	if err := b.store(ctx); err != nil {
		return row{}, err
	}
	r := row{
		name: "get", title: "`get`, verified",
		subject: program("hypha-node get", func(dir string) rig.Program {
			return b.hypha(b.stored, "get", b.root, "-o", filepath.Join(dir, "out"))
		}),
		rivals: []contender{b.cp()},
		goals:  []goal{{rival: "cp", speed: 0.45}, {rival: "ipfs get (unverified)", speed: 2.5}},
		anon:   localMemory,
	}
	if b.kubo != "" {
		r.rivals = append(r.rivals, program("ipfs get (unverified)", func(dir string) rig.Program {
			return b.kuboStored.Program("get", "--progress=false", "-o", filepath.Join(dir, "out"), b.kuboRoot)
		}))
	}
	return r, nil
}

// smallRow: many small files into the store.
func (b *bench) smallRow() (row, error) {
	const files, each = 10000, 4 << 10
	if b.small == "" {
		b.small, b.smallBytes = filepath.Join(b.dir, "small"), files*each
		if err := os.Mkdir(b.small, 0o700); err != nil {
			return row{}, err
		}
		for i := range uint64(files) {
			if _, err := rig.WriteRandom(filepath.Join(b.small, fmt.Sprintf("%05d", i)), i, each); err != nil {
				return row{}, err
			}
		}
	}
	var used int64
	r := row{
		name: "small", title: "10,000 files of 4 KiB, `add -r`, durable",
		subject: b.hyphaAdd("hypha-node add -r", b.small, &used),
		anon:    localMemory,
		after: func(context.Context) ([]check, error) {
			return []check{{What: "disk against the data", Got: float64(used) / float64(b.smallBytes), Goal: 1.10, Unit: "×"}}, nil
		},
	}
	if b.kubo != "" {
		for name, profile := range map[string]string{"flatfs": "", "pebble": "pebbleds", "badger": "badgerds"} {
			name = "ipfs add -r, " + name
			r.rivals = append(r.rivals, b.kuboAdd(name, b.small, profile, false))
			r.goals = append(r.goals, goal{rival: name, speed: 3})
		}
	}
	return r, nil
}
