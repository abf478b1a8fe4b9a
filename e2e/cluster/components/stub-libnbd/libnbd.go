// Package libnbd stands in for libguestfs.org/libnbd, whose domain is not
// served by the Go module proxy. KubeVirt's virt-launcher uses it in one place
// (pkg/virt-launcher/virtwrap/storage/nbd_client.go, incremental backup), which
// the test bed does not exercise: every operation here answers ErrUnavailable,
// so a backup fails with words instead of going wrong.
package libnbd

import "errors"

// ErrUnavailable is the answer of every operation of this stand-in.
var ErrUnavailable = errors.New("libnbd is not part of this build of virt-launcher: incremental backup cannot work")

// Names and flags of the NBD metadata contexts, as libnbd(3) defines them.
const (
	CONTEXT_BASE_ALLOCATION   = "base:allocation"
	CONTEXT_QEMU_DIRTY_BITMAP = "qemu:dirty-bitmap:"

	STATE_HOLE  uint32 = 1
	STATE_ZERO  uint32 = 2
	STATE_DIRTY uint32 = 1
)

// LibnbdExtent is one run of blocks with the same state.
type LibnbdExtent struct {
	Length uint64
	Flags  uint64
}

// ExtentCallback receives the extents of one BlockStatus64 answer.
type ExtentCallback func(metacontext string, offset uint64, entries []LibnbdExtent, nbdErr *int) int

// BlockStatus64Optargs and PreadOptargs are optional arguments; callers pass nil.
type (
	BlockStatus64Optargs struct{}
	PreadOptargs         struct{}
)

// Libnbd is the handle that Create never gives out.
type Libnbd struct{}

// Create always fails, so no other method can be reached on a live handle.
func Create() (*Libnbd, error) { return nil, ErrUnavailable }

func (*Libnbd) Close() error                        { return nil }
func (*Libnbd) AddMetaContext(string) error         { return ErrUnavailable }
func (*Libnbd) CanMetaContext(string) (bool, error) { return false, ErrUnavailable }
func (*Libnbd) GetSize() (uint64, error)            { return 0, ErrUnavailable }
func (*Libnbd) SetExportName(string) error          { return ErrUnavailable }
func (*Libnbd) ConnectUnix(string) error            { return ErrUnavailable }

func (*Libnbd) BlockStatus64(uint64, uint64, ExtentCallback, *BlockStatus64Optargs) error {
	return ErrUnavailable
}

func (*Libnbd) Pread([]byte, uint64, *PreadOptargs) error { return ErrUnavailable }
