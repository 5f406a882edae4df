package main

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"flagledger/domain/transparency"
	"flagledger/eventstore/checkpoints"
)

// flagledger runs the program to its end.
func flagledger(t *testing.T, environ []string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), binary, args...)
	cmd.Env = append(append(os.Environ(), beProgram+"=1"), environ...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	if _, ended := errors.AsType[*exec.ExitError](err); err != nil && !ended {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// must runs the program, which has to succeed, and returns what it prints.
func must(t *testing.T, p *program, args ...string) string {
	t.Helper()
	status, stdout, stderr := flagledger(t, []string{"FLAGLEDGER_SERVER=" + p.url, "FLAGLEDGER_TOKEN=" + rootToken}, args...)
	if status != 0 {
		t.Fatalf("%v: status %d, %s%s", args, status, stdout, stderr)
	}
	return stdout
}

// A recordedLog is an export of a log of 12 commits, of which each has a checkpoint of its own, with what was kept on the way.
type recordedLog struct {
	export, export8    string // the whole, and as it was at position 8
	checkpoints, only8 string // all, and the one of position 8
	vkey               string
	rotated, shown     string      // an export after a new key was made, and both keys as the command shows them
	key                note.Signer // an operator has it
}

const tampered, commits = 5, 12

func recordLog(t *testing.T) recordedLog {
	t.Helper()
	dir := t.TempDir()
	p := ready(t, "--data-dir", dir)
	var l recordedLog
	kept := func() string { return must(t, p, "audit", "checkpoint") }
	p.openShop()
	for p.position() < commits {
		l.checkpoints += kept()
		if p.position() == 8 {
			l.only8, l.export8 = kept(), must(t, p, "audit", "export", "--format", "log")
		}
		p.do(request{path: shop + "/features", body: fmt.Sprintf(`{"key":"f%d"}`, p.position())}, nil)
	}
	l.checkpoints += kept()
	l.export = must(t, p, "audit", "export", "--format", "log")
	l.vkey = strings.TrimSpace(must(t, p, "key", "show", "--data-dir", dir))
	keys, err := checkpoints.ReadKeys(filepath.Join(dir, "signing.key"), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	l.key = keys[0]
	if partial := must(t, p, "audit", "export", "--format", "log", "--positions", "5-9"); strings.Count(partial, `"leaf":`) != 5 {
		t.Errorf("an export of positions 5 to 9: %s", partial)
	}
	must(t, p, "key", "rotate", "--data-dir", dir)
	l.rotated, l.shown = must(t, p, "audit", "export", "--format", "log"), must(t, p, "key", "show", "--data-dir", dir)
	if strings.Count(l.shown, "\n") != 2 {
		t.Errorf("two keys are shown as %s", l.shown)
	}
	return l
}

// lineOf is the number of the line of the commit at the position.
func lineOf(lines []string, position int) int {
	return slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, fmt.Sprintf(`{"position":%d,`, position)) })
}

// leaves are the commits of an export as they stand in it.
func leaves(t *testing.T, export string) (all []string) {
	t.Helper()
	for line := range strings.Lines(export) {
		var l struct{ Leaf string }
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatal(err)
		}
		if l.Leaf != "" {
			all = append(all, l.Leaf)
		}
	}
	return all
}

// commitOfExport is what docs/transparency.md says of a line with a commit.
type commitOfExport struct {
	Position int       `json:"position"`
	Hash     tlog.Hash `json:"leaf_hash"`
	Leaf     string    `json:"leaf"`
}

// lineOfExport writes a line as docs/transparency.md says.
func lineOfExport(t *testing.T, v any) string {
	t.Helper()
	var text strings.Builder
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		t.Fatal(err)
	}
	return text.String()
}

