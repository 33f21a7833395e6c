package s3

import (
	"context"
	"fmt"
	"iter"
	"net/http"
	"slices"

	"github.com/hypha-node/hypha-node/connectors"
	httpconn "github.com/hypha-node/hypha-node/connectors/http"
)

// Connector turns S3 references into items.
type Connector struct {
	client   *httpconn.Client
	accounts map[string]*account // by alias
	part     int64               // partSize
}

var _ connectors.Connector = (*Connector)(nil)

// New returns a connector; it has nothing to close. It reads no credentials
// before they are needed.
func New(cfg Config) *Connector {
	c := &Connector{client: cfg.Client, accounts: map[string]*account{}, part: partSize}
	c.accounts[DefaultAlias] = newAccount(DefaultAlias, cfg.Ambient, cfg.Keys, false)
	for alias, e := range cfg.Endpoints {
		if e.URL == "" && e.Region == "" {
			e.Region = cfg.Ambient.Region
		}
		c.accounts[alias] = newAccount(alias, e, cfg.Keys, true)
	}
	return c
}

// Supports takes references of type s3.
func (c *Connector) Supports(ref connectors.Ref) bool { return ref.Type == connectors.TypeS3 }

// Items yields the object that the reference names, or those below its prefix
// that its patterns choose, in the order of their keys. No object at all is an
// ErrNotFound.
func (c *Connector) Items(ctx context.Context, ref connectors.Ref, acc connectors.Access) iter.Seq2[connectors.Item, error] {
	return func(yield func(connectors.Item, error) bool) {
		q, err := c.begin(ref, acc)
		if err != nil {
			yield(connectors.Item{}, err)
			return
		}
		if ref.Key != "" {
			yield(q.named(), nil)
			return
		}
		q.listed(ctx, yield)
	}
}

// query is one reference being resolved. It does not change: items share it.
type query struct {
	client  *httpconn.Client
	account *account
	ref     connectors.Ref
	scope   string
}

// begin decides whether the reference may be asked for.
func (c *Connector) begin(ref connectors.Ref, acc connectors.Access) (*query, error) {
	alias := ref.Endpoint
	if alias == "" {
		alias = DefaultAlias
	}
	a, ok := c.accounts[alias]
	if !ok {
		return nil, &connectors.FieldError{Field: "endpoint", Problem: "is no alias that the operator of this node has configured"}
	}
	q := &query{client: c.client, account: a, ref: ref}
	switch {
	case !acc.Operator && !a.configured:
		return nil, q.refusal(fmt.Errorf("%w: jobs may use configured endpoints only", connectors.ErrForbidden),
			"the operator can configure [s3."+alias+"]")
	case !acc.Operator && len(a.Buckets) > 0 && !slices.Contains(a.Buckets, ref.Bucket):
		return nil, q.refusal(fmt.Errorf("%w: jobs may not use this bucket", connectors.ErrForbidden),
			"the operator can add it to buckets of [s3."+alias+"]")
	}
	if err := a.Check(); err != nil {
		return nil, q.refusal(fmt.Errorf("%w: endpoint %s: %w", connectors.ErrInvalid, alias, err), "mend the configuration")
	}
	var err error
	q.scope, err = a.scope()
	return q, err
}

// fetch sends a request about a bucket to its region and returns the answer.
func (q *query) fetch(ctx context.Context, r httpconn.Request, region string, limit int64) ([]byte, http.Header, error) {
	// Operator: the address is the operator's choice, whoever asks.
	r.Operator, r.Sign = true, q.signer(region)
	return q.client.Fetch(ctx, r, limit, q.explainer(region))
}

// signer signs requests for a region.
func (q *query) signer(region string) httpconn.Sign {
	return func(r *http.Request) error { return q.account.sign(r, region) }
}

// explainer explains the refusals of a region.
func (q *query) explainer(region string) httpconn.Explain {
	return func(resp *http.Response) *connectors.Error { return q.explain(resp, region) }
}
