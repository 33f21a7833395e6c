package bridge

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/hypha-node/hypha-node/blockstore"
)

// What is kept of an inbox, below "<job>/":
//
//	item/<sequence>   items with this sequence and the following, written once
//	taken/<n>         bitmap of the items chunk*n… that were received
//	channel/<hex>     a channel that a receive call named
//	unclean           pins may be there that no item needs
//	out/<number>      a send that was accepted, until its file has reached its peers
//	outunclean        pins may be there that no such send needs
//	sent              no send call has this number or a greater one
//	count             what the job has done and used
//
// Sequences have 16 hex digits, so that the order of the keys is theirs.
const (
	itemKey    = "item/"
	takenKey   = "taken/"
	channelKey = "channel/"
	uncleanKey = "unclean"

	sendKey       = "out/"
	outUncleanKey = "outunclean"
	sentKey       = "sent"
	countKey      = "count"

	chunk   = 8192 // items of one bitmap: 1 KiB is quickly written again
	perItem = 64   // items of one record, at most
)

// stored is an item as it is recorded.
type stored struct {
	From     string    `json:"from"`
	Transfer string    `json:"transfer"`
	Channel  string    `json:"channel,omitempty"`
	Name     string    `json:"name"`
	CID      string    `json:"cid"`
	Size     int64     `json:"size"`
	SHA256   string    `json:"sha256"` // 64 lower hex digits
	At       time.Time `json:"at"`
}

// inboxLog is the durable part of an inbox.
type inboxLog struct {
	records blockstore.Records
	prefix  string // "<job>/"
}

func sequenceKey(kind string, n int64) string { return fmt.Sprintf("%s%016x", kind, n) }

// putItems records items under the sequence of the first.
func (l inboxLog) putItems(ctx context.Context, first int64, items []*item) error {
	list := make([]stored, len(items))
	for i, it := range items {
		list[i] = stored{
			From: it.from, Transfer: it.transfer, Channel: it.channel, Name: it.name, At: it.at,
			CID: it.file.Root.String(), Size: it.file.Size, SHA256: hex.EncodeToString(it.file.SHA256[:]),
		}
	}
	value, err := json.Marshal(list)
	if err != nil {
		return err
	}
	return l.records.Put(ctx, l.prefix+sequenceKey(itemKey, first), value)
}

// drop forgets a record, named without the job.
func (l inboxLog) drop(ctx context.Context, key string) error {
	return l.records.Delete(ctx, l.prefix+key)
}

// putTaken records which items of a chunk were received.
func (l inboxLog) putTaken(ctx context.Context, n int64, bits []byte) error {
	return l.records.Put(ctx, l.prefix+sequenceKey(takenKey, n), bits)
}

// putChannel remembers a channel.
func (l inboxLog) putChannel(ctx context.Context, name string) error {
	return l.records.Put(ctx, l.prefix+channelKey+hex.EncodeToString([]byte(name)), []byte{1})
}

// putUnclean says that pins may be left behind from now on.
func (l inboxLog) putUnclean(ctx context.Context) error {
	return l.records.Put(ctx, l.prefix+uncleanKey, []byte{1})
}

// dropUnclean says that none are.
func (l inboxLog) dropUnclean(ctx context.Context) error {
	return l.drop(ctx, uncleanKey)
}

// loaded is what an inboxLog holds.
type loaded struct {
	items    []*item // by sequence, without gaps; those received are marked
	batches  []int64 // sequences of the records of items
	chunks   []int64 // bitmaps
	channels []string
	unclean  bool

	sends      []storedSend // in the order of the calls
	outUnclean bool
	sent       int64
	count      storedCount
}

// load reads everything. What it can't read is an error: an item that is skipped
// would be lost.
func (l inboxLog) load(ctx context.Context) (*loaded, error) {
	all := &loaded{}
	bitmaps := map[int64][]byte{}
	for r, err := range l.records.All(ctx, l.prefix) {
		if err != nil {
			return nil, err
		}
		key := strings.TrimPrefix(r.Key, l.prefix)
		if err := all.record(key, r.Value, bitmaps); err != nil {
			return nil, fmt.Errorf("record %.100q: %w", r.Key, err)
		}
	}
	for _, it := range all.items {
		if bits := bitmaps[it.seq/chunk]; len(bits) > 0 && bits[it.seq%chunk/8]&(1<<(it.seq%8)) != 0 {
			it.state = taken
		}
	}
	return all, nil
}

// record reads one record.
func (a *loaded) record(key string, value []byte, bitmaps map[int64][]byte) error {
	if rest, ok := strings.CutPrefix(key, channelKey); ok {
		name, err := hex.DecodeString(rest)
		a.channels = append(a.channels, string(name))
		return err
	}
	switch key {
	case uncleanKey:
		a.unclean = true
		return nil
	case outUncleanKey:
		a.outUnclean = true
		return nil
	case sentKey:
		var err error
		a.sent, err = strconv.ParseInt(string(value), 10, 64)
		return err
	case countKey:
		var err error
		a.count, err = parseCount(value)
		return err
	}
	if rest, ok := strings.CutPrefix(key, sendKey); ok {
		return a.send(rest, value)
	}
	if rest, ok := strings.CutPrefix(key, takenKey); ok {
		n, err := strconv.ParseInt(rest, 16, 64)
		if err == nil && len(value) != chunk/8 {
			err = fmt.Errorf("%d bytes, want %d", len(value), chunk/8)
		}
		bitmaps[n] = value
		a.chunks = append(a.chunks, n)
		return err
	}
	rest, ok := strings.CutPrefix(key, itemKey)
	if !ok {
		return errors.New("written by a newer version")
	}
	first, err := strconv.ParseInt(rest, 16, 64)
	if err != nil {
		return err
	}
	return a.batch(first, value)
}

// batch reads a record of items.
func (a *loaded) batch(first int64, value []byte) error {
	var list []stored
	if err := json.Unmarshal(value, &list); err != nil {
		return err
	}
	if n := len(a.items); n > 0 && a.items[n-1].seq+1 != first {
		return fmt.Errorf("items %d to %d are missing", a.items[n-1].seq+1, first-1)
	}
	a.batches = append(a.batches, first)
	for i, s := range list {
		root, err := cid.Decode(s.CID)
		if err != nil {
			return err
		}
		it := &item{
			seq: first + int64(i), from: s.From, transfer: s.Transfer, channel: s.Channel, name: s.Name, at: s.At,
			file: blockstore.File{Root: root, Size: s.Size},
		}
		if it.file.SHA256, err = parseSHA256(s.SHA256); err != nil {
			return err
		}
		a.items = append(a.items, it)
	}
	return nil
}

// Forget drops all that records know of the inbox of a removed job. The pins of
// its files are InboxPinName(id).
func Forget(ctx context.Context, records blockstore.Records, id string) error {
	var keys []string
	for r, err := range records.All(ctx, id+"/") {
		if err != nil {
			return fmt.Errorf("forget the inbox of job %s: %w", id, err)
		}
		keys = append(keys, r.Key)
	}
	for _, k := range keys {
		if err := records.Delete(ctx, k); err != nil {
			return fmt.Errorf("forget the inbox of job %s: %w", id, err)
		}
	}
	return nil
}