// rewritten is the export of a log that somebody with a key has made anew of other leaves: positions, hashes, roots and signatures are all right.
func rewritten(t *testing.T, key note.Signer, leaves []string) string {
	t.Helper()
	var tree transparency.Frontier
	var body strings.Builder
	line := func(v any) { body.WriteString(lineOfExport(t, v)) }
	var signed transparency.Signed
	for i, leaf := range leaves {
		leaf = regexp.MustCompile(`\nposition: \d+\n`).ReplaceAllString(leaf, fmt.Sprintf("\nposition: %d\n", i+1))
		hash := tlog.RecordHash([]byte(leaf))
		tree.Append(hash)
		line(commitOfExport{i + 1, hash, leaf})
		var err error
		if signed, err = (transparency.Checkpoint{Origin: key.Name(), Size: uint64(i + 1), Root: tree.Root()}).Sign(key); err != nil {
			t.Fatal(err)
		}
		line(map[string]any{"checkpoint": signed.Note})
	}
	line(map[string]any{"end": len(leaves)})
	rest := body.String()
	body.Reset()
	line(struct {
		Export      string   `json:"export"`
		From        int      `json:"from"`
		To          int      `json:"to"`
		Before      []string `json:"before"`
		Checkpoint  string   `json:"checkpoint"`
		Consistency []string `json:"consistency"`
	}{"flagledger.export.v1", 1, len(leaves), []string{}, signed.Note, []string{}})
	return body.String() + rest
}

