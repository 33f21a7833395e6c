package httpconn

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/hypha-node/hypha-node/connectors"
	"github.com/hypha-node/hypha-node/internal/watchdog"
)

// Explain turns an answer that is no success into an error: nil means that it
// has nothing to say and the status decides. It may read a little of the body.
type Explain func(*http.Response) *connectors.Error

// Fetch sends a request until it is answered with a status below 300 and a
// whole body of at most limit bytes, which it returns: what passes (408, 425,
// 429, 5xx, broken connections) is tried again. Other answers become errors, by
// explain (nil: by status).
func (c *Client) Fetch(ctx context.Context, r Request, limit int64, explain Explain) ([]byte, http.Header, error) {
	budget := c.budget()
	for {
		body, header, err := c.FetchOnce(ctx, r, limit, explain)
		if err == nil {
			return body, header, nil
		}
		if err := budget.spend(ctx, err); err != nil {
			return nil, nil, err
		}
	}
}

// FetchOnce is one attempt of Fetch.
func (c *Client) FetchOnce(ctx context.Context, r Request, limit int64, explain Explain) ([]byte, http.Header, error) {
	resp, err := c.Do(ctx, r)
	if err != nil {
		return nil, nil, err
	}
	if resp.StatusCode >= http.StatusMultipleChoices {
		return nil, nil, Refusal(r.URL, resp, explain)
	}
	defer drain(resp)
	if e := resp.Header.Get("Content-Encoding"); e != "" && e != "identity" {
		return nil, nil, fail("read", r.URL, fmt.Errorf("%w: the answer came encoded although identity was asked for", finalUpstream{}))
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err != nil {
		return nil, nil, fail("read", r.URL, fmt.Errorf("%w: %w", connectors.ErrUpstream, err))
	}
	if int64(len(body)) > limit {
		return nil, nil, fail("read", r.URL, fmt.Errorf("%w: the answer is larger than %d bytes", finalUpstream{}, limit))
	}
	return body, resp.Header, nil
}

// budget counts attempts without progress.
type budget struct {
	client *Client
	spent  int
	pause  backoff.ExponentialBackOff
	fresh  int64 // bytes since the last attempt that failed
	// moved says that the origin has already given bytes: then even a refused
	// connection is worth another try, for the origin may be restarting.
	moved bool
	// most is how many attempts in a row may bring nothing, patience the longest
	// pause that the origin may ask for.
	most     int
	patience time.Duration
}

// budget returns a full budget.
func (c *Client) budget() *budget {
	return &budget{client: c, most: c.cfg.Retries, patience: maxWait, pause: backoff.ExponentialBackOff{
		InitialInterval: c.cfg.Delay, RandomizationFactor: 0.5, Multiplier: 2, MaxInterval: maxDelay,
	}}
}

// progress takes note of n new bytes.
func (b *budget) progress(n int) {
	b.fresh += int64(n)
	b.moved = true
}

// refill makes the budget full again if the attempt that has failed brought something
// before, and not in drops.
func (b *budget) refill(err error) {
	if b.fresh > 0 && !dripped(b.fresh, err) {
		b.spent = 0
		b.pause.Reset()
	}
	b.fresh = 0
}

// dripped tells whether an attempt that brought n bytes and ended so brought too few.
func dripped(n int64, err error) bool { return n < leastMoved && errors.Is(err, watchdog.ErrStalled) }

// spend takes note of a failed attempt and waits until the next one is due. It
// returns the error when there is to be none.
func (b *budget) spend(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	b.refill(err)
	again, wait := transient(err, b.moved)
	if !again || wait > b.patience {
		return err
	}
	if b.spent++; b.spent > b.most {
		if b.most > 0 {
			return giveUp(err, b.spent)
		}
		return err
	}
	wait = max(wait, b.pause.NextBackOff())
	b.client.cfg.Logger.InfoContext(ctx, "origin is tried again",
		slog.Any("error", err), slog.Duration("wait", wait), slog.Int("attempt", b.spent))
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}

// giveUp says in the error how often it was tried.
func giveUp(err error, attempts int) error {
	ce, ok := errors.AsType[*connectors.Error](err)
	if !ok {
		return err
	}
	last := *ce
	last.Err = fmt.Errorf("%w (after %d attempts without progress)", ce.Err, attempts)
	return &last
}

// transient tells whether another attempt may help, and how long the origin
// asks to wait before it.
func transient(err error, moved bool) (again bool, wait time.Duration) {
	if errors.Is(err, errFinal) || !errors.Is(err, connectors.ErrUpstream) {
		return false, 0
	}
	ce, ok := errors.AsType[*connectors.Error](err)
	if ok && ce.Status != 0 {
		return passes(ce.Status), ce.RetryAfter
	}
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return moved || isTemporaryDNS(err), 0
	}
	if isCertificate(err) {
		return false, 0
	}
	if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ENETUNREACH) || errors.Is(err, syscall.EHOSTUNREACH) {
		return moved, 0
	}
	return true, 0
}

