package jobs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// Users are the ids, of users and of groups alike, that commands get one each. No
// account should have them.
type Users struct {
	First int    // 0: none
	Count int    // 0: none
	Dir   string // absolute path of a directory for locks; made when it is needed
}

// fit returns the work directory if a command in it can have a user of its own,
// or why it can't though there are users.
func (u Users) fit(workDir string) (dir, why string) {
	if u.Count <= 0 {
		return "", ""
	}
	info, err := os.Stat(workDir)
	if err != nil {
		return "", err.Error()
	}
	if os.Geteuid() == 0 && !ownedByUs(info) {
		return "", "the work directory belongs to another user than the node's"
	}
	return workDir, ""
}

// lease returns an id that no other process that uses the same locks has, and
// what gives it back. The end of this process gives it back too.
func (u Users) lease() (id int, release func() error, err error) {
	if err := makePrivate(u.Dir); err != nil {
		return 0, nil, fmt.Errorf("find a user for the job: %w", err)
	}
	for id := u.First; id < u.First+u.Count; id++ {
		f, err := os.OpenFile(filepath.Join(u.Dir, strconv.Itoa(id)), os.O_RDWR|os.O_CREATE, fileMode)
		if err != nil {
			return 0, nil, fmt.Errorf("find a user for the job: %w", err)
		}
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return id, f.Close, nil
		}
		if cerr := f.Close(); !errors.Is(err, syscall.EWOULDBLOCK) || cerr != nil {
			return 0, nil, fmt.Errorf("find a user for the job: %w", errors.Join(err, cerr))
		}
	}
	return 0, nil, fmt.Errorf("all %d users for jobs are taken", u.Count)
}
