package guest

import (
	"slices"
	"testing"
)

func TestParseNeeds(t *testing.T) {
	modinfo := []byte("license=GPL\x00depends=virtio_ring,virtio-pci\x00name=virtio_blk\x00depends=\x00")
	if got, want := parseNeeds(modinfo), []string{"virtio_ring", "virtio_pci"}; !slices.Equal(got, want) {
		t.Fatalf("got %v, want %v", got, want)
	}
}
