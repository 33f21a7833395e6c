package connectors

import (
	"fmt"
	"io"
	"log/slog"
)

// redacted stands for a Secret wherever it is printed.
const redacted = "[redacted]"

// Secret is a credential. Every way of printing it (fmt, slog, encoding/json)
// gives "[redacted]", or nothing when it is empty; Reveal gives the text.
type Secret string

// Reveal returns the credential itself.
func (s Secret) Reveal() string { return string(s) }

// String returns "[redacted]", or "" for an empty secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return redacted
}

// Format prints String for every verb, so that %x, %q and %#v do not leak.
func (s Secret) Format(f fmt.State, _ rune) {
	// A fmt.State is written to by fmt alone and reports errors by itself.
	_, _ = io.WriteString(f, s.String()) //nolint:errcheck // see above
}

// LogValue returns String.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText returns String: a secret never gets into JSON by accident.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