// Whatever is done to an export, or to the log before it is exported, the command finds and names the position.
func TestTampering(t *testing.T) {
	l := recordLog(t)
	lines := slices.Collect(strings.Lines(l.export))
	at := func(position int) int { return lineOf(lines, position) }
	replaced := func(line int, old, with string) string {
		all := slices.Clone(lines)
		if all[line] = strings.Replace(all[line], old, with, 1); all[line] == lines[line] {
			t.Fatalf("there is no %s in %s", old, lines[line])
		}
		return strings.Join(all, "")
	}
	altered := func(old, with string) string { return replaced(at(tampered), old, with) }
	moved := func(order func([]string) []string) string { return strings.Join(order(slices.Clone(lines)), "") }
	original := leaves(t, l.export)
	changed := func(change func([]string) []string) string {
		return rewritten(t, l.key, change(slices.Clone(original)))
	}
	wrong := func(all []string) []string {
		all[tampered-1] = strings.Replace(all[tampered-1], `"f4"`, `"g4"`, 1)
		return all
	}
	private, strangerKey, err := note.GenerateKey(rand.Reader, l.key.Name())
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := note.NewSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	swap := func(all []string) []string {
		all[tampered-1], all[tampered] = all[tampered], all[tampered-1]
		return all
	}
	drop := func(all []string) []string { return slices.Delete(all, tampered-1, tampered) }
	insert := func(all []string) []string { return slices.Insert(all, tampered-1, all[8]) }
	both := func() string { // the leaf and its hash, by somebody without the key
		leaf := wrong(slices.Clone(original))[tampered-1]
		all := slices.Clone(lines)
		all[at(tampered)] = lineOfExport(t, commitOfExport{tampered, tlog.RecordHash([]byte(leaf)), leaf})
		return strings.Join(all, "")
	}()
	// What another reader of JSON would show, beside what is verified.
	evil, err := json.Marshal(wrong(slices.Clone(original))[tampered-1])
	if err != nil {
		t.Fatal(err)
	}
	evil64, err := json.Marshal([]byte(wrong(slices.Clone(original))[tampered-1]))
	if err != nil {
		t.Fatal(err)
	}
	withoutCheckpoints := func(export string) string {
		return regexp.MustCompile(`(?m)^{"checkpoint".*\n`).ReplaceAllString(export, "")
	}

	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	all, only8, older := file("all", l.checkpoints), file("only8", l.only8), file("older", l.export8)
	newest := file("newest", l.checkpoints[strings.LastIndex(l.checkpoints, l.key.Name()+"\n12\n"):])

	for _, test := range []struct {
		name, export, since string
		status              int
		want                string
	}{
		{"as it is", l.export, "", 0, "verified: commits 1 to 12"},
		{"as it is, since a checkpoint", l.export, only8, 0, "Commits 1 to 8 are those of the checkpoint that was kept"},
		{"as it is, since all checkpoints", l.export, all, 0, "Commits 1 to 12 are those"},
		{"as it is, since an older export", l.export, older, 0, "8 of them were compared one by one"},

		{"a byte of the payload", altered(`\"f4\"`, `\"g4\"`), "", 1, "position 5: altered"},
		{"a byte of a header", altered("application/json", "application/jsom"), "", 1, "position 5: altered"},
		{"a header more", altered(`\nce-id`, `\nce-a: b\nce-id`), "", 1, "position 5: altered"},
		{"the time of recording", altered(`\nrecorded: 20`, `\nrecorded: 19`), "", 1, "position 5: altered"},
		{"the subject", altered(`subject: flagledger.log.`, `subject: flagledger.log.x`), "", 1, "position 5: altered"},
		{"the position within", altered(`\nposition: 5`, `\nposition: 6`), "", 1, "position 5: altered, inserted or moved"},
		{"no leaf at all", altered(`"leaf":"flagledger.leaf.v1\n`, `"leaf":"`), "", 1, "position 5: altered: the leaf is none"},
		{"the hash of a commit", altered(`"leaf_hash":"`, `"leaf_hash":"A`), "", 1, "position 5: line"},
		{"a commit and its hash", both, "", 1, "position 5: altered, dropped, inserted or moved"},
		{"a commit and its hash, without the checkpoints between", withoutCheckpoints(both), "", 1, "positions 1 to 12: altered"},
		{"a commit and its hash, without the checkpoints between, since all", withoutCheckpoints(both), all, 1, "position 5: altered"},
		{"no JSON", altered(`{"position"`, `{"position`), "", 1, "position 5: line"},
		{"a field that there is not", altered(`"leaf_hash"`, `"comment":"","leaf_hash"`), "", 1, "position 5: line"},

		{"the leaf again, in capitals", altered(`"leaf":`, `"leaf":`+string(evil)+`,"LEAF":`), "", 1, "position 5: line"},
		{"the leaf again, in capitals and before", altered(`"leaf":`, `"LEAF":`+string(evil)+`,"leaf":`), "", 1, "position 5: line"},
		{"the leaf again", altered(`"leaf":`, `"leaf":`+string(evil)+`,"leaf":`), "", 1, "position 5: line"},
		{"the leaf again, in base64", altered("}\n", `,"leaf_b64":`+string(evil64)+"}\n"), "", 1, "position 5: line"},
		{"another leaf beside the one in base64", altered(`"leaf":`, `"leaf_b64":`+string(evil64)+`,"leaf":`), "", 1, "position 5: line"},
		{"the position again", altered(`{"position":5,`, `{"position":4,"POSITION":5,`), "", 1, "position 5: line"},
		{"another hash before", altered(`"leaf_hash":`, `"leaf_hash":"AAAA","Leaf_hash":`), "", 1, "position 5: line"},
		{"a member with an escape", altered(`"leaf":`, `"leaf":`+string(evil)+`,"\u006ceaf":`), "", 1, "position 5: line"},
		{"a leaf beside a checkpoint", replaced(at(5)+1, `{"checkpoint"`, `{"leaf":`+string(evil)+`,"checkpoint"`), "", 1, "position 6: line"},
		{"a leaf in the last line", replaced(len(lines)-1, `{"end"`, `{"leaf":`+string(evil)+`,"end"`), "", 1, "position 12: behind this commit: line"},
		{"two ends", replaced(len(lines)-1, `{"end":12`, `{"end":5,"END":12`), "", 1, "position 12: behind this commit: line"},
		{"two last positions in the header", replaced(0, `"to":12`, `"to":5,"TO":12`), "", 1, "position 1: line 1"},
		{"nothing where the header has a list", replaced(0, `"before":[]`, `"before":null`), "", 1, "position 1: line 1"},
		{"a proof in the header where there is nothing to prove", replaced(0, `"consistency":[]`, `"consistency":["`+tlog.Hash{}.String()+`"]`), "", 1, "positions 1 to 12: inserted: line 1, the header, has a proof"},
		{"two values in a line", altered("}\n", "} {}\n"), "", 1, "position 5: line"},
		{"a space", altered(`,"leaf"`, `, "leaf"`), "", 1, "position 5: line"},
		{"line ends of Windows", strings.ReplaceAll(l.export, "\n", "\r\n"), "", 1, `position 1: line 1`},
		{"an empty line at the end", l.export + "\n", "", 1, "is not a line of an export: it is empty"},
		{"empty lines", strings.ReplaceAll(l.export, "\n", "\n\n"), "", 1, "position 1: line 2 is not a line of an export: it is empty"},

		{"a commit dropped", moved(func(all []string) []string { return slices.Delete(all, at(5), at(5)+1) }), "", 1, "position 5: dropped or moved"},
		{"a commit dropped with its checkpoint", moved(func(all []string) []string { return slices.Delete(all, at(5), at(6)) }), "", 1, "position 5: dropped or moved"},
		{"the first commit dropped", moved(func(all []string) []string { return slices.Delete(all, at(1), at(1)+1) }), "", 1, "position 1: dropped or moved"},
		{"a commit inserted", moved(func(all []string) []string { return slices.Insert(all, at(5), all[at(3)]) }), "", 1, "position 5: inserted or moved"},
		{"a commit twice", moved(func(all []string) []string { return slices.Insert(all, at(5), all[at(5)]) }), "", 1, "position 6: inserted or moved"},
		{"a commit after the last", moved(func(all []string) []string { return slices.Insert(all, len(all)-1, all[at(3)]) }), "", 1, "position 13: inserted"},
		{"two commits swapped", moved(func(all []string) []string { all[at(5)], all[at(6)] = all[at(6)], all[at(5)]; return all }), "", 1, "position 5: dropped or moved"},
		{"the end cut off", moved(func(all []string) []string { return all[:at(10)] }), "", 1, "positions 10 to 12: dropped"},
		{"the end cut off in a line", l.export[:len(strings.Join(lines[:at(10)], ""))+100], "", 1, "position 10: line"},
		{"the end cut off before an end", moved(func(all []string) []string { return slices.Delete(all, at(10), len(all)-1) }), "", 1, "positions 10 to 12: dropped"},
		{"the last line cut off", moved(func(all []string) []string { return all[:len(all)-1] }), "", 1, "position 12: the export was cut"},
		{"an old tail again", moved(func(all []string) []string { return slices.Concat(all[:at(9)], all[at(5):at(9)], all[len(all)-1:]) }), "", 1, "position 9: inserted or moved"},
		{"something behind the end", l.export + `{"end":13}` + "\n", "", 1, "position 13: inserted"},
		{"nothing", "", "", 2, "the export is empty"},
		{"something else", "PK\x03\x04", "", 1, "position 1: line 1"},

		{"a checkpoint between cut", replaced(at(5)+1, `=\n"`, `\n"`), "", 1, "position 5: behind this commit stands a checkpoint that was altered"},
		{"a checkpoint between of another size", replaced(at(5)+1, `\n5\n`, `\n6\n`), "", 1, "position 5: behind this commit stands a checkpoint that was altered"},
		{"a checkpoint between moved", moved(func(all []string) []string { all[at(5)+1], all[at(6)+1] = all[at(6)+1], all[at(5)+1]; return all }), "", 1, "position 6: dropped or moved: behind position 5 stands the checkpoint of 6"},
		{"the last checkpoint cut", replaced(0, `\n12\n`, `\n`), "", 1, "position 12: nothing that is known here vouches"},
		{"no checkpoint at all", withoutCheckpoints(replaced(0, `"checkpoint":"`, `"checkpoint":"","export":"flagledger.export.v1","x":"`)), "", 1, "position 1: line 1"},
		{"signed with another key", rewritten(t, stranger, original), "", 1, "positions 1 to 12: nothing that is known here vouches for them: the checkpoint is not signed by a key that is known"},
		{"rewritten and signed with another key", rewritten(t, stranger, wrong(slices.Clone(original))), all, 1, "position 5: altered"},

		// The operator has the key, and signs the whole log anew.
		{"signed anew, nothing kept", changed(wrong), "", 0, "Nor that the holder of the key has never signed something else"},
		{"signed anew, one checkpoint kept", changed(wrong), only8, 1, "positions 1 to 8: altered"},
		{"signed anew, all checkpoints kept", changed(wrong), all, 1, "position 5: altered"},
		{"signed anew, an older export kept", changed(wrong), older, 1, "position 5: altered"},
		{"dropped and signed anew, all checkpoints kept", changed(drop), all, 1, "position 5: altered, dropped"},
		{"dropped and signed anew, an older export kept", changed(drop), older, 1, "position 5: altered, dropped"},
		{"inserted and signed anew, all checkpoints kept", changed(insert), all, 1, "position 5: altered, dropped, inserted"},
		{"inserted and signed anew, an older export kept", changed(insert), older, 1, "position 5: altered, dropped, inserted"},
		{"swapped and signed anew, all checkpoints kept", changed(swap), all, 1, "position 5: altered"},
		{"swapped and signed anew, an older export kept", changed(swap), older, 1, "position 5: altered"},
		{"the end cut off and signed anew", changed(func(all []string) []string { return all[:9] }), newest, 1, "positions 10 to 12: dropped"},
		{"as it was once", l.export8, newest, 1, "positions 9 to 12: dropped"},
		{"another end, and signed anew", changed(func(all []string) []string { return append(all[:8], all[4:8]...) }), all, 1, "position 9: altered"},
	} {
		t.Run(test.name, func(t *testing.T) {
			args := []string{"audit", "verify", "--log", file("export", test.export), "--key", l.vkey}
			if test.since != "" {
				args = append(args, "--since", test.since)
			}
			status, stdout, stderr := flagledger(t, nil, args...)
			if status != test.status || !strings.Contains(stdout+stderr, test.want) {
				t.Errorf("status %d, %s%s; want status %d and %s", status, stdout, stderr, test.status, test.want)
			}
		})
	}

	// Rewritten and signed anew by who has the key of one replica; the checkpoints of the other stand between the commits, where they were.
	var replicas []string
	i := 0
	for line := range strings.Lines(rewritten(t, stranger, wrong(slices.Clone(original)))) {
		if replicas = append(replicas, line); i > 0 && i%2 == 0 && i/2 <= len(original) { // behind each commit and its checkpoint
			if kept := lines[at(i/2)+1]; strings.HasPrefix(kept, `{"checkpoint"`) {
				replicas = append(replicas, kept)
			}
		}
		i++
	}
	for _, test := range []struct {
		keys   []string
		status int
		want   string
	}{
		{[]string{strangerKey}, 0, "verified: commits 1 to 12"},
		{[]string{strangerKey, l.vkey}, 1, "position 5: altered"},
	} {
		args := []string{"audit", "verify", "--log", file("replicas", strings.Join(replicas, ""))}
		for _, key := range test.keys {
			args = append(args, "--key", key)
		}
		status, stdout, stderr := flagledger(t, nil, args...)
		if status != test.status || !strings.Contains(stdout+stderr, test.want) {
			t.Errorf("two replicas, with %d keys: status %d, %s%s; want status %d and %s", len(test.keys), status, stdout, stderr, test.status, test.want)
		}
	}

	for name, keys := range map[string]string{"both keys as they are shown": l.shown, "the old key": l.vkey, "both, and an empty line": "\n" + l.shown + "\n"} {
		if status, stdout, stderr := flagledger(t, nil, "audit", "verify", "--log", file("rotated", l.rotated), "--key", keys); status != 0 {
			t.Errorf("%s: status %d, %s%s", name, status, stdout, stderr)
		}
	}

	export := file("export", l.export)
	for _, test := range []struct {
		name, want string
		args       []string
	}{
		{"no export", "give the export with --log", []string{"--key", l.vkey}},
		{"no key", "give the export with --log, and the public key", []string{"--log", export}},
		{"an empty key", "there is no key to verify with", []string{"--log", export, "--key", ""}},
		{"an export that is not there", "open the export", []string{"--key", l.vkey, "--log", filepath.Join(dir, "none")}},
		{"a key that is none", "is not a key to verify with", []string{"--key", "secret", "--log", export}},
		{"nothing in what was kept", "there is nothing in it", []string{"--key", l.vkey, "--log", export, "--since", file("empty", "")}},
		{"something else was kept", "not a note with a signature", []string{"--key", l.vkey, "--log", export, "--since", file("other", "hello\n")}},
		{"what was kept is altered", "not a note with a signature that holds", []string{"--key", l.vkey, "--log", export, "--since", file("forged", strings.Replace(l.only8, "\n8\n", "\n9\n", 1))}},
		{"what was kept is signed by a stranger", "not signed by a key that is known", []string{"--key", strangerKey, "--log", export, "--since", only8}},
		{"an older export that does not hold itself", "does not hold itself: position 5: altered", []string{"--key", l.vkey, "--log", export, "--since", file("bad", strings.Replace(l.export8, `\"f4\"`, `\"g4\"`, 1))}},
	} {
		t.Run(test.name, func(t *testing.T) {
			status, stdout, stderr := flagledger(t, nil, append([]string{"audit", "verify"}, test.args...)...)
			if status != 2 || !strings.Contains(stderr, test.want) {
				t.Errorf("status %d, %s%s; want status 2 and %s", status, stdout, stderr, test.want)
			}
		})
	}
}
