package isolate

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"
)

// Probe tries what this process can do on this machine, by doing it: it starts
// launchers that end at once. dir is where work directories are, "" if nowhere
// yet: what is possible depends on its file system. The program must call Enter
// first thing in main.
func Probe(ctx context.Context, dir string) Report {
	r := Report{Kernel: kernel()}
	r.LandlockABI, r.Landlock = probeLandlock()
	r.Namespace, r.UID = probeNamespace(ctx), probeUID(ctx, dir)
	return r
}

// probeNamespace tries a private mount view without a network.
func probeNamespace(ctx context.Context) Finding {
	f := try(ctx, Spec{Plan: Plan{View: true}, WorkDir: "/usr", HideNetwork: true})
	if !f.OK {
		f.Reason += because()
	}
	return f
}

// probeUID tries to become another user.
func probeUID(ctx context.Context, dir string) Finding {
	if os.Geteuid() != 0 {
		return Finding{Reason: "the node does not run as root"}
	}
	const nobody = 65534 // any but root will do
	if dir == "" {
		dir = "/usr"
	}
	return try(ctx, Spec{Plan: Plan{UID: true, View: true}, WorkDir: dir, UID: nobody, GID: nobody})
}

// kernel names the system.
func kernel() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "linux"
	}
	return "linux " + unix.ByteSliceToString(u.Release[:])
}

// probeLandlock asks for the version of Landlock.
func probeLandlock() (int, Finding) {
	abi, err := landlockABI()
	switch {
	case errors.Is(err, unix.ENOSYS):
		return 0, Finding{Reason: "this kernel has no Landlock (Linux 6.2 has what is needed)"}
	case errors.Is(err, unix.EOPNOTSUPP):
		return 0, Finding{Reason: "Landlock is off: add landlock to the kernel's parameter lsm="}
	case err != nil:
		return 0, Finding{Reason: "landlock_create_ruleset: " + err.Error()}
	case abi < leastABI:
		return abi, Finding{Reason: fmt.Sprintf("Landlock is of ABI %d, at least %d is needed (Linux 6.2)", abi, leastABI)}
	}
	f := Finding{OK: true}
	var gaps []string
	for _, g := range []struct {
		since int
		what  string
	}{
		{4, "TCP ports"},
		{5, "ioctl on devices"},
		{6, "signals and abstract sockets to other processes of this user"},
		{9, "connections to other programs' Unix sockets"},
	} {
		if abi < g.since {
			gaps = append(gaps, g.what)
		}
	}
	if gaps != nil {
		f.Reason = "it does not restrict " + strings.Join(gaps, ", ")
	}
	return abi, f
}

// try carries out a specification for nothing.
func try(ctx context.Context, s Spec) Finding {
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Dir = "/"
	if err := launch(ctx, cmd, s, true); err != nil {
		return Finding{Reason: strings.TrimPrefix(err.Error(), "isolate: ")}
	}
	if err := cmd.Wait(); err != nil {
		return Finding{Reason: "the launcher: " + err.Error()}
	}
	return Finding{OK: true}
}

// because returns settings of the system that explain why there is no user
// namespace.
func because() string {
	for _, s := range []struct{ file, value, why string }{
		{"/proc/sys/user/max_user_namespaces", "0", "user.max_user_namespaces is 0"},
		{"/proc/sys/kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone is 0"},
		{"/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1", "kernel.apparmor_restrict_unprivileged_userns is 1"},
	} {
		if text, err := os.ReadFile(s.file); err == nil && strings.TrimSpace(string(text)) == s.value {
			return " (" + s.why + ")"
		}
	}
	return ""
}
