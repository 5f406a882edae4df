package main

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"flagledger/domain/transparency"
	"flagledger/eventstore/checkpoints"
)

// positionsQuery reads "17", "17-" or "17-42" as parameters of the export.
func positionsQuery(text string) (url.Values, error) {
	query := url.Values{}
	if text == "" {
		return query, nil
	}
	from, to, ranged := strings.Cut(text, "-")
	if !ranged {
		to = from
	}
	for name, value := range map[string]string{"from": from, "to": to} {
		if value == "" && name == "to" {
			continue // to the newest
		}
		if n, err := strconv.ParseUint(value, 10, 63); err != nil || n == 0 {
			return nil, usageError{fmt.Errorf("positions %q: want such as 17, 17-42 or 17-", text)}
		}
		query.Set(name, value)
	}
	return query, nil
}

func (c *client) auditCheckpointCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "checkpoint",
		Short: "The signed root of the log as it is now: keep it where the log's operator cannot change it",
		Args:  arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			body, err := c.send(cmd.Context(), call{path: "/admin/v1/log/checkpoint"})
			if err != nil {
				return err
			}
			defer func() { _ = body.Close() }()
			if _, err := io.Copy(cmd.OutOrStdout(), body); err != nil {
				return fmt.Errorf("read the checkpoint: %w", err)
			}
			return nil
		},
	}
}

// auditVerifyCommand needs no server, and so none of a client's settings.
func auditVerifyCommand() *cobra.Command {
	var log, since string
	var vkeys []string
	cmd := &cobra.Command{
		Use:   "verify --log EXPORT --key VKEY [--since FILE]",
		Short: "Verify an export of the log, without a server",
		Long: `Verify an export of the log ("flagledger audit export --format log"), without a server.

--key is the public key of the log, as "flagledger key show" prints it, one or more lines: --key "$(cat vkey)". Give it
again for each further key that counts.
--since is what was kept from earlier: one or more checkpoints in a file, or an older export. Only with it is it told
whether the log was changed by those who have the key. One old checkpoint tells that it was; several, or an older
export, tell more exactly where.

The exit status is 0 when everything holds, 1 when something was altered, dropped, inserted or moved, and 2 when that
could not be found out.`,
		Args:              arguments(cobra.NoArgs),
		PersistentPreRunE: func(*cobra.Command, []string) error { return nil },
		RunE: func(cmd *cobra.Command, _ []string) error {
			if log == "" || len(vkeys) == 0 {
				return usageError{errors.New("give the export with --log, and the public key of the log with --key")}
			}
			return verifyExport(cmd.OutOrStdout(), log, since, vkeys)
		},
	}
	cmd.Flags().StringVar(&log, "log", "", "export to verify, - for the standard input")
	cmd.Flags().StringVar(&since, "since", "", "checkpoints or export that was kept from earlier")
	cmd.Flags().StringArrayVar(&vkeys, "key", nil, "public key to verify with; may be given several times")
	return cmd
}

func verifyExport(out io.Writer, log, since string, vkeys []string) error {
	keys, err := transparency.Verifiers(vkeys...)
	if err != nil {
		return usageError{err}
	}
	export := io.Reader(os.Stdin)
	if log != "-" {
		file, err := os.Open(log)
		if err != nil {
			return usageError{fmt.Errorf("open the export: %w", err)}
		}
		defer func() { _ = file.Close() }()
		export = file
	}
	var kept transparency.Since
	if since != "" {
		file, err := os.Open(since)
		if err != nil {
			return usageError{fmt.Errorf("open what was kept: %w", err)}
		}
		defer func() { _ = file.Close() }()
		if kept, err = transparency.ReadSince(file, keys); err != nil {
			return verdict(fmt.Errorf("%s: %w", since, err))
		}
	}
	report, err := transparency.Verify(export, keys, kept)
	if err != nil {
		return verdict(fmt.Errorf("%s: %w", log, err))
	}
	return printReport(out, report)
}

