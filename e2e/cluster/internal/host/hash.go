package host

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Hash collects the inputs of a cached thing. The first error is kept and
// returned by Sum.
type Hash struct {
	sum hash.Hash
	err error
}

// NewHash starts an empty one.
func NewHash() *Hash { return &Hash{sum: sha256.New()} }

// Text adds a string.
func (h *Hash) Text(text string) *Hash {
	fmt.Fprintf(h.sum, "%d:%s\n", len(text), text)
	return h
}

// Tree adds a file, or a folder with all that it holds: relative paths, modes
// and content. Owners and times do not count.
func (h *Hash) Tree(root string) *Hash {
	if h.err != nil {
		return h
	}
	h.err = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if entry.IsDir() {
			return nil
		}
		h.Text(relative).Text(info.Mode().String())
		if info.Mode()&fs.ModeSymlink != 0 {
			target, err := os.Readlink(path)
			h.Text(target)
			return err
		}
		return h.file(path, info.Size())
	})
	return h
}

func (h *Hash) file(path string, size int64) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	fmt.Fprintf(h.sum, "%d:", size)
	_, err = io.Copy(h.sum, file)
	return err
}

// Sum is the key: 16 hexadecimal digits.
func (h *Hash) Sum() (string, error) {
	if h.err != nil {
		return "", h.err
	}
	return hex.EncodeToString(h.sum.Sum(nil))[:16], nil
}
