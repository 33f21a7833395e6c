package cases

import (
	"context"
	"errors"
	"fmt"
)

// Sender is a Node whose job sends files to the jobs of other nodes, and gets theirs.
type Sender interface {
	// Prepare puts noise of a size in bytes into the job's work directory.
	Prepare(ctx context.Context, size int64) error
	// Send has the job send what Prepare has made to the jobs of the nodes at
	// addresses, and returns when all of them have it.
	Send(ctx context.Context, addresses []string) error
	// Receive has the job wait for one file that is sent to it, and returns how many
	// bytes of it, in the work directory, it has read back and found to be those of
	// Prepare.
	Receive(ctx context.Context, size int64) (int64, error)
}

// sender returns the instance's node as one that sends.
func sender(w World) (Sender, error) {
	s, ok := w.Node().(Sender)
	if !ok {
		return nil, fmt.Errorf("send from job to job: %w", errors.ErrUnsupported)
	}
	return s, nil
}

// prepare has a seed that will send make its file.
func (c Case) prepare(ctx context.Context, w World) error {
	s, err := sender(w)
	if err != nil {
		return err
	}
	return s.Prepare(ctx, c.Size)
}

// send has a seed send to all leeches.
func (c Case) send(ctx context.Context, w World, addresses [][]byte) error {
	s, err := sender(w)
	if err != nil {
		return err
	}
	var to []string
	for _, address := range addresses[c.Seeds : c.Seeds+c.Leeches] {
		to = append(to, string(address))
	}
	return s.Send(ctx, to)
}

// get gets the content to a leech, and returns its size there.
func (c Case) get(ctx context.Context, w World, root string) (int64, error) {
	if !c.Send {
		return w.Node().Fetch(ctx, root, c.Size)
	}
	s, err := sender(w)
	if err != nil {
		return 0, err
	}
	return s.Receive(ctx, c.Size)
}
