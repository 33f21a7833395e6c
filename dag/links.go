package dag

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/hypha-node/hypha-node/internal/dagcbor"
	"github.com/ipfs/go-cid"
)

// Links returns the CIDs that the block c with those bytes links to, in order,
// once per link. It knows the codecs raw, which has none, dag-pb, dag-cbor and
// dag-json, and cbor and json, which have none either. Blocks of other codecs are
// ErrMalformed: what they hold is unknown here.
func Links(c cid.Cid, data []byte) ([]cid.Cid, error) {
	switch c.Type() {
	case cid.Raw, codecJSON, codecCBOR:
		return nil, nil
	case cid.DagCBOR:
		links, err := dagcbor.Links(data)
		if err != nil {
			return nil, malformed(c, "%v", err)
		}
		return links, nil
	case cid.DagJSON:
		links, err := jsonLinks(data)
		if err != nil {
			return nil, malformed(c, "dag-json: %v", err)
		}
		return links, nil
	case cid.DagProtobuf:
	default:
		return nil, malformed(c, "codec %#x: what such a block links to is not known here", c.Type())
	}
	links, _, err := decodePB(data)
	if err != nil {
		return nil, malformed(c, "dag-pb: %v", err)
	}
	cids := make([]cid.Cid, len(links))
	for i, l := range links {
		cids[i] = l.cid
	}
	return cids, nil
}

// Codecs without links; https://github.com/multiformats/multicodec
const (
	codecJSON = 0x0200
	codecCBOR = 0x51
)

// jsonLinks finds the objects {"/":"<CID>"} of DAG-JSON.
func jsonLinks(data []byte) (links []cid.Cid, err error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	var objects []bool // of each array and object around: whether it is an object
	key := true        // in an object, a key comes next
	for {
		tok, err := dec.Token()
		if errors.Is(err, io.EOF) {
			if len(objects) > 0 || len(data) == 0 {
				return nil, io.ErrUnexpectedEOF
			}
			return links, nil
		}
		if err != nil {
			return nil, err
		}
		isKey := len(objects) > 0 && objects[len(objects)-1] && key
		switch tok {
		case json.Delim('{'), json.Delim('['):
			if len(objects) == maxJSONDepth {
				return nil, fmt.Errorf("nested deeper than %d", maxJSONDepth)
			}
			objects = append(objects, tok == json.Delim('{'))
			key = true
			continue
		case json.Delim('}'), json.Delim(']'):
			objects = objects[:len(objects)-1]
			key = true
			continue
		}
		if !isKey {
			key = true
			continue
		}
		key = false
		if tok != "/" {
			continue
		}
		c, ok, err := jsonLink(dec, &objects)
		if err != nil {
			return nil, err
		}
		if key = true; ok {
			links = append(links, c)
		}
	}
}

// maxJSONDepth bounds how deep DAG-JSON is nested.
const maxJSONDepth = 1024

// jsonLink reads what follows the key "/": a link, or the object that bytes are.
func jsonLink(dec *json.Decoder, objects *[]bool) (cid.Cid, bool, error) {
	tok, err := dec.Token()
	if err != nil {
		return cid.Undef, false, err
	}
	if tok == json.Delim('{') || tok == json.Delim('[') {
		*objects = append(*objects, tok == json.Delim('{'))
		return cid.Undef, false, nil
	}
	text, ok := tok.(string)
	if !ok {
		return cid.Undef, false, nil
	}
	c, err := cid.Decode(text)
	if err != nil {
		return cid.Undef, false, fmt.Errorf("link %.100q: %w", text, err)
	}
	return c, true, nil
}
