package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// adminTokenFile keeps, in the data folder, the token that was made there.
const adminTokenFile = "admin-token"

// keptAdminToken gives the admin token of a data folder; made says that there
// was none, so that it is new.
func keptAdminToken(data string) (token string, made bool, err error) {
	path := filepath.Join(data, adminTokenFile)
	kept, err := os.ReadFile(path)
	switch {
	case err == nil:
		token = strings.TrimSpace(string(kept))
		if why := wrongToken(token); why != "" {
			return "", false, fmt.Errorf("%s: the token %s; delete the file to have a new one made", path, why)
		}
		return token, false, nil
	case !errors.Is(err, fs.ErrNotExist):
		return "", false, fmt.Errorf("read the admin token: %w", err)
	}
	token = rand.Text()
	draft := path + ".new"
	if err := writeSynced(draft, token+"\n"); err != nil {
		return "", false, fmt.Errorf("keep the admin token: %w", err)
	}
	if err := os.Rename(draft, path); err != nil {
		return "", false, fmt.Errorf("keep the admin token: %w", err)
	}
	return token, true, nil
}

func writeSynced(path, text string) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := f.WriteString(text); err != nil {
		return err
	}
	return f.Sync()
}
