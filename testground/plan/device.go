package plan

import (
	"bufio"
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

// deviceTraffic returns what a network device has moved; nothing for "".
func deviceTraffic(device string) (t cases.Traffic) {
	f, err := os.Open("/proc/net/dev")
	if err != nil || device == "" {
		return t
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		name, rest, _ := strings.Cut(lines.Text(), ":")
		fields := strings.Fields(rest)
		if strings.TrimSpace(name) != device || len(fields) < 9 {
			continue
		}
		// The first column is bytes received, the ninth bytes sent (proc_net_dev(5)).
		if t.Received, err = strconv.ParseInt(fields[0], 10, 64); err != nil {
			return t
		}
		if t.Sent, err = strconv.ParseInt(fields[8], 10, 64); err != nil {
			return t
		}
	}
	return t
}
