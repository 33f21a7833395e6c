package peers

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/hypha-node/hypha-node/blockstore"
)

// version is that of the messages.
const version = 1

// Kinds of messages. The sender of a file says offer and then, when it is its
// turn, commit; the receiver answers refused or delivered, which ends the
// exchange. Both say alive while they have nothing to say.
const (
	kindOffer     = "offer"
	kindCommit    = "commit"
	kindAlive     = "alive"
	kindRefused   = "refused"
	kindDelivered = "delivered"
)

// Bounds of an offer.
const (
	maxTransfer = 64        // bytes
	maxLabel    = 256       // bytes of job, channel and task
	maxName     = 1024      // bytes
	maxOthers   = 128       // peers that share one file among them; more form several circles
	maxAddrs    = 3         // addresses of each
	maxAddr     = 128       // bytes of one
	maxInline   = 256 << 10 // bytes of content that travel with the offer
	maxSize     = 1 << 60   // bytes of a file
	maxDetail   = 1 << 10   // bytes of a refusal's explanation
	maxRetry    = 24 * 60 * time.Minute
)

// message is everything that is said on a stream of offers.
type message struct {
	Kind    string     `json:"kind"`
	Offer   *wireOffer `json:"offer,omitempty"`
	Code    string     `json:"code,omitempty"`
	Detail  string     `json:"detail,omitempty"`
	RetryMs int64      `json:"retry_after_ms,omitempty"`
	Again   bool       `json:"again,omitempty"` // it was delivered before
}

// wireOffer is an Offer as it travels.
type wireOffer struct {
	V        int         `json:"v"`
	Transfer string      `json:"transfer"`
	Job      string      `json:"job"`
	Channel  string      `json:"channel,omitempty"`
	Task     string      `json:"task,omitempty"`
	Name     string      `json:"name"`
	Seq      int64       `json:"seq"`
	After    string      `json:"after,omitempty"`
	CID      string      `json:"cid"`
	Size     int64       `json:"size"`
	SHA256   string      `json:"sha256"` // hexadecimal
	Others   []wireOther `json:"others,omitempty"`
	Now      bool        `json:"now,omitempty"`    // it is the sender's turn: no commit follows
	Inline   int64       `json:"inline,omitempty"` // bytes of content behind the message
	MAC      string      `json:"mac,omitempty"`    // hexadecimal; none without a secret
}

// wireOther is another receiver of the same file.
type wireOther struct {
	ID    string   `json:"id"`
	Addrs []string `json:"addrs,omitempty"`
}

// encode returns the text of a message.
func (m message) encode() ([]byte, error) { return json.Marshal(m) }

// parseMessage reads a message and tells whether it can be.
func parseMessage(b []byte) (message, error) {
	var m message
	if err := json.Unmarshal(b, &m); err != nil {
		return message{}, fmt.Errorf("message: %w: %w", ErrInvalid, err)
	}
	switch m.Kind {
	case kindOffer:
		if m.Offer == nil {
			return message{}, fmt.Errorf("offer without content: %w", ErrInvalid)
		}
	case kindRefused:
		if m.Code == "" || len(m.Code) > maxTransfer {
			return message{}, fmt.Errorf("refusal without a code: %w", ErrInvalid)
		}
	case kindCommit, kindAlive, kindDelivered:
	default:
		return message{}, fmt.Errorf("message of kind %.32q: %w", m.Kind, ErrInvalid)
	}
	return m, nil
}

// refusal returns what a message of that kind says.
func (m message) refusal() *Refusal {
	after := time.Duration(min(max(m.RetryMs, 0), int64(maxRetry/time.Millisecond))) * time.Millisecond
	return &Refusal{Code: m.Code, Detail: clip(m.Detail, maxDetail), RetryAfter: after}
}

// refused is the message of a refusal.
func refused(r *Refusal) message {
	return message{Kind: kindRefused, Code: r.Code, Detail: clip(r.Detail, maxDetail), RetryMs: r.RetryAfter.Milliseconds()}
}

// clip shortens a text and makes it UTF-8.
func clip(s string, most int) string {
	if len(s) > most {
		s = s[:most]
	}
	return strings.ToValidUTF8(s, "\ufffd")
}

// received is an offer as it came, judged.
type received struct {
	Offer
	now    bool
	inline int64
	mac    []byte
	others []peer.AddrInfo // Offer.Others
}

