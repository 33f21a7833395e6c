package control

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func (r *rig) tree(t *testing.T) string {
	t.Helper()
	r.write(t, "tree/a.txt", "a")
	r.write(t, "tree/sub/b.txt", "bb")
	r.write(t, "tree/.hidden", "h")
	must(t, os.Symlink("a.txt", filepath.Join(r.dir, "tree", "link")))
	got, err := items(r.Add(t.Context(), AddRequest{Paths: []string{filepath.Join(r.dir, "tree")}}))
	must(t, err)
	last := got[len(got)-1]
	if !last.Root || last.Path != "tree" || last.Type != "dir" {
		t.Fatalf("%+v", last)
	}
	return last.CID
}

func TestTree(t *testing.T) {
	both(t, func(t *testing.T, r *rig) {
		root := r.tree(t)
		got, err := items(r.List(t.Context(), PathRequest{Path: root}))
		must(t, err)
		var names []string
		for _, e := range got {
			names = append(names, e.Name+" "+e.Type)
		}
		if diff := cmp.Diff([]string{"a.txt file", "link symlink", "sub dir"}, names); diff != "" {
			t.Error(diff)
		}
		var b bytes.Buffer
		for _, name := range []string{root + "/sub/b.txt", "ipfs://" + root + "/sub/b.txt", "/ipfs/" + root + "/sub/b.txt/"} {
			b.Reset()
			if _, err := r.Cat(t.Context(), CatRequest{Path: name, Length: -1}, &b); err != nil || b.String() != "bb" {
				t.Errorf("cat %s: %q, %v", name, &b, err)
			}
		}
		st, err := r.Stat(t.Context(), PathRequest{Path: root + "/a.txt"})
		if err != nil || st.Type != "file" || st.Size != 1 || !st.Local || st.SHA256 != sum("a") || len(st.Pins) != 0 {
			t.Errorf("%+v, %v", st, err)
		}
		st, err = r.Stat(t.Context(), PathRequest{Path: root})
		if err != nil || st.Type != "dir" || st.Links != 3 || len(st.Pins) != 1 {
			t.Errorf("%+v, %v", st, err)
		}
		_, err = items(r.List(t.Context(), PathRequest{Path: root + "/absent"}))
		wantError(t, err, CodeNotFound, "absent")
		_, err = items(r.List(t.Context(), PathRequest{Path: root + "/a.txt"}))
		wantError(t, err, CodeWrongType, "")
	})
}

func TestTreeEntries(t *testing.T) {
	both(t, func(t *testing.T, r *rig) {
		root := r.tree(t)
		dir := filepath.Join(r.dir, "tree")
		count := func(req AddRequest) (paths []string) {
			req.Paths = []string{dir}
			got, err := items(r.Add(t.Context(), req))
			must(t, err)
			for _, a := range got {
				paths = append(paths, a.Path)
			}
			return paths
		}
		if got := count(AddRequest{RootsOnly: true}); len(got) != 1 || got[0] != "tree" {
			t.Errorf("roots only: %q", got)
		}
		if got := count(AddRequest{Hidden: true}); !strings.Contains(strings.Join(got, " "), "tree/.hidden") {
			t.Errorf("with hidden files: %q", got)
		}
		got, err := items(r.Get(t.Context(), GetRequest{Path: root, Output: filepath.Join(r.dir, "out")}))
		must(t, err)
		last := got[len(got)-1]
		if !last.Root || last.CID != root || last.Path != filepath.Join(r.dir, "out") || last.Files == 0 {
			t.Errorf("%+v", last)
		}
		text, err := os.ReadFile(filepath.Join(r.dir, "out", "sub", "b.txt"))
		if err != nil || string(text) != "bb" {
			t.Errorf("%q, %v", text, err)
		}
		if target, err := os.Readlink(filepath.Join(r.dir, "out", "link")); err != nil || target != "a.txt" {
			t.Errorf("link to %q, %v", target, err)
		}
	})
}

