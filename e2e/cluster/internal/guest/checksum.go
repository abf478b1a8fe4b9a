package guest

import (
	"hash/crc32"
	"io"
	"math"
	"os"
)

// padding is a sector: what stands behind the file system of a disk, the end of
// an initial RAM disk or of a kernel image is read by nobody.
var padding = make([]byte, 512)

// fitChecksum appends zeros to a file until its CRC-32 is a number that an int32
// holds. KubeVirt up to 1.8 writes that checksum into the status of a
// VirtualMachineInstance, whose definition says int32 where the value has 32 bits
// without a sign; Kubernetes from 1.36 on refuses the larger half of the values,
// and the instance never leaves the phase Scheduled (kubevirt/kubevirt#17858).
func fitChecksum(path string) error {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	digest := crc32.NewIEEE()
	if _, err := io.Copy(digest, file); err != nil {
		return err
	}
	for digest.Sum32() > math.MaxInt32 {
		if _, err := io.MultiWriter(file, digest).Write(padding); err != nil {
			return err
		}
	}
	return file.Close()
}
