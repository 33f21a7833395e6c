package jobs

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/hypha-node/hypha-node/bridge"
	"github.com/hypha-node/hypha-node/internal/atomicfile"
)

// maxArg is how long one argument or variable may be, in bytes: Linux'
// MAX_ARG_STRLEN is 128 KiB with the terminating zero (execve(2)).
const maxArg = 128<<10 - 1

// jobFile is the name of JOB_FILE below the work directory.
const jobFile = bridge.Private + "/job.json"

// description is JOB_JSON. The configuration is there twice because executors
// look for it in either place, and so is the executor's name.
type description struct {
	JobID    string          `json:"job_id"` // the one that all tasks of the job share
	Executor executor        `json:"executor"`
	Config   json.RawMessage `json:"config"`
}

// executor describes what is run.
type executor struct {
	Class      string          `json:"class"` // of the template, "process" without one
	Name       string          `json:"name"`  // of the template, else the base name of the program
	Descriptor descriptor      `json:"descriptor"`
	Config     json.RawMessage `json:"config"`
}

// descriptor is where executors of the original look for the name.
type descriptor struct {
	Name string `json:"name"`
}

// invocation is a command with everything filled in.
type invocation struct {
	args []string
	env  []string
	dir  string
}

// prepare writes JOB_FILE and fills in the placeholders and the environment.
// cookie marks the processes of this run.
func prepare(job Job, c Command, cookie string) (invocation, error) {
	if len(c.Args) == 0 || c.Args[0] == "" {
		return invocation{}, errors.New("no command")
	}
	text, err := describe(job, c)
	if err != nil {
		return invocation{}, err
	}
	if err := writeJobFile(job.WorkDir, text); err != nil {
		return invocation{}, fmt.Errorf("write job file: %w", err)
	}
	path := filepath.Join(job.WorkDir, filepath.FromSlash(jobFile))
	in := invocation{dir: c.Dir, env: append([]string{}, c.Env...)}
	if in.dir == "" {
		in.dir = job.WorkDir
	}
	in.env = append(in.env,
		"SOCKET_PATH="+job.Socket, "WORK_DIR="+job.WorkDir, "JOB_FILE="+path,
		"HYPHA_JOB_ID="+job.ID, "HYPHA_BRIDGE=unix://"+job.Socket, cookie)
	if entry := "JOB_JSON=" + text; len(entry) <= maxArg {
		in.env = append(in.env, entry)
	}
	// One pass: what a value brings is not looked at again.
	fill := strings.NewReplacer("{SOCKET_PATH}", job.Socket, "{WORK_DIR}", job.WorkDir,
		"{JOB_JSON}", text, "{JOB_ID}", job.ID, "{JOB_FILE}", path)
	for i, arg := range c.Args {
		if secret := secretIn(c.Config); secret != "" && strings.Contains(arg, "{JOB_JSON}") {
			return invocation{}, fmt.Errorf("argument %d would show %s to every user of this machine; pass {JOB_FILE}, not {JOB_JSON}", i, clip(secret))
		}
		in.args = append(in.args, fill.Replace(arg))
		if len(in.args[i]) > maxArg {
			return invocation{}, fmt.Errorf("argument %d has %d bytes, the system allows %d; pass {JOB_FILE}, not {JOB_JSON}",
				i, len(in.args[i]), maxArg)
		}
	}
	return in, nil
}

// describe returns JOB_JSON, in one line.
func describe(job Job, c Command) (string, error) {
	conf := c.Config
	if len(conf) == 0 {
		conf = json.RawMessage("{}")
	}
	class, name := c.Class, c.Name
	if class == "" {
		class = "process"
	}
	if name == "" {
		name = filepath.Base(c.Args[0])
	}
	id := job.ID
	if job.Scope != "" {
		id = job.Scope
	}
	text, err := json.Marshal(description{
		JobID: id, Executor: executor{Class: class, Name: name, Descriptor: descriptor{name}, Config: conf}, Config: conf,
	})
	if err != nil {
		return "", fmt.Errorf("job configuration: %w", err)
	}
	return string(text), nil
}

// writeJobFile writes JOB_FILE: whole, 0600, inside the work directory.
func writeJobFile(workDir, text string) (err error) {
	root, err := os.OpenRoot(workDir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	if err := root.Mkdir(bridge.Private, dirMode); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	f, err := atomicfile.Create(root, jobFile, atomicfile.Options{Mode: fileMode, Replace: true})
	if err != nil {
		return err
	}
	if _, err := f.WriteString(text); err != nil {
		return errors.Join(err, f.Abort())
	}
	return f.Commit()
}
