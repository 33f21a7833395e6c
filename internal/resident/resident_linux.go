package resident

import (
	"bufio"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Release gives back the pages of this program's code and constants. What runs
// afterwards brings back what it uses, out of the kernel's cache: 64 KiB at a time, a
// microsecond or two each. It returns how many bytes were in memory; 0 also where the
// system does not tell, as without /proc.
func Release() (bytes int64) {
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return 0
	}
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		return 0
	}
	defer f.Close()
	for _, m := range clean(f, program) {
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, m.begin, m.end-m.begin, unix.MADV_DONTNEED); errno == 0 {
			bytes += m.rss
		}
	}
	return bytes
}

// mapping is a part of the address space.
type mapping struct {
	begin, end uintptr
	rss        int64 // bytes in memory
	anon       int64 // bytes of it that are not the file's; -1 until smaps has told
}

// clean returns what is mapped of the program's file for reading alone, is in memory
// and as the file has it. smaps is /proc/PID/smaps (proc_pid_smaps(5)): a line for
// each mapping, then one for each of its numbers, in KiB.
func clean(smaps io.Reader, program string) []mapping {
	var found []mapping
	var last *mapping // of the program; nil while the lines are of another
	lines := bufio.NewScanner(smaps)
	for lines.Scan() {
		key, value, _ := strings.Cut(lines.Text(), " ")
		if !strings.HasSuffix(key, ":") {
			last = nil
			if m, ok := readOnly(key, value, program); ok {
				found = append(found, m)
				last = &found[len(found)-1]
			}
			continue
		}
		if last == nil {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		switch {
		case err != nil:
		case key == "Rss:":
			last.rss = n << 10
		case key == "Anonymous:":
			last.anon = n << 10
		}
	}
	var all []mapping
	for _, m := range found {
		if m.rss > 0 && m.anon == 0 {
			all = append(all, m)
		}
	}
	return all
}

// readOnly reads the first line of a mapping: "begin-end", and "perms offset device
// inode path". It is told apart from those that can be written to, are shared or of
// another file.
func readOnly(span, rest, program string) (m mapping, ok bool) {
	perms, rest, _ := strings.Cut(rest, " ")
	if perms != "r-xp" && perms != "r--p" {
		return m, false
	}
	for range 3 { // offset, device, inode
		_, rest, _ = strings.Cut(rest, " ")
	}
	if strings.TrimLeft(rest, " ") != program {
		return m, false
	}
	from, to, _ := strings.Cut(span, "-")
	begin, err := strconv.ParseUint(from, 16, strconv.IntSize)
	if err != nil {
		return m, false
	}
	end, err := strconv.ParseUint(to, 16, strconv.IntSize)
	if err != nil || end <= begin {
		return m, false
	}
	return mapping{begin: uintptr(begin), end: uintptr(end), anon: -1}, true
}