// errFinal marks a failure of the origin that another attempt can't mend.
var errFinal = errors.New("final")

// passes tells whether a status is one that passes.
func passes(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return true
	case http.StatusNotImplemented, http.StatusHTTPVersionNotSupported, http.StatusLoopDetected:
		return false
	}
	return status >= http.StatusInternalServerError
}

// isTemporaryDNS tells a name server's trouble from its answer that there is
// no such name.
func isTemporaryDNS(err error) bool {
	de, ok := errors.AsType[*net.DNSError](err)
	return ok && !de.IsNotFound
}

// isCertificate tells whether the origin's certificate was not accepted.
func isCertificate(err error) bool {
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return true
	}
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return true
	}
	_, ok := errors.AsType[x509.CertificateInvalidError](err)
	return ok
}

// Refusal turns an answer that is no success into an error, and closes it. Explain
// may be nil: then the status decides.
func Refusal(source string, resp *http.Response, explain Explain) *connectors.Error {
	defer drain(resp)
	var err *connectors.Error
	if explain != nil {
		err = explain(resp)
	}
	if err == nil {
		err = fail("open", source, byStatus(resp.StatusCode))
	}
	err.Status = resp.StatusCode
	err.RetryAfter = retryAfter(resp.Header, time.Now())
	return err
}

// byStatus returns the error that a status stands for.
func byStatus(status int) error {
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return connectors.ErrUnauthorized
	case http.StatusNotFound, http.StatusGone:
		return connectors.ErrNotFound
	}
	return fmt.Errorf("%w: %s", connectors.ErrUpstream, statusText(status))
}

// statusText returns the name of a status, also of one that has none.
func statusText(status int) string {
	if text := http.StatusText(status); text != "" {
		return strings.ToLower(text)
	}
	return "status " + strconv.Itoa(status)
}

// retryAfter returns how long an origin asks to wait: by RateLimit when the
// window is used up (the field is on every answer of the Hub, so r=0 alone
// makes it the cause), else by Retry-After, in seconds or as a date.
func retryAfter(h http.Header, now time.Time) time.Duration {
	if left, reset, ok := rateLimit(h.Get("RateLimit")); ok && left == 0 {
		return reset
	}
	text := strings.TrimSpace(h.Get("Retry-After"))
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if date, err := http.ParseTime(text); err == nil {
		return max(0, date.Sub(now))
	}
	return 0
}

// rateLimit parses `"api";r=0;t=12`: what is left of the window and how long it
// lasts (draft-ietf-httpapi-ratelimit-headers). Of several the one with the
// least left counts.
func rateLimit(field string) (left uint64, reset time.Duration, ok bool) {
	for policy := range strings.SplitSeq(field, ",") {
		var r, t uint64
		var hasR, hasT bool
		for param := range strings.SplitSeq(policy, ";") {
			key, value, _ := strings.Cut(strings.TrimSpace(param), "=")
			n, err := strconv.ParseUint(value, 10, 31)
			if err != nil {
				continue
			}
			switch key {
			case "r":
				r, hasR = n, true
			case "t":
				t, hasT = n, true
			}
		}
		if hasR && hasT && (!ok || r < left) {
			left, reset, ok = r, time.Duration(t)*time.Second, true
		}
	}
	return left, reset, ok
}
