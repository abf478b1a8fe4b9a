package network

import "testing"

func TestRangesNeverOverlap(t *testing.T) {
	for a := Index(1); a <= MaxIndex; a++ {
		for b := a + 1; b <= MaxIndex; b++ {
			for _, left := range a.Ranges() {
				for _, right := range b.Ranges() {
					if left.Overlaps(right) {
						t.Fatalf("clusters %d and %d share %s and %s", a, b, left, right)
					}
				}
			}
		}
		ranges := a.Ranges()
		for i, left := range ranges {
			if !left.Addr().IsPrivate() {
				t.Fatalf("%s is not private", left)
			}
			for _, right := range ranges[i+1:] {
				if left.Overlaps(right) {
					t.Fatalf("cluster %d: %s overlaps %s", a, left, right)
				}
			}
		}
	}
}

func TestDefaultIndexIsInRange(t *testing.T) {
	for _, dir := range []string{"", "/a", "/home/user/.local/state/novacluster/default"} {
		if i := DefaultIndex(dir); i < 1 || i > MaxIndex {
			t.Errorf("%q: %d", dir, i)
		}
	}
	if Index(MaxIndex).Next() != 1 {
		t.Error("the number after the last one must be 1")
	}
}
