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
		Fetch: 4,
	}}
}

// Lookup is what became of one record.
type Lookup struct {
	Provided time.Duration // until all who keep it had it; 0: nobody was told to keep it
	Found    time.Duration // until who looked for it had been told who has it; 0: it was not found
	Fetched  time.Duration // until another one had the content itself; 0: it did not get it
}

// Rows judges what became of the records: a row for announcing, one for finding, and
// one for getting. The bound of all is one round trip.
func (d Directory) Rows(all []Lookup) []Row {
	var rows []Row
	for _, w := range []struct {
		name  string
		limit float64
		took  func(Lookup) time.Duration
	}{
		{"provide", d.Provide, func(l Lookup) time.Duration { return l.Provided }},
		{"find", d.Find, func(l Lookup) time.Duration { return l.Found }},
		{"fetch", d.Fetch, func(l Lookup) time.Duration { return l.Fetched }},
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
		r := d.row(w.name, times, w.limit)
		if len(times) < d.Records {
			r.Pass, r.Why = false, fmt.Sprintf("%d of %d records", len(times), d.Records)
		}
		rows = append(rows, r)
	}
	return rows
}

// row judges the median of some times.
func (d Directory) row(what string, times []time.Duration, limit float64) Row {
	r := Row{Case: d.Name + "-" + what, Bound: d.Link.RTT.Seconds(), Goal: limit, Limit: limit}
	if len(times) == 0 {
		return r
	}
	sorted := slices.Sorted(slices.Values(times))
	median := sorted[len(sorted)/2]
	r.Measured = median.Seconds()
	r.Ratio = r.Measured / r.Bound
	r.Slowest = sorted[len(sorted)-1].Seconds() / r.Measured
	r.Pass = r.Ratio <= limit
	if !r.Pass {
		r.Why = fmt.Sprintf("half of the records took more than %.1f round trips, the limit is %.1f", r.Ratio, limit)
	}
	return r
}
