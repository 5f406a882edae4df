package transparency_test

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"flagledger/domain/transparency"
)

// exported is an export of so many commits, with a checkpoint behind each, and the key to verify it with.
func exported(t testing.TB, commits uint64) (export, vkey string, last transparency.Signed) {
	t.Helper()
	origin := transparency.Origin(leafOf(1).Hash())
	signer, vkey := keys(t, origin, 1)
	var f transparency.Frontier
	var body bytes.Buffer
	at := func(size uint64) transparency.Signed {
		signed, err := transparency.Checkpoint{Origin: origin, Size: size, Root: f.Root()}.Sign(signer)
		if err != nil {
			t.Fatal(err)
		}
		return signed
	}
	for position := uint64(1); position <= commits; position++ {
		f.Append(leafOf(position).Hash())
	}
	last = at(commits)
	x, err := transparency.NewExporter(&body, transparency.Header{From: 1, To: commits, Checkpoint: last.Note})
	f = transparency.Frontier{}
	for position := uint64(1); position <= commits && err == nil; position++ {
		leaf := leafOf(position)
		f.Append(leaf.Hash())
		if err = x.Leaf(leaf, leaf.Hash()); err == nil {
			err = x.Checkpoint(at(position).Note)
		}
	}
	if err != nil || x.End() != nil {
		t.Fatal(err, x.End())
	}
	return body.String(), vkey, last
}

// Whatever stands in an export, reading it ends, and it is verified only with what was signed: the root and the commits of the original.
func FuzzVerify(f *testing.F) {
	const size = 2 // small, since what is found is made smaller byte by byte
	export, vkey, last := exported(f, size)
	known := verifiers(f, vkey)
	f.Add([]byte(export), []byte(last.Note))
	f.Add([]byte(export), []byte(export))
	lines := strings.SplitAfter(export, "\n")
	f.Add([]byte(strings.Join(lines[1:], "")), []byte(last.Note+last.Note))
	f.Add([]byte(lines[0]+`{"end":2}`+"\n"), []byte{})
	f.Add([]byte(strings.Replace(export, "c1", "c2", 1)), []byte("—"))
	f.Add([]byte(`{"export":"flagledger.export.v1","from":1,"to":9223372036854775807,"before":[],"checkpoint":"","consistency":[]}`+"\n"), []byte("{"))
	f.Add([]byte(`{"export":"flagledger.export.v1","from":3,"to":2}`+"\n"), []byte("a\n1\nb\n\n— a b\n"))
	for _, twice := range [][2]string{ // what readers of JSON differ in
		{`"leaf":`, `"leaf":"x","LEAF":`},
		{`"leaf":`, `"leaf":"x","leaf":`},
		{`"leaf":`, `"leaf_b64":"eA==","leaf":`},
		{`{"checkpoint":`, `{"leaf":"x","checkpoint":`},
		{`{"end":2`, `{"end":1,"END":2`},
		{`"to":2`, `"to":1,"TO":2`},
		{`"consistency":[]`, `"consistency":["` + tlog.Hash{}.String() + `"]`},
		{"\n", "\r\n"},
	} {
		f.Add([]byte(strings.Replace(export, twice[0], twice[1], 1)), []byte{})
	}
	f.Add([]byte(export+"\n"), []byte{})
	var hashes [size]tlog.Hash
	for i := range hashes {
		hashes[i] = leafOf(uint64(i + 1)).Hash()
	}
	f.Fuzz(func(t *testing.T, verified, kept []byte) {
		since, err := transparency.ReadSince(bytes.NewReader(kept), known)
		if err != nil {
			since = transparency.Since{}
		}
		report, err := transparency.Verify(bytes.NewReader(verified), known, since)
		if finding, found := errors.AsType[*transparency.Finding](err); found && (finding.First < 1 || finding.Last < finding.First) {
			t.Errorf("the finding is at positions %d to %d: %v", finding.First, finding.Last, err)
		}
		if err != nil {
			return
		}
		if report.From < 1 || report.To > size || report.Size > size {
			t.Fatalf("verified as %+v", report)
		}
		var tree transparency.Frontier
		for _, h := range hashes[:report.To] {
			tree.Append(h)
		}
		if report.Root != tree.Root() {
			t.Errorf("verified with root %v, want %v", report.Root, tree.Root())
		}
		for i, line := range bytes.SplitAfter(verified, []byte("\n"))[1:] { // no reader may find in it what was not signed
			if !bytes.HasPrefix(line, []byte(`{"checkpoint":"`)) && !slices.Contains(lines, string(line)) && string(line) != `{"end":1}`+"\n" {
				t.Errorf("verified with line %d: %q", i+2, line)
			}
		}
	})
}

