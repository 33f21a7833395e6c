package hub

import (
	"errors"
	"net/http"
	"time"
)

// client is where an answer is sent to. Whoever takes nothing for too long is
// given up: its connection fails.
type client struct {
	http.ResponseWriter
	control  *http.ResponseController
	patience time.Duration
	begun    bool // the header is sent
}

// WriteHeader sends the header.
func (c *client) WriteHeader(status int) {
	c.begun = true
	c.ResponseWriter.WriteHeader(status)
}

// Write sends bytes.
func (c *client) Write(p []byte) (int, error) {
	if err := c.wait(time.Now().Add(c.patience)); err != nil {
		return 0, err
	}
	return c.ResponseWriter.Write(p)
}

// Unwrap lets http.ResponseController find the rest.
func (c *client) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// finish sends what is left, and leaves the connection to the next request as it
// was.
func (c *client) finish() error {
	err := c.wait(time.Now().Add(c.patience))
	if err == nil && c.begun {
		err = c.control.Flush()
	}
	return errors.Join(err, c.wait(time.Time{}))
}

// wait sets how long a write may take.
func (c *client) wait(until time.Time) error {
	if err := c.control.SetWriteDeadline(until); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return nil
}
