//go:build e2e

package main_test

import (
	"cmp"
	"os"
	"os/exec"
	"testing"

	"flagledger/eventstore/storetest"
)

// In random environments (see e2e/worlds.mjs) an SDK in local evaluation and the server say the same of everybody. `make agreement` sets
// how many identities are asked, and from which seed everything is drawn.
func TestE2EAgreement(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		t.Fatalf("the SDK tests need node: %v", err)
	}
	url := "http://" + storetest.FreeAddress(t)
	serve(t, build(t), url, "--data-dir", t.TempDir())
	identities, seed := cmp.Or(os.Getenv("AGREEMENT_IDENTITIES"), "2000"), cmp.Or(os.Getenv("AGREEMENT_SEED"), "1")
	cmd := exec.CommandContext(t.Context(), node, "agreement.mjs", identities, seed)
	cmd.Dir = "e2e"
	cmd.Env = append(os.Environ(), "FLAGLEDGER_URL="+url, "FLAGLEDGER_ADMIN_TOKEN="+adminToken)
	cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
	if err := cmd.Run(); err != nil {
		t.Errorf("node agreement.mjs %s %s: %v", identities, seed, err)
	}
}
