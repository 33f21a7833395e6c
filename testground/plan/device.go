package plan

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	"github.com/hypha-node/hypha-node/testground/cases"
)

// dataAddress returns the address that other instances reach this one at, and
// its device: the first one of the run's data network, or loopback, with no
// device, when there is none.
func dataAddress(subnet *net.IPNet) (ip, device string, err error) {
	devices, err := net.Interfaces()
	if err != nil {
		return "", "", err
	}
	for _, d := range devices {
		addrs, err := d.Addrs()
		if err != nil {
			return "", "", err
		}
		for _, a := range addrs {
			own, ok := a.(*net.IPNet)
			if ok && !own.IP.IsLoopback() && subnet != nil && subnet.Contains(own.IP) {
				return own.IP.String(), d.Name, nil
			}
		}
	}
	return "127.0.0.1", "", nil
}

// wire is a network device whose bytes are counted; "" for none.
type wire string

// moved tells what has gone over it, in bytes: nothing for "".
func (w wire) moved() (sent, received int64, err error) {
	if w == "" {
		return 0, 0, nil
	}
	f, err := os.Open("/proc/net/dev")
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		name, rest, _ := strings.Cut(lines.Text(), ":")
		fields := strings.Fields(rest)
		if strings.TrimSpace(name) != string(w) || len(fields) < 9 {
			continue
		}
		// The first column is bytes received, the ninth bytes sent (proc_net_dev(5)).
		received, err = strconv.ParseInt(fields[0], 10, 64)
		if err == nil {
			sent, err = strconv.ParseInt(fields[8], 10, 64)
		}
		return sent, received, err
	}
	return 0, 0, errors.Join(fmt.Errorf("no device %s", w), lines.Err())
}

// traffic is what has gone over it, as that of a node.
func (w wire) traffic() (t cases.Traffic, err error) {
	t.Sent, t.Received, err = w.moved()
	return t, err
}

// Received is what has come over it; 0 when that can't be read.
func (w wire) Received() int64 {
	_, received, err := w.moved()
	if err != nil {
		return 0
	}
	return received
}
