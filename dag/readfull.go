package dag

import "io"

// emptyReads is how many reads in a row may bring nothing.
const emptyReads = 100

// readFull fills buf from r and tells whether that was the end of it. Only io.EOF
// itself is an end: an error that wraps it is one, and so is a reader's own
// io.ErrUnexpectedEOF, which a connection that broke gives and which io.ReadFull
// could not tell from an end within buf.
func readFull(r io.Reader, buf []byte) (n int, end bool, err error) {
	for idle := 0; n < len(buf); idle++ {
		m, err := r.Read(buf[n:])
		switch n += m; {
		case err == io.EOF:
			return n, true, nil
		case err != nil:
			return n, false, err
		case m > 0:
			idle = 0
		case idle >= emptyReads:
			return n, false, io.ErrNoProgress
		}
	}
	return n, false, nil
}
