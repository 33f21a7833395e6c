package rest

import (
	"context"
	"encoding/json"
	"iter"

	"github.com/hypha-node/hypha-node/bridge"
)

// whole is a job that can do everything.
type whole interface {
	Resources
	Publisher
	Exchange
	Ledger
}

// widen returns a job whose missing parts answer that there is no such route.
func widen(r Resources) whole {
	if w, ok := r.(whole); ok {
		return w
	}
	return partial{r}
}

type partial struct{ Resources }

func (partial) Prefetch(context.Context, bridge.FetchRequest) (string, error) { return "", errRoute }

func (partial) Put(context.Context, bridge.PutRequest) (bridge.Published, error) {
	return bridge.Published{}, errRoute
}

func (partial) Send(context.Context, bridge.SendRequest) ([]bridge.Delivered, error) {
	return nil, errRoute
}

func (partial) SendLater(context.Context, bridge.SendRequest) (string, error) { return "", errRoute }

func (partial) Receive(context.Context, bridge.ReceiveRequest) iter.Seq2[bridge.Received, error] {
	return func(yield func(bridge.Received, error) bool) { yield(bridge.Received{}, errRoute) }
}

func (partial) Report(context.Context, string, json.RawMessage) (json.RawMessage, error) {
	return nil, errRoute
}

func (partial) Transfers() []bridge.Transfer { return []bridge.Transfer{} }

func (partial) Transfer(string) (bridge.Transfer, error) { return bridge.Transfer{}, errRoute }

func (partial) Cancel(string) error { return errRoute }