// verdict keeps apart that something was found and that nothing could be: the
// exit status is 1 for the one and 2 for the other.
func verdict(err error) error {
	if _, found := errors.AsType[*transparency.Finding](err); found && !errors.Is(err, transparency.ErrSince) {
		return fmt.Errorf("NOT VERIFIED: %w", err)
	}
	return usageError{fmt.Errorf("cannot verify: %w", err)}
}

// printReport says what was verified, and what that means.
func printReport(out io.Writer, r transparency.Report) error {
	var b strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	say("verified: commits %d to %d of log %s", r.From, r.To, r.Origin)
	say("recorded: %s to %s", r.First.Format(time.RFC3339Nano), r.Last.Format(time.RFC3339Nano))
	say("root:     %s at position %d", r.Root, r.To)
	say("")
	say("This proves: the holder of the key has signed exactly these commits in this order, with their times, headers and")
	say("contents (%d checkpoints hold).", r.Checkpoints)
	if r.SinceCommits > 0 {
		say("Commits 1 to %d are those of the checkpoint that was kept from earlier; %d of them were compared one by one with the older export.", r.SinceSize, r.SinceCommits)
	} else if r.Since > 0 {
		say("Commits 1 to %d are those of the checkpoint that was kept from earlier: since then nothing was altered, dropped, inserted or moved.", r.SinceSize)
	}
	say("")
	say("It does not prove: that what was recorded was right, or that all that happened was recorded.")
	if r.Since == 0 {
		say("Nor that the holder of the key has never signed something else: compare with a checkpoint that was kept from earlier (--since).")
	} else if r.SinceSize < r.To {
		say("For commits %d to %d it rests on the key alone, until a checkpoint of now is compared later.", r.SinceSize+1, r.To)
	}
	if r.To < r.Size {
		say("The checkpoint covers commits up to %d; those from %d on are not in this export.", r.Size, r.To+1)
	}
	if r.From > 1 {
		say("Commits 1 to %d are not in this export.", r.From-1)
	}
	if r.Unknown > 0 {
		say("%d checkpoints in the export were signed with other keys and were not looked at (--key).", r.Unknown)
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// keyCommand manages the keys that sign checkpoints, in their file.
func keyCommand() *cobra.Command {
	var dataDir, file string
	var overlap time.Duration
	cmd := &cobra.Command{Use: "key", Short: "The keys that sign checkpoints of the log"}
	f := cmd.PersistentFlags()
	f.StringVar(&dataDir, "data-dir", "data", "data directory of the server")
	f.StringVar(&file, "signing-key", "", "file of the key (default signing.key in the data directory)")
	cmd.PersistentPreRunE = fromEnvironment(f)
	show := &cobra.Command{
		Use:   "show",
		Short: "Print the public keys to verify checkpoints with, the newest first",
		Args:  arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			keys, err := checkpoints.ReadKeys(keyFile(file, dataDir), time.Now())
			if err != nil {
				return err
			}
			return printKeys(cmd.OutOrStdout(), keys)
		},
	}
	rotate := &cobra.Command{
		Use:   "rotate",
		Short: "Make a new key, which a running server uses from its next checkpoint on",
		Long: "Make a new key, which a running server uses from its next checkpoint on. The old one signs beside it for the\n" +
			"overlap, so that auditors can get the new one in the meantime, and trust it since both sign the same.",
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if overlap < 0 || overlap > 10*365*day {
				return usageError{fmt.Errorf("overlap %v: want 0 to ten years", overlap)}
			}
			keys, err := checkpoints.RotateKey(keyFile(file, dataDir), overlap, time.Now())
			if err != nil {
				return err
			}
			return printKeys(cmd.OutOrStdout(), keys)
		},
	}
	rotate.Flags().DurationVar(&overlap, "overlap", 30*day, "for how long the old key signs beside the new one; 0 where it may have been stolen")
	cmd.AddCommand(show, rotate)
	return cmd
}

func printKeys(out io.Writer, keys []checkpoints.Key) error {
	for _, k := range keys {
		until := ""
		if !k.Until.IsZero() {
			until = " until " + k.Until.Format(time.RFC3339)
		}
		if _, err := fmt.Fprintf(out, "%s%s\n", k.Vkey, until); err != nil {
			return err
		}
	}
	return nil
}