func TestGetFile(t *testing.T) {
	both(t, func(t *testing.T, r *rig) {
		_, err := items(r.Add(t.Context(), AddRequest{Paths: []string{r.write(t, "f", hello)}}))
		must(t, err)
		out := filepath.Join(r.dir, "new", "out")
		req := GetRequest{Path: helloCID, Output: out, Mode: 0o640}
		got, err := items(r.Get(t.Context(), req))
		must(t, err)
		if len(got) != 1 || got[0].Path != out || got[0].Size != 11 || got[0].SHA256 != sum(hello) || !got[0].Root {
			t.Errorf("%+v", got)
		}
		if info, err := os.Stat(out); err != nil || info.Mode() != 0o640 {
			t.Errorf("%v, %v", info.Mode(), err)
		}
		if _, err := items(r.Get(t.Context(), req)); err != nil {
			t.Errorf("the same content again: %v", err)
		}
		must(t, os.WriteFile(out, []byte("mine"), 0o600))
		_, err = items(r.Get(t.Context(), req))
		wantError(t, err, CodeConflict, "")
		if text, err := os.ReadFile(out); err != nil || string(text) != "mine" {
			t.Errorf("%q, %v: overwritten without force", text, err)
		}
		req.Force = true
		_, err = items(r.Get(t.Context(), req))
		must(t, err)
		if text, err := os.ReadFile(out); err != nil || string(text) != hello {
			t.Errorf("%q, %v", text, err)
		}
		_, err = items(r.Get(t.Context(), GetRequest{Path: helloCID, Output: "relative"}))
		wantError(t, err, CodeInvalid, "absolute")
		_, err = items(r.Get(t.Context(), GetRequest{Path: nobody, Output: out}))
		wantError(t, err, CodeNotFound, nobody)
	})
}

func TestCat(t *testing.T) {
	both(t, func(t *testing.T, r *rig) {
		big := strings.Repeat("0123456789", 1<<20/4) // 2.5 MiB: several leaves
		added, err := items(r.Add(t.Context(), AddRequest{Paths: []string{r.write(t, "big", big)}}))
		must(t, err)
		root := added[0].CID
		for _, tc := range []struct {
			name           string
			offset, length int64
			want           string
		}{
			{"all", 0, -1, big},
			{"nothing", 0, 0, ""},
			{"over a leaf's edge", 1<<20 - 3, 6, big[1<<20-3 : 1<<20+3]},
			{"to the end", 1 << 21, -1, big[1<<21:]},
			{"more than there is", int64(len(big)) - 2, 100, big[len(big)-2:]},
			{"at the end", int64(len(big)), -1, ""},
		} {
			t.Run(tc.name, func(t *testing.T) {
				var b bytes.Buffer
				n, err := r.Cat(t.Context(), CatRequest{Path: root, Offset: tc.offset, Length: tc.length}, &b)
				if err != nil || n != int64(len(tc.want)) || b.String() != tc.want {
					t.Errorf("%d bytes, %v; want %d", n, err, len(tc.want))
				}
			})
		}
		for name, tc := range map[string]struct {
			req  CatRequest
			code string
		}{
			"beyond the end":  {CatRequest{Path: root, Offset: int64(len(big)) + 1, Length: -1}, CodeInvalid},
			"negative offset": {CatRequest{Path: root, Offset: -1, Length: -1}, CodeInvalid},
			"no CID":          {CatRequest{Path: "x", Length: -1}, CodeInvalid},
			"nothing":         {CatRequest{Length: -1}, CodeInvalid},
			"nobody has it":   {CatRequest{Path: nobody, Length: -1}, CodeNotFound},
			"directory":       {CatRequest{Path: r.tree(t), Length: -1}, CodeWrongType},
		} {
			t.Run(name, func(t *testing.T) {
				_, err := r.Cat(t.Context(), tc.req, io.Discard)
				wantError(t, err, tc.code, "")
			})
		}
		full := errors.New("full")
		_, err = r.Cat(t.Context(), CatRequest{Path: root, Length: -1}, writerFunc(func([]byte) (int, error) { return 0, full }))
		if !errors.Is(err, full) {
			t.Errorf("a destination that fails: %v", err)
		}
	})
}

func TestCatBroken(t *testing.T) {
	both(t, func(t *testing.T, r *rig) {
		root := r.broken(t)
		var b bytes.Buffer
		n, err := r.Cat(t.Context(), CatRequest{Path: root, Length: -1}, &b)
		wantError(t, err, CodeNotFound, "")
		if want := strings.Repeat("a", 1001) + strings.Repeat("b", 1001); n > 2002 || !strings.HasPrefix(want, b.String()) {
			t.Errorf("%d bytes before the error", n)
		}
	})
}