// A checkpoint that is read is one that would be written so, apart from extensions.
func FuzzCheckpoint(f *testing.F) {
	signer, vkey := keys(f, "flagledger/1", 1)
	signed, err := transparency.Checkpoint{Origin: "flagledger/1", Size: 7, Root: tlog.RecordHash(nil)}.Sign(signer)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(signed.Note)
	f.Add(signed.Text())
	f.Add(signed.Text() + "extension\n")
	f.Add("a\n0\n" + tlog.RecordHash(nil).String() + "\n\n— a AAAA\n")
	f.Add("a\n-1\n\n")
	known := verifiers(f, vkey)
	f.Fuzz(func(t *testing.T, text string) {
		if c, err := transparency.ParseCheckpoint(text); err == nil && !strings.HasPrefix(text, c.Text()) {
			t.Errorf("%q is read as %+v", text, c)
		}
		if c, err := transparency.OpenCheckpoint(text, known); err == nil && c.Checkpoint != signed.Checkpoint {
			t.Errorf("%q holds, with %+v", text, c)
		}
		_, _ = transparency.ReadUnverified(text)
		_, _ = transparency.Verifiers(text)
	})
}

// The form of a line is the one that docs/transparency.md gives, whatever the encoder of a later Go does: exports that were kept must stay what is written.
func TestExportIsAlwaysWrittenSo(t *testing.T) {
	var got strings.Builder
	x, err := transparency.NewExporter(&got, transparency.Header{From: 1, To: 2, Checkpoint: "a — b\n"})
	if err != nil {
		t.Fatal(err)
	}
	leaf := leafOf(1)
	leaf.Header = nil
	leaf.Payload = []byte("<&>'\"\\/\x00\b\f\n\r\t\x1f\x7fä\u2028\u2029\U0001f600")
	binary := leafOf(2)
	binary.Header, binary.Payload = nil, []byte{0xff}
	if err := errors.Join(x.Leaf(leaf, leaf.Hash()), x.Leaf(binary, binary.Hash()), x.Checkpoint("c\n"), x.End()); err != nil {
		t.Fatal(err)
	}
	const want = `{"export":"flagledger.export.v1","from":1,"to":2,"before":[],"checkpoint":"a — b\n","consistency":[]}
{"position":1,"leaf_hash":"c8A25qWj11bv374wO0MBkM25kJZqZSwYVIGXacljoF0=","leaf":"flagledger.leaf.v1\nposition: 1\nrecorded: 2026-05-03T14:02:11.262740001Z\nsubject: flagledger.log.p\n\n<&>'\"\\/\u0000\b\f\n\r\t\u001f` + "\x7f" + `ä\u2028\u2029😀"}
{"position":2,"leaf_hash":"bUfUlW5/nkZ+Lk1j5vObmtfCiL2wsSan57VEcLcl4mc=","leaf_b64":"ZmxhZ2xlZGdlci5sZWFmLnYxCnBvc2l0aW9uOiAyCnJlY29yZGVkOiAyMDI2LTA1LTAzVDE0OjAyOjExLjI2Mjc0MDAwMloKc3ViamVjdDogZmxhZ2xlZGdlci5sb2cucAoK/w=="}
{"checkpoint":"c\n"}
{"end":2}
`
	if got.String() != want {
		t.Errorf("got %s\nwant %s", got.String(), want)
	}
}
