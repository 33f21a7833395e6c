package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/common/expfmt"

	"github.com/hypha-node/hypha-node/api/control"
	"github.com/hypha-node/hypha-node/api/hub"
)

// scrapeTimeout bounds one look at all numbers.
const scrapeTimeout = 10 * time.Second

// collector turns the node's status into metrics at each scrape: the numbers are
// kept by the packages that they belong to, which know nothing of Prometheus.
type collector struct {
	status func(ctx context.Context) (control.Status, error)
	log    *slog.Logger
}

var _ prometheus.Collector = collector{}

// metric is one value, with the labels' names and values in turn.
type metric struct {
	name, help string
	kind       prometheus.ValueType
	value      float64
	labels     []string
}

// Describe describes nothing: what there is depends on the node's state.
func (collector) Describe(chan<- *prometheus.Desc) {}

// Collect sends the numbers of this moment; none when they can't be had.
func (c collector) Collect(to chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	st, err := c.status(ctx)
	if err != nil {
		c.log.Warn("metrics", slog.Any("error", err))
		return
	}
	for _, m := range metricsOf(st) {
		var names, values []string
		for i := 0; i+1 < len(m.labels); i += 2 {
			names, values = append(names, m.labels[i]), append(values, m.labels[i+1])
		}
		to <- prometheus.MustNewConstMetric(prometheus.NewDesc(m.name, m.help, names, nil), m.kind, m.value, values...)
	}
}

// metricsOf returns what a status says as metrics.
func metricsOf(st control.Status) []metric {
	const count, gauge = prometheus.CounterValue, prometheus.GaugeValue
	all := []metric{
		{"hypha_node_info", "The running version, always 1.", gauge, 1, []string{"version", st.Version}},
		{"hypha_node_start_time_seconds", "When the node was opened, since 1970.", gauge, float64(st.Started.UnixMilli()) / 1000, nil},
		{"hypha_blockstore_blocks", "Blocks that are stored.", gauge, float64(st.Store.Blocks), nil},
		{"hypha_blockstore_files", "Files that are stored whole.", gauge, float64(st.Store.Files), nil},
		{"hypha_blockstore_pins", "Pins.", gauge, float64(st.Store.Pins), nil},
		{"hypha_blockstore_segments", "Segments.", gauge, float64(st.Store.Segments), nil},
		{"hypha_blockstore_content_bytes", "Content that is stored.", gauge, float64(st.Store.Bytes), nil},
		{"hypha_blockstore_disk_bytes", "What the repository occupies on disk.", gauge, float64(st.Store.DiskBytes), nil},
		{"hypha_blockstore_free_bytes", "What is free on the repository's file system.", gauge, float64(st.Store.FreeBytes), nil},
		{"hypha_blockstore_max_bytes", "What the store may take, 0 for no limit.", gauge, float64(st.Store.StorageMax), nil},
		{"hypha_blockstore_used_bytes", "What of that is taken, or promised to what is being written.", gauge, float64(st.Store.StorageUsed), nil},
		{"hypha_blockstore_evicted_bytes_total", "What was given back so as to stay below it.", count, float64(st.Store.Evicted), nil},
		{"hypha_scrub_checked_bytes_total", "What was read and compared with its hash.", count, float64(st.Scrub.Checked), nil},
		{"hypha_scrub_damaged_total", "Blocks and records that were found damaged.", count, float64(st.Scrub.Damaged), nil},
		{"hypha_scrub_mended_total", "Of these, those that were mended.", count, float64(st.Scrub.Mended), nil},
		{"hypha_ingest_failures_total", "Fetches that brought nothing.", count, float64(st.Fetch.Failed), nil},
		{"hypha_ingest_active_fetches", "Contents on their way here.", gauge, float64(len(st.Fetch.Active)), nil},
	}
	for _, from := range []string{"origin", "peer", "cache", "store"} {
		label := []string{"from", from}
		all = append(all,
			metric{"hypha_ingest_files_total", "Files that were fetched, by where they came from; store: a hit.", count, float64(st.Fetch.Files[from]), label},
			metric{"hypha_ingest_bytes_total", "Content that was fetched, by where it came from; store: was here already.", count, float64(st.Fetch.Bytes[from]), label})
	}
	for _, state := range []string{"created", "waiting", "queued", "staging", "running", "finished", "failed", "stopped"} {
		all = append(all, metric{"hypha_jobs_jobs", "Jobs, by state.", gauge, float64(st.Jobs[state]), []string{"state", state}})
	}
	if !st.Online {
		return all
	}
	n := st.Network
	return append(all,
		metric{"hypha_bitswap_peers", "Connected peers, by who dialled.", gauge, float64(n.Inbound), []string{"direction", "in"}},
		metric{"hypha_bitswap_peers", "Connected peers, by who dialled.", gauge, float64(n.Peers - n.Inbound), []string{"direction", "out"}},
		metric{"hypha_bitswap_dht_peers", "Peers in the routing table of the DHT.", gauge, float64(n.Routing), nil},
		metric{"hypha_bitswap_announced_keys", "Keys that the DHT is told of.", gauge, float64(n.Announced), nil},
		metric{"hypha_bitswap_wanted_blocks", "Blocks that are waited for.", gauge, float64(n.Wanted), nil},
		metric{"hypha_bitswap_received_blocks_total", "Blocks that came.", count, float64(n.BlocksReceived), nil},
		metric{"hypha_bitswap_received_bytes_total", "Bytes of blocks that came.", count, float64(n.BytesReceived), nil},
		metric{"hypha_bitswap_duplicate_blocks_total", "Blocks that came and were here already.", count, float64(n.Duplicates), nil},
		metric{"hypha_bitswap_duplicate_bytes_total", "Bytes of these.", count, float64(n.DuplicateBytes), nil},
		metric{"hypha_bitswap_control_bytes_total", "Bytes sent to tell and ask for blocks, over the swarm's protocol.", count, float64(n.ControlSent), nil},
		metric{"hypha_bitswap_sent_blocks_total", "Blocks that were sent.", count, float64(n.BlocksSent), nil},
		metric{"hypha_bitswap_sent_bytes_total", "Bytes of blocks that were sent.", count, float64(n.BytesSent), nil},
		metric{"hypha_bitswap_saved_bytes_total", "Bytes of blocks that did not go over the wire, since they were packed.", count, float64(n.SavedReceived), []string{"direction", "in"}},
		metric{"hypha_bitswap_saved_bytes_total", "Bytes of blocks that did not go over the wire, since they were packed.", count, float64(n.SavedSent), []string{"direction", "out"}})
}

