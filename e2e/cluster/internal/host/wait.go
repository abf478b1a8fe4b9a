package host

import (
	"context"
	"fmt"
	"time"
)

// Probe looks once. detail says what was seen; it is shown while waiting and
// in the error at the end. An error ends the wait at once.
type Probe func(ctx context.Context) (done bool, detail string, err error)

// Wait probes until the probe is done, and fails after timeout with what it
// waited for and what it saw last.
func Wait(ctx context.Context, progress *Progress, what string, timeout time.Duration, probe Probe) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	clear := progress.waiting(what)
	defer clear()
	// Starts fine, so that quick steps stay quick, and then backs off, so that
	// long waits do not take the processor from what they wait for.
	pause := 20 * time.Millisecond
	last := ""
	for {
		done, detail, err := probe(ctx)
		if err != nil {
			return fmt.Errorf("waiting for %s: %w", what, err)
		}
		if done {
			return nil
		}
		if detail != "" {
			last = detail
			progress.detail(what, detail)
		}
		select {
		case <-ctx.Done():
			if last == "" {
				last = "nothing seen"
			}
			return fmt.Errorf("gave up after %s waiting for %s; last seen: %s", timeout, what, last)
		case <-time.After(pause):
		}
		if pause < 500*time.Millisecond {
			pause = pause * 5 / 4
		}
	}
}
