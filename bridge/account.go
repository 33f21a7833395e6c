package bridge

import (
	"maps"

	"github.com/hypha-node/hypha-node/connectors"
	"github.com/hypha-node/hypha-node/connectors/ingest"
)

// Stats counts what a job did since it was created; a crash of the node may take
// back what it did in its last seconds.
type Stats struct {
	Bytes    map[string]int64 `json:"bytes"`    // of files that were fetched, by "origin", "peer", "cache", "store"
	Files    int64            `json:"files"`    // fetched and prefetched
	Sent     int64            `json:"sent"`     // deliveries that succeeded
	Failed   int64            `json:"failed"`   // deliveries that did not
	Received int64            `json:"received"` // files taken out of the inbox
	Put      int64            `json:"put"`      // files and directories published

	SentBytes     int64 `json:"sent_bytes"`     // content of the deliveries
	UploadedBytes int64 `json:"uploaded_bytes"` // of it, what this node uploaded
	// Dedup is the share of all fetched and sent content that did not have to
	// move, 0 to 1.
	Dedup float64 `json:"dedup"`

	Queue   int64 `json:"queue"`   // items that wait in the inbox
	Running int   `json:"running"` // transfers
}

// Stats returns what the job did since it was created.
func (j *Job) Stats() Stats {
	use := j.Use()
	l := j.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.stats
	s.Bytes = maps.Clone(s.Bytes)
	s.Queue, s.Running = use.InboxItems, len(l.list)-l.ended
	if all := s.Bytes["origin"] + s.Bytes["peer"] + s.Bytes["cache"] + s.Bytes["store"] + s.SentBytes; all > 0 {
		spared := s.Bytes["store"] + s.Bytes["cache"] + max(0, s.SentBytes-s.UploadedBytes)
		s.Dedup = float64(spared) / float64(all)
	}
	return s
}

// sent counts the outcome of a send.
func (l *ledger) sent(results []Delivered, size int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, d := range results {
		if d.Status != delivered {
			l.stats.Failed++
			continue
		}
		l.stats.Sent++
		l.stats.SentBytes += size
	}
}

// moved counts bytes that were uploaded.
func (l *ledger) moved(n int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stats.UploadedBytes += n
}

// received counts a file that was taken out of the inbox.
func (l *ledger) received() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stats.Received++
}

// put counts something that was published.
func (l *ledger) put() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stats.Put++
}

// fetched counts a file and where its bytes came from. What another call's
// download brought counts there.
func (l *ledger) fetched(got ingest.Fetched) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stats.Files++
	peer := min(got.PeerBytes, got.File.Size)
	if got.From == ingest.FromStore || got.Shared {
		l.stats.Bytes["store"] += got.File.Size
		return
	}
	if got.From == ingest.FromCache {
		l.stats.Bytes["cache"] += got.File.Size
		return
	}
	l.stats.Bytes["peer"] += peer
	if got.From == ingest.FromOrigin {
		l.stats.Bytes["origin"] += got.OriginBytes
		return
	}
	l.stats.Bytes["store"] += got.File.Size - peer
}

// options say how an item of a batch is fetched.
func (b *batch) options() ingest.Options {
	var done int64
	return ingest.Options{Pin: PinName(b.job.info.ID), Access: b.access, Pace: b.job.limits.payer(), Progress: func(p ingest.Progress) {
		b.transfer.moved(string(p.From), p.Done-done)
		done = p.Done
	}}
}

// account counts what the fetch of an item came to, and takes the file into the
// work directory's quota.
func (b *batch) account(it connectors.Item, got ingest.Fetched) error {
	b.transfer.sized(it.Size, got.File.Size)
	b.job.ledger.fetched(got)
	return b.job.limits.bring(got.File.Size)
}

// refund takes a file back out of the quota that did not get its name.
func (b *batch) refund(got ingest.Fetched, err error) {
	if err != nil {
		b.job.limits.refund(got.File.Size)
	}
}
