package main

import (
	"strconv"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// faults are what the parameters of a StorageClass or a VolumeSnapshotClass
// ask for, for tests.
type faults struct {
	// fail lets every create request fail.
	fail bool
	// delay is how long the thing made takes to be usable.
	delay time.Duration
}

// readFaults refuses what it does not know: a test with a mistake in it must
// not pass.
func readFaults(parameters map[string]string) (faults, error) {
	var found faults
	for key, value := range parameters {
		var err error
		switch key {
		case "fail":
			found.fail, err = strconv.ParseBool(value)
		case "delay":
			found.delay, err = time.ParseDuration(value)
		default:
			return faults{}, status.Errorf(codes.InvalidArgument, "unknown parameter %q; the parameters are fail (true or false) and delay (a duration like 20s)", key)
		}
		if err != nil || found.delay < 0 {
			return faults{}, status.Errorf(codes.InvalidArgument, "parameter %s: %q is not a value of it; fail is true or false, delay a duration like 20s", key, value)
		}
	}
	return found, nil
}

var errAskedToFail = status.Error(codes.Internal, `the parameter fail is "true"`)
