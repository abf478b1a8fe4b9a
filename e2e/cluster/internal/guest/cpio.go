package guest

import (
	"fmt"
	"io"
)

// Types of cpio entries: the file type bits of st_mode.
const (
	typeFile    = 0o100000
	typeDir     = 0o040000
	typeLink    = 0o120000
	typeCharDev = 0o020000
)

// cpio writes the "newc" format, which is what the kernel unpacks (see the
// kernel's Documentation/driver-api/early-userspace/buffer-format.rst). Writing
// it here makes device nodes possible without root.
type cpio struct {
	out   io.Writer
	inode int
	err   error
}

type cpioEntry struct {
	name         string
	mode         int
	major, minor int
	data         []byte
}

func (c *cpio) add(entry cpioEntry) {
	if c.err != nil {
		return
	}
	c.inode++
	header := fmt.Sprintf("070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X",
		c.inode, entry.mode, 0, 0, 1, 0, len(entry.data), 0, 0, entry.major, entry.minor, len(entry.name)+1, 0)
	c.write([]byte(header + entry.name + "\x00"))
	c.pad(len(header) + len(entry.name) + 1)
	c.write(entry.data)
	c.pad(len(entry.data))
}

func (c *cpio) close() error {
	c.inode = 0
	c.add(cpioEntry{name: "TRAILER!!!"})
	return c.err
}

func (c *cpio) pad(written int) {
	c.write(make([]byte, (4-written%4)%4))
}

func (c *cpio) write(data []byte) {
	if c.err == nil {
		_, c.err = c.out.Write(data)
	}
}
