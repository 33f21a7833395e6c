package cases

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"

	"github.com/hypha-node/hypha-node/testground/bound"
)

// Row is the result of one case.
type Row struct {
	Case     string  `json:"case"`
	Bound    float64 `json:"bound_s"`    // least time, seconds
	Measured float64 `json:"measured_s"` // until the last leech had the content, all waves together, seconds
	Ratio    float64 `json:"ratio"`      // of the two
	Goal     float64 `json:"goal"`       // for Ratio
	Limit    float64 `json:"limit"`      // for Ratio: what is above does not pass
	Pass     bool    `json:"pass"`
	Double   float64 `json:"duplicate_pct"`       // of the bytes of content that leeches received, those that they had; 0 when it is not known
	Seeds    float64 `json:"seed_sent_factor"`    // copies of the content that the seeds sent, on the wire
	Peers    float64 `json:"leeches_sent_factor"` // copies that the leeches sent, on the wire
	Origin   float64 `json:"origin_factor"`       // copies that an origin sent; 0 without one
	Control  float64 `json:"control_pct"`         // of the bytes on the wire to leeches, those that were not content; 0 when it is not known
	Talk     float64 `json:"control_bytes"`       // sent by a leech to tell and ask, of all on the average; 0 when it is not known
	Again    float64 `json:"again_pct"`           // of the content, what came to a leech beyond one copy when it was started again
	Slowest  float64 `json:"slowest_to_median"`
	Why      string  `json:"why,omitempty"` // what was missed

	Reports []Report `json:"reports,omitempty"` // of the instances, by index; not in the results of a run
}

// Err returns nil for a case that passed.
func (r Row) Err() error {
	if r.Pass {
		return nil
	}
	return fmt.Errorf("%s: %s", r.Case, r.Why)
}

// limit is the ratio above which the case fails.
func (c Case) limit() float64 {
	if c.Limit > 0 {
		return c.Limit
	}
	return c.Goal
}

// row judges what the instances report.
func (c Case) row(reports []Report) (Row, error) {
	least, err := c.Least()
	if err != nil {
		return Row{}, err
	}
	r := Row{Case: c.Name, Bound: least, Goal: c.Goal, Limit: c.limit(), Reports: reports}
	last := make([]float64, c.waves())
	var times []float64
	var leeches, seeds Traffic
	var bystander int64
	for _, one := range reports {
		switch one.Role {
		case "leech":
			last[one.Wave] = max(last[one.Wave], one.Seconds)
			times = append(times, one.Seconds)
			leeches = leeches.Plus(one.Traffic)
			if one.Again {
				r.Again = max(r.Again, 100*(float64(one.Traffic.Content)/float64(c.Size)-1))
			}
		case "seed":
			seeds = seeds.Plus(one.Traffic)
		case "passive":
			bystander = max(bystander, one.Traffic.Received)
		}
	}
	for _, seconds := range last {
		r.Measured += seconds
	}
	r.Ratio = r.Measured / least
	r.Slowest = slowest(times)
	size := float64(c.Size)
	r.Origin = float64(reports[0].Origin) / size
	r.Seeds, r.Peers = float64(seeds.Sent)/size, float64(leeches.Sent)/size
	if leeches.Content > 0 {
		r.Double = 100 * float64(leeches.Double) / float64(leeches.Content)
	}
	r.Talk = float64(leeches.Control) / float64(max(len(times), 1))
	if leeches.Received > 0 && leeches.Content > 0 {
		r.Control = 100 * float64(leeches.Received-leeches.Content) / float64(leeches.Received)
	}
	return c.judge(r, float64(bystander)/size), nil
}

// judge says whether the row passes.
func (c Case) judge(r Row, bystander float64) Row {
	if c.Stock || c.Unshaped {
		r.Pass = true
		return r
	}
	missed := []error{bound.Accept(r.Measured, r.Bound, r.Limit)}
	if (c.Raw || len(c.Bad) > 0) && r.Ratio > 0 && r.Ratio <= r.Limit {
		missed[0] = nil // the bound is another run's time, which chance makes longer, too
	}
	for _, m := range []struct {
		what       string
		got, limit float64
	}{
		{"share of content that came twice", r.Double / 100, c.Double},
		{"copies that the seeds sent", r.Seeds, c.SeedSends},
		{"copies that the origin sent", r.Origin, c.OriginSends},
		{"share of the content that came to a bystander", bystander, c.Bystander},
		{"bytes of control that a leech sent, as a share of the content", r.Talk / float64(c.Size), c.Talk},
		{"share of the content that came again after a restart", r.Again / 100, c.Again},
	} {
		if m.limit > 0 && m.got > m.limit {
			missed = append(missed, fmt.Errorf("%s: %.3f, more than %.3f", m.what, m.got, m.limit))
		}
	}
	if err := errors.Join(missed...); err != nil {
		r.Why = err.Error()
		return r
	}
	r.Pass = true
	return r
}

// Plus returns what was moved in both.
func (t Traffic) Plus(o Traffic) Traffic {
	return Traffic{t.Sent + o.Sent, t.Received + o.Received, t.Content + o.Content, t.Double + o.Double, t.Control + o.Control}
}

// Table writes rows as text, best read with a fixed width.
func Table(w io.Writer, rows []Row) error {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', tabwriter.AlignRight)
	if _, err := fmt.Fprintln(tw, "case\tbound s\tmeasured s\tratio\tgoal\tlimit\ttwice %\tseeds sent\tleeches sent\torigin sent\tcontrol %\tKiB of it\tslowest\t\t"); err != nil {
		return err
	}
	for _, r := range rows {
		verdict := "pass"
		if !r.Pass {
			verdict = "FAIL"
		}
		if _, err := fmt.Fprintf(tw, "%s\t%.2f\t%.2f\t%.2f\t%.2f\t%.2f\t%.1f\t%.2f\t%.2f\t%.2f\t%.1f\t%.0f\t%.2f\t%s\t\n",
			r.Case, r.Bound, r.Measured, r.Ratio, r.Goal, r.Limit, r.Double, r.Seeds, r.Peers, r.Origin, r.Control, r.Talk/1024, r.Slowest, verdict); err != nil {
			return err
		}
	}
	return tw.Flush()
}

// slowest returns the longest of the times as a multiple of their median, 0
// without any.
func slowest(times []float64) float64 {
	if len(times) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(times))
	return sorted[len(sorted)-1] / sorted[len(sorted)/2]
}
