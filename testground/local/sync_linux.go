package main

import (
	"context"
	"errors"
	"net/http"

	tgsync "github.com/testground/sync-service"
	"go.uber.org/zap"

	"github.com/hypha-node/hypha-node/testground/link"
)

// startSync starts testground's sync service in a namespace of its own, since it
// listens on all addresses. The returned function ends it.
func (r *round) startSync(ctx context.Context) (stop func() error, err error) {
	s, err := newSpace()
	if err != nil {
		return nil, err
	}
	own := addressOf(controlNet, -1)
	device, err := s.device("ctl0", own, 9000)
	if err != nil {
		s.close()
		return nil, err
	}
	if err := r.control.Add(own, device, link.Shape{}); err != nil {
		s.close()
		return nil, errors.Join(err, device.Close())
	}
	service, err := tgsync.NewDefaultService(context.WithoutCancel(ctx), zap.NewNop().Sugar())
	if err != nil {
		s.close()
		return nil, errors.Join(err, device.Close())
	}
	var server *tgsync.Server
	if err := s.do(func() (err error) { server, err = tgsync.NewServer(service, 0); return err }); err != nil {
		s.close()
		return nil, errors.Join(err, service.Close(), device.Close())
	}
	r.syncPort = server.Port()
	served := make(chan error, 1)
	go func() { served <- server.Serve() }()
	return func() error {
		now, cancel := context.WithCancel(context.Background())
		cancel() // whoever is still connected is not waited for
		err := server.Shutdown(now)
		if errors.Is(err, context.Canceled) {
			err = nil
		}
		if serving := <-served; !errors.Is(serving, http.ErrServerClosed) {
			err = errors.Join(err, serving)
		}
		s.close()
		return err
	}, nil
}
