package image

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
)

// File is one entry of a layer. Exactly one of Source, Data, Link and Dir says
// what it is; an empty Data with none of the others is an empty file.
type File struct {
	// Path inside the image; a leading slash is optional. Parent folders are
	// made (root, 0755) unless listed before.
	Path string
	// Mode are the permission bits, with fs.ModeSetuid and fs.ModeSticky as
	// needed. 0 means 0644, for folders 0755, and for a Source its own bits.
	Mode fs.FileMode
	UID  int
	GID  int
	// Source is a file of this machine.
	Source string
	Data   []byte
	// Link is the target of a symbolic link.
	Link string
	Dir  bool
	// Xattrs are extended attributes, such as "security.capability", raw.
	Xattrs map[string]string
}

// WriteLayer makes the tar file of a layer, for one that several images share.
func WriteLayer(path string, files []File) error { return writeLayer(path, files) }

func writeLayer(target string, files []File) error {
	out, err := os.Create(target)
	if err != nil {
		return err
	}
	defer out.Close()
	writer := tar.NewWriter(out)
	made := map[string]bool{".": true}
	for _, file := range files {
		name := strings.TrimPrefix(path.Clean("/"+file.Path), "/")
		if err := writeParents(writer, path.Dir(name), made); err != nil {
			return err
		}
		if err := writeFile(writer, name, file); err != nil {
			return fmt.Errorf("layer entry %s: %w", name, err)
		}
		made[name] = made[name] || file.Dir
	}
	if err := writer.Close(); err != nil {
		return err
	}
	return out.Close()
}

func writeParents(writer *tar.Writer, dir string, made map[string]bool) error {
	if made[dir] {
		return nil
	}
	if err := writeParents(writer, path.Dir(dir), made); err != nil {
		return err
	}
	made[dir] = true
	return writer.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755, Format: tar.FormatPAX})
}

func writeFile(writer *tar.Writer, name string, file File) error {
	header := &tar.Header{Typeflag: tar.TypeReg, Name: name, Uid: file.UID, Gid: file.GID, Format: tar.FormatPAX}
	for key, value := range file.Xattrs {
		if header.PAXRecords == nil {
			header.PAXRecords = map[string]string{}
		}
		header.PAXRecords["SCHILY.xattr."+key] = value
	}
	mode := file.Mode
	var content io.Reader
	switch {
	case file.Dir:
		header.Typeflag, header.Name = tar.TypeDir, name+"/"
		mode = orDefault(mode, 0o755)
	case file.Link != "":
		header.Typeflag, header.Linkname = tar.TypeSymlink, file.Link
		mode = 0o777
	case file.Source != "":
		source, err := os.Open(file.Source)
		if err != nil {
			return err
		}
		defer source.Close()
		info, err := source.Stat()
		if err != nil {
			return err
		}
		header.Size, content = info.Size(), source
		mode = orDefault(mode, info.Mode().Perm())
	default:
		header.Size, content = int64(len(file.Data)), newReader(file.Data)
		mode = orDefault(mode, 0o644)
	}
	header.Mode = tarMode(mode)
	if err := writer.WriteHeader(header); err != nil {
		return err
	}
	if content == nil {
		return nil
	}
	_, err := io.Copy(writer, content)
	return err
}

func orDefault(mode, fallback fs.FileMode) fs.FileMode {
	if mode == 0 {
		return fallback
	}
	return mode
}

// tarMode maps Go's flags to the bits of a tar header.
func tarMode(mode fs.FileMode) int64 {
	bits := int64(mode.Perm())
	if mode&fs.ModeSetuid != 0 {
		bits |= 0o4000
	}
	if mode&fs.ModeSetgid != 0 {
		bits |= 0o2000
	}
	if mode&fs.ModeSticky != 0 {
		bits |= 0o1000
	}
	return bits
}

func newReader(data []byte) io.Reader { return bytes.NewReader(data) }
