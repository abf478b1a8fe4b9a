package image

import (
	"archive/tar"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
)

// whiteout is the prefix of an entry that removes a file of a lower layer (OCI
// image specification, "Whiteouts").
const whiteout = ".wh."

// WriteDifference makes a layer that turns the root file system in the tar file
// lower into the one in upper: what is new or different, and what is gone.
func WriteDifference(target, lower, upper string) error {
	below := map[string]string{}
	err := eachEntry(lower, func(header *tar.Header, content io.Reader) error {
		print, err := fingerprint(header, content)
		below[path.Clean(header.Name)] = print
		return err
	})
	if err != nil {
		return err
	}
	changed, err := compare(upper, below)
	if err != nil {
		return err
	}
	out, err := os.Create(target)
	if err != nil {
		return err
	}
	defer out.Close()
	writer := tar.NewWriter(out)
	err = errors.Join(writeWhiteouts(writer, below), writeChanged(writer, upper, changed), writer.Close())
	return errors.Join(err, out.Close())
}

// compare returns the names in upper that below does not have or has otherwise,
// and leaves in below what upper does not have.
func compare(upper string, below map[string]string) (map[string]bool, error) {
	changed := map[string]bool{}
	err := eachEntry(upper, func(header *tar.Header, content io.Reader) error {
		name := path.Clean(header.Name)
		print, err := fingerprint(header, content)
		if below[name] != print {
			changed[name] = true
		}
		delete(below, name)
		return err
	})
	return changed, err
}

func writeWhiteouts(writer *tar.Writer, gone map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(gone)) {
		// That of its folder is enough.
		if _, parent := gone[path.Dir(name)]; parent {
			continue
		}
		mark := path.Join(path.Dir(name), whiteout+path.Base(name))
		if err := writer.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: mark, Mode: 0o644, Format: tar.FormatPAX}); err != nil {
			return err
		}
	}
	return nil
}

func writeChanged(writer *tar.Writer, upper string, changed map[string]bool) error {
	return eachEntry(upper, func(header *tar.Header, content io.Reader) error {
		if !changed[path.Clean(header.Name)] {
			return nil
		}
		if err := writer.WriteHeader(header); err != nil {
			return err
		}
		_, err := io.Copy(writer, content)
		return err
	})
}

func eachEntry(file string, use func(*tar.Header, io.Reader) error) error {
	in, err := os.Open(file)
	if err != nil {
		return err
	}
	defer in.Close()
	reader := tar.NewReader(in)
	for {
		header, err := reader.Next()
		if err == io.EOF {
			return nil
		}
		if err == nil {
			err = use(header, reader)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
}

// fingerprint is equal for entries that are. The time of a file does not count:
// its content does. That of a folder does, because caches compare it.
func fingerprint(header *tar.Header, content io.Reader) (string, error) {
	sum := sha256.New()
	if _, err := io.Copy(sum, content); err != nil {
		return "", err
	}
	var time int64
	if header.Typeflag == tar.TypeDir {
		time = header.ModTime.Unix()
	}
	link := strings.TrimPrefix(path.Clean("/"+header.Linkname), "/")
	if header.Typeflag != tar.TypeLink {
		link = header.Linkname
	}
	return fmt.Sprintf("%c %o %d:%d %d %q %x", header.Typeflag, header.Mode, header.Uid, header.Gid, time, link, sum.Sum(nil)), nil
}
