package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// record is what a store records of a volume or a snapshot.
type record struct {
	// Name is what the caller of the create request chose.
	Name string
	// Capacity is in bytes. It is not enforced.
	Capacity int64
	// Source is what the data were copied from: "volume ID" or "snapshot ID" for
	// a volume, the ID of the volume for a snapshot, or empty.
	Source  string
	Created time.Time
	// Delay is how long after Created a snapshot is not ready to use.
	Delay time.Duration
}

func (r record) ready() bool { return !time.Now().Before(r.Created.Add(r.Delay)) }

// store keeps folders with data: DIR/ID/data beside DIR/ID/record.json. A
// folder with the name of an ID is whole.
type store struct{ dir string }

// Entries that are being made or removed have these endings; no ID has a dot.
const (
	partial = ".partial"
	removed = ".removed"
)

// openStore removes what a killed driver was making or removing.
func openStore(dir string) (store, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return store{}, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return store{}, err
	}
	for _, entry := range entries {
		if strings.HasSuffix(entry.Name(), partial) || strings.HasSuffix(entry.Name(), removed) {
			if err := os.RemoveAll(filepath.Join(dir, entry.Name())); err != nil {
				return store{}, err
			}
		}
	}
	return store{dir}, nil
}

var fileName = regexp.MustCompile(`^[A-Za-z0-9][-A-Za-z0-9]{0,63}$`)

// idOf gives the same ID for the same name, so that a repeated request finds
// what the first one made.
func idOf(name string) string {
	if fileName.MatchString(name) {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	return hex.EncodeToString(sum[:])
}

func (s store) data(id string) string { return filepath.Join(s.dir, id, "data") }

// find returns a record, and whether there is one. Any string may be asked for.
func (s store) find(id string) (record, bool, error) {
	var found record
	if !fileName.MatchString(id) {
		return found, false, nil
	}
	content, err := os.ReadFile(filepath.Join(s.dir, id, "record.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return found, false, nil
	}
	if err != nil {
		return found, false, err
	}
	return found, true, json.Unmarshal(content, &found)
}

// list names all entries in the order of their IDs.
func (s store) list() ([]string, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, entry := range entries {
		if fileName.MatchString(entry.Name()) {
			ids = append(ids, entry.Name())
		}
	}
	slices.Sort(ids)
	return ids, nil
}

// add makes an entry, with a copy of the folder from unless that is empty.
func (s store) add(ctx context.Context, id string, entry record, from string) error {
	dir := filepath.Join(s.dir, id+partial)
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	err := errors.Join(fill(ctx, filepath.Join(dir, "data"), from), write(dir, entry))
	if err == nil {
		err = os.Rename(dir, filepath.Join(s.dir, id))
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(dir))
	}
	return nil
}

func (s store) update(id string, entry record) error { return write(filepath.Join(s.dir, id), entry) }

func write(dir string, entry record) error {
	content, err := json.Marshal(entry)
	if err != nil {
		return err
	}
	path := filepath.Join(dir, "record.json")
	if err := os.WriteFile(path+partial, content, 0o644); err != nil {
		return err
	}
	return os.Rename(path+partial, path)
}

func (s store) remove(id string) error {
	aside := filepath.Join(s.dir, id+removed)
	if err := os.RemoveAll(aside); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(s.dir, id), aside); err != nil {
		return err
	}
	return os.RemoveAll(aside)
}

// fill makes the folder dir, as a copy of from or empty and writable for all:
// a Pod without fsGroup must be able to write.
func fill(ctx context.Context, dir, from string) error {
	if from == "" {
		// The umask takes bits away from Mkdir's mode.
		return errors.Join(os.Mkdir(dir, 0o777), os.Chmod(dir, 0o777))
	}
	// A file that a running Pod removes meanwhile makes cp fail.
	const attempts = 3
	for attempt := 1; ; attempt++ {
		if err := os.Mkdir(dir, 0o777); err != nil {
			return err
		}
		out, err := exec.CommandContext(ctx, "cp", "--archive", "--reflink=auto", "--", from+"/.", dir).CombinedOutput()
		if err == nil {
			return nil
		}
		if attempt == attempts || ctx.Err() != nil {
			return fmt.Errorf("copy %s: %w: %s", from, err, strings.TrimSpace(string(out)))
		}
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
}
