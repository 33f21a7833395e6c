package main

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// space is a network namespace: a thread that lives in it and does what it is
// told. The namespace ends with the thread and the processes that it started.
type space struct {
	work  chan func()
	ended chan struct{}
}

// newSpace makes a namespace with nothing but loopback.
func newSpace() (*space, error) {
	s := &space{work: make(chan func()), ended: make(chan struct{})}
	made := make(chan error)
	go func() {
		defer close(s.ended)
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		err := unix.Unshare(unix.CLONE_NEWNET)
		made <- err
		if err != nil {
			return
		}
		for f := range s.work {
			f()
		}
	}()
	if err := <-made; err != nil {
		return nil, fmt.Errorf("unshare: %w", err)
	}
	return s, s.do(func() error { return ip("link", "set", "lo", "up") })
}

// do calls f on the thread of the namespace.
func (s *space) do(f func() error) error {
	done := make(chan error)
	s.work <- func() { done <- f() }
	return <-done
}

// close ends the thread.
func (s *space) close() {
	close(s.work)
	<-s.ended
}

// device makes a TUN device with an address of a network of 16 bits.
func (s *space) device(name string, own netip.Addr, mtu int) (device io.ReadWriteCloser, err error) {
	err = s.do(func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			return fmt.Errorf("open /dev/net/tun: %w", err)
		}
		req, err := unix.NewIfreq(name)
		if err == nil {
			req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
			err = unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
		}
		if err != nil {
			return fmt.Errorf("make %s: %w", name, errors.Join(err, unix.Close(fd)))
		}
		device = os.NewFile(uintptr(fd), name)
		if err := ip("addr", "add", own.String()+"/16", "dev", name); err != nil {
			return err
		}
		// A queue of the kernel before the shaped one would delay what is dropped there.
		if err := ip("link", "set", name, "mtu", strconv.Itoa(mtu), "txqueuelen", "1000", "up"); err != nil {
			return err
		}
		// How TCP controls its rate, whatever the machine's own default is: as Linux has
		// it. A namespace's default may be one of those alone that anybody may choose.
		return ip("route", "change", netip.PrefixFrom(own, 16).Masked().String(), "dev", name, "src", own.String(), "congctl", "cubic")
	})
	if err != nil && device != nil {
		err = errors.Join(err, device.Close())
	}
	return device, err
}

// ip runs iproute2's program on the calling thread's namespace.
func ip(args ...string) error {
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil { //nolint:noctx // it does one thing and ends
		return fmt.Errorf("ip %v: %w: %s", args, err, out)
	}
	return nil
}