// parse judges an offer: whatever passes can be handled, though it may be a lie.
func (w *wireOffer) parse() (*received, error) {
	if w.V != version {
		return nil, fmt.Errorf("offer of version %d: %w", w.V, ErrInvalid)
	}
	root, err := cid.Decode(w.CID)
	if err != nil {
		return nil, fmt.Errorf("offer of a CID: %w: %w", ErrInvalid, err)
	}
	sum, err := hex.DecodeString(w.SHA256)
	if err != nil || len(sum) != sha256.Size {
		return nil, fmt.Errorf("offer with sha256 %.80q: %w", w.SHA256, ErrInvalid)
	}
	mac, err := hex.DecodeString(w.MAC)
	if err != nil || len(mac) != 0 && len(mac) != sha256.Size {
		return nil, fmt.Errorf("offer with a MAC of %d letters: %w", len(w.MAC), ErrInvalid)
	}
	r := &received{
		Offer: Offer{
			Transfer: w.Transfer, Job: w.Job, Channel: w.Channel, Task: w.Task, Name: w.Name, Seq: w.Seq, After: w.After,
			File: blockstore.File{Root: root, Size: w.Size, SHA256: [sha256.Size]byte(sum)},
		},
		now: w.Now, inline: w.Inline, mac: mac,
	}
	if err := r.parseOthers(w.Others); err != nil {
		return nil, err
	}
	if err := r.check(); err != nil {
		return nil, err
	}
	if r.inline != 0 && (r.inline != r.File.Size || r.inline > maxInline || !inlined(r.File)) {
		return nil, fmt.Errorf("offer with %d bytes inline: %w", r.inline, ErrInvalid)
	}
	return r, nil
}

func (r *received) parseOthers(others []wireOther) error {
	if len(others) > maxOthers {
		return fmt.Errorf("offer to %d others: %w", len(others), ErrInvalid)
	}
	for _, o := range others {
		id, err := parseID(o.ID)
		if err != nil {
			return err
		}
		info := peer.AddrInfo{ID: id}
		for _, text := range o.Addrs[:min(len(o.Addrs), maxAddrs)] {
			if a, err := ma.NewMultiaddr(text); err == nil && len(text) <= maxAddr {
				info.Addrs = append(info.Addrs, a)
			}
		}
		r.others = append(r.others, info)
		r.Others = append(r.Others, id.String())
	}
	return nil
}

// inlined tells whether a file is one block that is its content.
func inlined(f blockstore.File) bool {
	p := f.Root.Prefix()
	return f.Root.Type() == cid.Raw && p.MhType == 0x12 && p.MhLength == sha256.Size
}

// check tells whether an offer can be made.
func (o Offer) check() error {
	bad := func(what string) error { return fmt.Errorf("offer with %s: %w", what, ErrInvalid) }
	switch {
	case !isToken(o.Transfer):
		return bad("a transfer id that is not 1 to 64 letters, digits, dots, dashes and underscores")
	case len(o.Job) > maxLabel || len(o.Channel) > maxLabel || len(o.Task) > maxLabel:
		return bad("a job, channel or task of more than 256 bytes")
	case len(o.Name) > maxName:
		return bad("a name of more than 1024 bytes")
	case !utf8.ValidString(o.Job) || !utf8.ValidString(o.Channel) || !utf8.ValidString(o.Task) || !utf8.ValidString(o.Name):
		return bad("text that is not UTF-8")
	case o.Seq < 0:
		return bad("a negative number")
	case o.After != "" && !isToken(o.After):
		return bad("an earlier transfer that has no id")
	case o.File.Size < 0 || o.File.Size > maxSize:
		return bad("an impossible size")
	case !o.File.Root.Defined():
		return bad("no CID")
	}
	if p := o.File.Root.Prefix(); p.Codec != cid.Raw && p.Codec != cid.DagProtobuf {
		return bad("a CID that is not that of a file")
	}
	return nil
}

// isToken tells whether s is the id of a transfer.
func isToken(s string) bool {
	if s == "" || len(s) > maxTransfer {
		return false
	}
	for _, c := range []byte(s) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}

// mac returns the HMAC-SHA256 of an offer and of both ends under a secret. Every
// field is preceded by its length, so that no two offers have the same text.
func (o Offer) mac(from, to peer.ID, secret string) []byte {
	h := hmac.New(sha256.New, []byte(secret))
	field := func(s string) {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(s)))
		h.Write(n[:])
		h.Write([]byte(s))
	}
	number := func(v int64) { field(string(binary.BigEndian.AppendUint64(nil, uint64(v)))) }
	field(string(protoOffer))
	field(string(from))
	field(string(to))
	for _, s := range []string{o.Transfer, o.Job, o.Channel, o.Task, o.Name, o.After, o.File.Root.KeyString(), string(o.File.SHA256[:])} {
		field(s)
	}
	number(o.Seq)
	number(o.File.Size)
	number(int64(len(o.Others)))
	for _, id := range o.Others {
		field(id)
	}
	return h.Sum(nil)
}

// proves returns a function that tells whether the offer was made by somebody
// who knows a secret.
func (r *received) proves(from, to peer.ID) func(secret string) bool {
	return func(secret string) bool {
		return secret != "" && len(r.mac) > 0 && hmac.Equal(r.mac, r.Offer.mac(from, to, secret))
	}
}
