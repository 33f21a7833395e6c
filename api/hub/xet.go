package hub

import (
	"bytes"
	"encoding/json"
)

// xetMember is what a listing tells of a file for Xet: its clients ask the
// upstream's own servers for such a file.
const xetMember = "xetHash"

// xetField is the header field of a file that tells the same.
const xetField = "X-Xet-Hash"

// withoutXet returns a listing, or the information on a repository, without what
// it tells of files for Xet. What has another form is returned as it is.
func withoutXet(body []byte) []byte {
	if !bytes.Contains(body, []byte(xetMember)) {
		return body
	}
	var list []map[string]json.RawMessage
	if json.Unmarshal(body, &list) == nil {
		return marshal(stripXet(list), body)
	}
	var info map[string]json.RawMessage
	if json.Unmarshal(body, &info) != nil {
		return body
	}
	if json.Unmarshal(info["siblings"], &list) == nil {
		info["siblings"] = marshal(stripXet(list), info["siblings"])
	}
	return marshal(info, body)
}

func stripXet(list []map[string]json.RawMessage) []map[string]json.RawMessage {
	for _, entry := range list {
		delete(entry, xetMember)
	}
	return list
}

// marshal encodes a value, or returns what there is in its place.
func marshal(value any, otherwise []byte) []byte {
	text, err := json.Marshal(value)
	if err != nil {
		return otherwise
	}
	return text
}
