package bridge

import "testing"

// Whatever a record holds, reading it ends with a send that can be, or an error.
func FuzzSendRecord(f *testing.F) {
	const good = `{"transfer":"T","at":"2026-11-21T11:00:00Z","until":"2026-11-22T11:00:00Z","peers":["peer-b"],"strategy":"all",` +
		`"path":"f","name":"f","modified":"2026-11-21T11:00:00Z","cid":"bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy",` +
		`"size":3,"sha256":"0000000000000000000000000000000000000000000000000000000000000000"}`
	f.Add("0000000000000001", good)
	f.Add("x", good)
	f.Add("0000000000000001", `{"peers":[]}`)
	f.Add("-1", `[]`)
	f.Fuzz(func(t *testing.T, key, value string) {
		var a loaded
		if err := a.record(sendKey+key, []byte(value), map[int64][]byte{}); err != nil {
			if len(a.sends) != 0 {
				t.Errorf("%v, and %+v", err, a.sends)
			}
			return
		}
		if len(a.sends) != 1 || len(a.sends[0].Peers) == 0 || !a.sends[0].file.Root.Defined() || a.sends[0].seq < 0 {
			t.Errorf("%+v", a.sends)
		}
	})
}
