package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/belltower/belltower/channels/email"
	"github.com/belltower/belltower/internal/durable"
)

// checkDKIM reads the keys that sign mail from a domain; nil: none are set.
func (s *settings) checkDKIM(from string) (*email.DKIM, error) {
	m := &s.providers.smtp
	if m.dkim == "" {
		return nil, s.needs("--smtp-dkim", map[string]string{"smtp-dkim-domain": m.dkimDomain})
	}
	var keys []email.DKIMKey
	for one := range strings.SplitSeq(m.dkim, ",") {
		selector, path, ok := strings.Cut(strings.TrimSpace(one), "=")
		if !ok || selector == "" || path == "" {
			return nil, s.refuse("smtp-dkim", "%q is not SELECTOR=FILE", one)
		}
		text, err := s.readFile("smtp-dkim", path)
		if err != nil {
			return nil, err
		}
		key, err := email.ReadDKIMKey(text)
		if err != nil {
			return nil, s.refuse("smtp-dkim", "%s: %w", path, err)
		}
		keys = append(keys, email.DKIMKey{Selector: selector, Signer: key})
	}
	domain, flag := m.dkimDomain, "smtp-dkim-domain"
	if domain == "" {
		domain, flag = from[strings.LastIndexByte(from, '@')+1:], "smtp-dkim"
	}
	d, err := email.NewDKIM(domain, keys...)
	if err == nil {
		_, err = d.Records()
	}
	if err != nil {
		return nil, s.refuse(flag, "%w", err)
	}
	return d, nil
}

func dkimCommand(env []string, o output) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dkim",
		Short: "Make keys that sign mail (DKIM), and show what to publish of them",
		Args:  noArguments("dkim"),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(dkimMakeCommand(o), dkimRecordsCommand(env, o))
	return cmd
}

func dkimMakeCommand(o output) *cobra.Command {
	var selector, domain, algorithm string
	cmd := &cobra.Command{
		Use:   "make FILE",
		Short: "Make a key, and print the record to publish in DNS",
		Long: "Makes a key in a new file, readable by its owner only, and prints the TXT record by\n" +
			"which receivers find its public half. Publish that first, then set --smtp-dkim; 'belltower\n" +
			"doctor' tells whether the two match. Sign with an RSA key and, for receivers that know\n" +
			"it, an Ed25519 key beside it.\n\n" +
			"  belltower dkim make dkim-rsa.pem --selector rsa2031 --domain example.org",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage(errors.New("dkim make takes the file for the key"))
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			return makeDKIMKey(args[0], selector, domain, algorithm, o)
		},
	}
	cmd.Flags().StringVar(&selector, "selector", "", "name of the key, such as rsa2031: another for each key that the domain ever has")
	cmd.Flags().StringVar(&domain, "domain", "", "domain that is signed for, the one of --smtp-from")
	cmd.Flags().StringVar(&algorithm, "type", "rsa", "rsa (of 2048 bits, which every receiver knows) or ed25519")
	return cmd
}

func makeDKIMKey(path, selector, domain, algorithm string, o output) (err error) {
	key, text, err := email.MakeDKIMKey(algorithm)
	if err != nil {
		return usage(fmt.Errorf("--type: %w", err))
	}
	d, err := email.NewDKIM(domain, email.DKIMKey{Selector: selector, Signer: key})
	if err != nil {
		return usage(fmt.Errorf("--selector and --domain: %w", err))
	}
	records, err := d.Records()
	if err != nil {
		return usage(fmt.Errorf("--selector and --domain: %w", err))
	}
	// What signs mail already is never written over.
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return usage(fmt.Errorf("%s is there already, and may be a key in use: name a new file", path))
	}
	if err != nil {
		return fmt.Errorf("keep the key: %w", err)
	}
	_, err = file.Write(text)
	if err = errors.Join(err, file.Sync(), file.Close()); err == nil {
		err = durable.SyncDir(filepath.Dir(path))
	}
	if err != nil {
		return fmt.Errorf("keep the key: %w", err)
	}
	printRecords(records, o)
	fmt.Fprintf(o.err, "Once that is published, sign with --smtp-dkim %s=%s\n", selector, path) //nolint:errcheck // it goes to people
	return nil
}

// printRecords prints records as a zone file has them.
func printRecords(records []email.DKIMRecord, o output) {
	for _, r := range records {
		fmt.Fprintln(o.out, r.Zone())
	}
}

func dkimRecordsCommand(env []string, o output) *cobra.Command {
	values := environment(env)
	var s settings
	cmd := &cobra.Command{
		Use:   "records",
		Short: "Print the records to publish of the keys in force",
		Args:  noArguments("dkim records"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := s.resolve(cmd.Flags(), values); err != nil {
				return err
			}
			d := s.providers.smtp.options.DKIM
			if d == nil {
				return errors.New("no mail is signed here: set --smtp and --smtp-dkim")
			}
			records, err := d.Records()
			if err != nil {
				return err
			}
			printRecords(records, o)
			return nil
		},
	}
	s.register(cmd.Flags())
	return cmd
}
