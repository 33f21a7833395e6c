package hub

import (
	"errors"
	"sync"
	"syscall"
	"time"

	"github.com/hypha-node/hypha-node/blockstore"
)

// Bounds of what is remembered of failed downloads.
const (
	spoiltLife = 10 * time.Minute
	maxSpoilt  = 1024
)

// spoilt remembers files of which clients were sent bytes that turned out to be
// wrong, or not to be checked in the end: whoever goes on from there would make a
// whole of wrong bytes and right ones.
type spoilt struct {
	mu sync.Mutex
	at map[string]time.Time // by key of the item
}

// add remembers a file.
func (s *spoilt) add(key string, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.at == nil {
		s.at = make(map[string]time.Time)
	}
	for k, at := range s.at {
		if now.Sub(at) > spoiltLife || len(s.at) >= maxSpoilt {
			delete(s.at, k)
		}
	}
	s.at[key] = now
}

// has tells whether a file is one of them.
func (s *spoilt) has(key string, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	at, ok := s.at[key]
	return ok && now.Sub(at) <= spoiltLife
}

// isFull tells whether there was no room for a content.
func isFull(err error) bool {
	return errors.Is(err, blockstore.ErrNoSpace) || errors.Is(err, syscall.ENOSPC)
}
