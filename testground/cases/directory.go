package cases

import (
	"fmt"
	"slices"
	"time"
)

// Directory is the case of the DHT: many nodes, some of which have died, where some
// announce content, and others look for it and get it. A limit of 0 is none, and has
// no row.
type Directory struct {
	Name    string
	Peers   int // who have met before some die
	Dead    int // of them, who have died
	Records int // that are announced, each by another node and looked for by yet another one
	Link    Link

	Provide float64 // round trips that announcing may take, for half of the records
	Find    float64 // round trips that finding may take, for half of the records
	Fetch   float64 // round trips until a small file is here that one node has, for half of the records
	Join    float64 // the same for each of the nodes that have just come, and have no connection with that one
}

// Directories returns the cases of the DHT.
func Directories() []Directory {
	return []Directory{{
		Name: "dht", Peers: 50, Dead: 10, Records: 40,
		Link:    Link{Up: 100, Down: 100, RTT: 50 * time.Millisecond},
		Provide: 5, Find: 4,
	}, {
		// A record is kept by 20, here by all: what is left to find is who has the file.
		// Three round trips and 50 ms.
		Name: "small", Peers: 20, Records: 20,
		Link:  Link{Up: 100, Down: 100, RTT: 50 * time.Millisecond},
		Fetch: 4, Join: 4,
	}}
}

// Lookup is what became of one record.
type Lookup struct {
	Provided time.Duration // until all who keep it had it; 0: nobody was told to keep it
	Found    time.Duration // until who looked for it had been told who has it; 0: it was not found
	Fetched  time.Duration // until another one had the content itself; 0: it did not get it
	Joined   time.Duration // the same for a newcomer
}

// Rows judges what became of the records: a row for announcing, one for finding, and
// two for getting. The bound of all is one round trip.
func (d Directory) Rows(all []Lookup) []Row {
	var rows []Row
	for _, w := range []struct {
		name  string
		limit float64
		share float64 // of the records, for which the limit holds
		took  func(Lookup) time.Duration
	}{
		{"provide", d.Provide, 0.5, func(l Lookup) time.Duration { return l.Provided }},
		{"find", d.Find, 0.5, func(l Lookup) time.Duration { return l.Found }},
		{"fetch", d.Fetch, 0.5, func(l Lookup) time.Duration { return l.Fetched }},
		{"join", d.Join, 1, func(l Lookup) time.Duration { return l.Joined }},
	} {
		if w.limit == 0 {
			continue
		}
		var times []time.Duration
		for _, l := range all {
			if t := w.took(l); t > 0 {
				times = append(times, t)
			}
		}
		r := d.row(w.name, times, w.limit, w.share)
		if len(times) < d.Records {
			r.Pass, r.Why = false, fmt.Sprintf("%d of %d records", len(times), d.Records)
		}
		rows = append(rows, r)
	}
	return rows
}

// row judges what a share of some times is within: with 0.5 the median.
func (d Directory) row(what string, times []time.Duration, limit, share float64) Row {
	r := Row{Case: d.Name + "-" + what, Bound: d.Link.RTT.Seconds(), Goal: limit, Limit: limit}
	if len(times) == 0 {
		return r
	}
	sorted := slices.Sorted(slices.Values(times))
	r.Measured = sorted[min(int(share*float64(len(sorted))), len(sorted)-1)].Seconds()
	r.Ratio = r.Measured / r.Bound
	r.Slowest = sorted[len(sorted)-1].Seconds() / r.Measured
	r.Pass = r.Ratio <= limit
	if !r.Pass {
		r.Why = fmt.Sprintf("%.0f %% of the records took up to %.1f round trips, the limit is %.1f", 100*share, r.Ratio, limit)
	}
	return r
}
