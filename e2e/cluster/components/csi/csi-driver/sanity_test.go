package main

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/kubernetes-csi/csi-test/v5/pkg/sanity"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

// fakeMounts only remembers: the tests need no root. The real ones are tested
// on a cluster.
type fakeMounts struct {
	guard   sync.Mutex
	targets map[string]string
}

func (f *fakeMounts) isMounted(target string) (bool, error) {
	f.guard.Lock()
	defer f.guard.Unlock()
	return f.targets[target] != "", nil
}

func (f *fakeMounts) bind(source, target string, _ bool) error {
	f.guard.Lock()
	defer f.guard.Unlock()
	f.targets[target] = source
	return nil
}

func (f *fakeMounts) unmount(target string) error {
	f.guard.Lock()
	defer f.guard.Unlock()
	delete(f.targets, target)
	return nil
}

// serve runs a driver until the test ends.
func serve(t *testing.T) options {
	t.Helper()
	// t.TempDir() makes names too long for a socket.
	dir, err := os.MkdirTemp("", "csi")
	if err != nil {
		t.Fatal(err)
	}
	settings := options{
		endpoint: filepath.Join(dir, "csi.sock"), registrationDir: filepath.Join(dir, "registry"),
		stateDir: filepath.Join(dir, "state"), node: "node-1",
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, settings, &fakeMounts{targets: map[string]string{}}) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return settings
}

// TestSanity runs the conformance tests of the CSI project.
func TestSanity(t *testing.T) {
	settings := serve(t)
	config := sanity.NewTestConfig()
	config.Address = "unix:" + settings.endpoint
	config.TargetPath = filepath.Join(settings.stateDir, "target")
	config.StagingPath = filepath.Join(settings.stateDir, "staging")
	sanity.Test(t, config)
}

func TestKubeletFindsTheDriver(t *testing.T) {
	settings := serve(t)
	connection, err := grpc.NewClient("unix:"+filepath.Join(settings.registrationDir, driverName+"-reg.sock"),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	const bound = 10 * time.Second
	ctx, cancel := context.WithTimeout(t.Context(), bound)
	defer cancel()
	info, err := registration.NewRegistrationClient(connection).GetInfo(ctx, &registration.InfoRequest{}, grpc.WaitForReady(true))
	if err != nil {
		t.Fatal(err)
	}
	if info.GetType() != registration.CSIPlugin || info.GetName() != driverName || info.GetEndpoint() != settings.endpoint {
		t.Errorf("the kubelet would see %v", info)
	}
}
