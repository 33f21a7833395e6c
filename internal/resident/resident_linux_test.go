package resident

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// TestClean: of all mappings those are found which can't be written to, are the
// program's, in memory and unchanged.
func TestClean(t *testing.T) {
	const file = "/opt/my node/hypha-node"
	entry := func(perms, path, numbers string) string {
		return "00400000-01691000 " + perms + " 00000000 fe:00 1049                       " + path + "\n" +
			"Size:              19012 kB\n" + numbers + "THPeligible:           0\nVmFlags: rd ex mr mw me \n"
	}
	const numbers = "Rss:               17408 kB\nPss:               17408 kB\nAnonymous:             0 kB\n"
	want := []mapping{{begin: 0x400000, end: 0x1691000, rss: 17408 << 10}}
	for _, c := range []struct {
		name, smaps string
		want        []mapping
	}{
		{"code", entry("r-xp", file, numbers), want},
		{"constants", entry("r--p", file, numbers), want},
		{"data", entry("rw-p", file, numbers), nil},
		{"shared", entry("r--s", file, numbers), nil},
		{"another file", entry("r-xp", "/usr/lib/libc.so.6", numbers), nil},
		{"a longer name", entry("r-xp", file+" (deleted)", numbers), nil},
		{"no file", entry("r--p", "", numbers), nil},
		{"not in memory", entry("r--p", file, "Rss:  0 kB\nAnonymous:  0 kB\n"), nil},
		{"changed while it was loaded", entry("r--p", file, "Rss:  8 kB\nAnonymous:  4 kB\n"), nil},
		{"nothing is said of changes", entry("r--p", file, "Rss:  8 kB\n"), nil},
		{"numbers of the next", entry("r--p", file, "") + entry("rw-p", file, numbers), nil},
		{"cut", entry("r-xp", file, "")[:30], nil},
		{"an end before its begin", "02-01 r-xp 0 0 0 " + file + "\n" + numbers, nil},
		{"empty", "", nil},
		{"two of four", entry("r-xp", file, numbers) + entry("rw-p", file, numbers) + entry("r--p", file, numbers) + entry("r-xp", "", numbers), slices.Concat(want, want)},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, clean(strings.NewReader(c.smaps), file), cmp.AllowUnexported(mapping{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestRelease maps this program's file again, so that nobody else uses those pages:
// what is as in the file leaves memory and comes back, what was changed stays.
func TestRelease(t *testing.T) {
	name, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const size = 1 << 20
	head := make([]byte, size)
	if _, err := f.ReadAt(head, 0); err != nil {
		t.Fatal(err)
	}
	open := func(perms int) []byte {
		m, err := unix.Mmap(int(f.Fd()), 0, size, perms, unix.MAP_PRIVATE)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := unix.Munmap(m); err != nil {
				t.Error(err)
			}
		})
		return m
	}
	same := open(unix.PROT_READ)
	changed := open(unix.PROT_READ | unix.PROT_WRITE)
	copy(changed, "changed")
	if err := unix.Mprotect(changed, unix.PROT_READ); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(same, head) {
		t.Fatal("the mapping is not as the file")
	}
	if inMemory(t, same) == 0 {
		t.Fatal("what was read is not in memory")
	}
	if n := Release(); n < size {
		t.Errorf("%d bytes were given back, want %d at least", n, size)
	}
	if n := inMemory(t, same); n != 0 {
		t.Errorf("%d pages are still in memory", n)
	}
	if !bytes.Equal(same, head) {
		t.Error("what comes back is not as in the file")
	}
	if !strings.HasPrefix(string(changed[:16]), "changed") {
		t.Error("what was changed came back as in the file")
	}
}

// inMemory returns how many pages of a mapping are in this process's page table
// (/proc/PID/pagemap: 8 bytes for each page, bit 63 says so).
func inMemory(t *testing.T, m []byte) (pages int) {
	t.Helper()
	f, err := os.Open("/proc/self/pagemap")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	page := os.Getpagesize()
	entries := make([]byte, 8*(len(m)/page))
	if _, err := f.ReadAt(entries, int64(uintptr(unsafe.Pointer(&m[0])))/int64(page)*8); err != nil {
		t.Fatal(err)
	}
	for i := 7; i < len(entries); i += 8 { // little endian: bit 63 is in the last byte
		pages += int(entries[i] >> 7)
	}
	return pages
}
