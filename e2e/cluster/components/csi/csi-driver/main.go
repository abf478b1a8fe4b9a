// Command csi-driver is the test bed's own storage driver: a volume is a
// folder, a snapshot is a copy of it. It is made for one node, on which it is
// controller and node plug-in at once.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

// driverName is what StorageClasses and VolumeSnapshotClasses name; it is also
// in the test bed's csi.yaml.
const driverName = "csi.novacluster.novasphere.io"

func main() {
	var options options
	flag.StringVar(&options.endpoint, "endpoint", "", "path of the socket to serve CSI on")
	flag.StringVar(&options.registrationDir, "registration-dir", "", "folder in which the kubelet looks for plug-ins")
	flag.StringVar(&options.stateDir, "state-dir", "", "folder in which the folders of volumes and snapshots are made")
	flag.StringVar(&options.node, "node", "", "name of the node that has the folder")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, options, kernelMounts{}); err != nil {
		slog.Error("csi-driver ended", "error", err)
		os.Exit(1)
	}
}

type options struct{ endpoint, registrationDir, stateDir, node string }

// run serves until ctx ends.
func run(ctx context.Context, options options, mounts mounts) error {
	volumes, err := openStore(filepath.Join(options.stateDir, "volumes"))
	if err != nil {
		return err
	}
	snapshots, err := openStore(filepath.Join(options.stateDir, "snapshots"))
	if err != nil {
		return err
	}
	plugin := grpc.NewServer(grpc.UnaryInterceptor(logFailures))
	csi.RegisterIdentityServer(plugin, identity{})
	csi.RegisterControllerServer(plugin, newController(volumes, snapshots))
	csi.RegisterNodeServer(plugin, &node{name: options.node, volumes: volumes, mounts: mounts})

	registrar := grpc.NewServer()
	registration.RegisterRegistrationServer(registrar, kubeletPlugin{endpoint: options.endpoint})

	failed := make(chan error, 2)
	for _, each := range []struct {
		server *grpc.Server
		socket string
	}{
		{plugin, options.endpoint},
		// Second: the kubelet calls the endpoint as soon as it sees this one.
		{registrar, filepath.Join(options.registrationDir, driverName+"-reg.sock")},
	} {
		listener, err := listen(ctx, each.socket)
		if err != nil {
			return err
		}
		defer each.server.Stop()
		go func() { failed <- each.server.Serve(listener) }()
	}
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		plugin.GracefulStop()
		return nil
	}
}

// listen replaces the socket that a killed driver left.
func listen(ctx context.Context, path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return nil, err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	return listener, nil
}

func logFailures(ctx context.Context, request any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	answer, err := handle(ctx, request)
	if err != nil {
		slog.Error("request failed", "method", info.FullMethod, "error", err)
	}
	return answer, err
}