// metricsHandler serves the numbers as Prometheus' text and, if that is asked for,
// the profiler.
func (n *Node) metricsHandler() (http.Handler, error) {
	registry := prometheus.NewRegistry()
	for _, c := range []prometheus.Collector{
		collector{n.control.Status, n.log}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	} {
		if err := registry.Register(c); err != nil {
			return nil, fmt.Errorf("metrics: %w", err)
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, r *http.Request) {
		families, err := registry.Gather()
		if err != nil {
			n.log.WarnContext(r.Context(), "metrics", slog.Any("error", err))
			http.Error(w, "the numbers can't be had", http.StatusInternalServerError)
			return
		}
		format := expfmt.NewFormat(expfmt.TypeTextPlain)
		w.Header().Set("Content-Type", string(format))
		enc := expfmt.NewEncoder(w, format)
		for _, f := range families {
			if enc.Encode(f) != nil {
				return // the client is gone
			}
		}
	})
	if n.cfg.Pprof {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
		mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	}
	return mux, nil
}

// listenMetrics listens for whoever collects numbers.
func (n *Node) listenMetrics(ctx context.Context) (net.Listener, error) {
	l, err := n.listenTCP(ctx, "metrics", n.cfg.Metrics)
	if err == nil && n.cfg.Pprof && !hub.IsLoopback(l.Addr()) {
		return nil, errors.Join(fmt.Errorf("metrics: %s is not loopback, and the profiler tells what is in memory", l.Addr()), l.Close())
	}
	return l, err
}
