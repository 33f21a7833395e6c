package peers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hypha-node/hypha-node/blockstore"
)

// Offer is what a sender says of one file before its bytes move.
type Offer struct {
	// Transfer names the delivery of one file to one peer, the same at each
	// retry: what was delivered is never delivered twice. 1 to 64 of [A-Za-z0-9._-].
	Transfer string
	Job      string // the job id that sender and receiver share
	Channel  string // of the job; "" is the default one
	Task     string // the sender's own job on its node, so that it never gets its own file back
	Name     string // base name as the sender has it; hostile
	Seq      int64  // number of the send call within the sender's job, from 0
	// After is the Transfer of the file that the same task sent to the same peer
	// before this one, "" if there is none that may still be under way: a
	// receiver keeps this one behind it, or refuses it with CodeBusy. So many
	// files can be kept with one write, and each in its turn.
	After string
	File  blockstore.File
	// Others are the peers that get the same file at the same time, in one order
	// for all of them, the receiver among them: text of peer ids.
	Others []string
	// Secret is the job's, "" if it has none. It does not travel: the offer
	// carries a MAC of itself and of both peers' ids under it.
	Secret string
}

// Receiver takes what peers offer. It is safe for concurrent use.
type Receiver interface {
	// Offered judges an offer from an authenticated peer. proven tells whether
	// the offer was made by somebody who knows a secret. A *Refusal is answered
	// to the sender; any other error as the code "internal". When the transfer
	// was delivered before, it returns ErrDelivered.
	Offered(ctx context.Context, from string, o Offer, proven func(secret string) bool) (Delivery, error)
}

// Delivery is an accepted offer. Exactly one of its methods is called, once.
type Delivery interface {
	// Keep is called when the file is stored durably and the sender says that it
	// is its turn, which it may say before Keep of Offer.After has returned; the
	// receiver keeps the order. When it returns nil the sender is told so: the file
	// must be safe from a crash by then.
	// An error is answered as those of Offered are.
	Keep(ctx context.Context) error
	// Drop is called when the transfer failed: nothing was kept. A *Refusal that
	// has Lied set says that the sender lied about the content.
	Drop(err error)
}

// Follower is a Delivery that goes along with its transfer. It is optional.
type Follower interface {
	Delivery
	// Done is closed when the receiver wants the file no more, nil never: the
	// transfer ends with Drop and the sender is told CodeCancelled.
	Done() <-chan struct{}
	// Moved gets the bytes that came from peers since its last call, and returns
	// when the next may come, or ctx ends; it is called from any goroutine, also
	// several at once.
	Moved(ctx context.Context, n int64)
}

// Keeper is a Delivery that says where its file is kept. It is optional: else that
// is Config.Store.
type Keeper interface {
	Delivery
	// Store returns the store as the receiver sees and fills it: what is not in it
	// is got from the sender, whoever else has it here.
	Store() blockstore.Store
}

// ErrDelivered says that a transfer was delivered before; the sender is told
// that it is delivered.
var ErrDelivered = errors.New("transfer was delivered before")

// Codes of a Refusal. They travel and are stable.
const (
	CodeNotInJob  = "not_in_job"        // no job here has that id, channel, list or secret: all the same to a stranger
	CodeBusy      = "busy"              // try again after RetryAfter
	CodeQuota     = "quota_exceeded"    // the job's inbox is full
	CodeNoSpace   = "no_space"          // the node's disk is full
	CodeMismatch  = "checksum_mismatch" // the content is not what the offer says
	CodeInvalid   = "invalid_request"   // the offer can't be
	CodeInternal  = "internal"          // the receiver failed
	CodeCancelled = "cancelled"         // the receiver's job ended the transfer
)

// Refusal is a receiver's no.
type Refusal struct {
	Code       string
	Detail     string
	RetryAfter time.Duration // of CodeBusy; 0: none
	Lied       bool          // in Drop: the sender's content was not what it offered, and no accident is the cause
}

// Error returns "code: detail".
func (r *Refusal) Error() string { return fmt.Sprintf("%s: %s", r.Code, r.Detail) }

// SendOptions say how one offer is made. The zero value is ready to use.
type SendOptions struct {
	// Turn is called once, at any time after Send began, and the receiver keeps
	// the file after it returned nil only: it waits until the sender's earlier
	// files for this peer have been kept, have failed, or, when the offer names
	// the last of them as After, had their turn. Its error ends the
	// transfer. ctx ends with the transfer. nil does not wait.
	Turn func(ctx context.Context) error
	// Pace is called before so many bytes go, at most 256 KiB, and returns when they
	// may; its error ends the attempt. It is called from any goroutine, also several
	// at once; nil is no bound.
	Pace func(ctx context.Context, n int) error
	// Progress gets the bytes that went to the peer from here since its last call.
	Progress func(n int64)
}

// Receipt says how a file reached a peer.
type Receipt struct {
	Moved     int64 // bytes of content that this node uploaded to the peer
	Delivered bool  // false: the peer had taken it before
}
