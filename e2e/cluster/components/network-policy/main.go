// Command network-policy enforces the NetworkPolicies of the test bed's one
// node. What a policy says is decided by sigs.k8s.io/kube-network-policies, the
// implementation of SIG Network; this program brings packets to it.
//
// The first packet of each connection goes to a queue of the kernel, which that
// library answers. It would lead packets there itself, by nftables' expression
// "queue", which many kernels are built without; the target NFQUEUE of iptables
// is older and there. Its rules also leave out what a Pod sends to its own node,
// where kube-apiserver and the kubelet are.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/kube-network-policies/pkg/networkpolicy"
)

// noNode is the name of no node. The library makes rules of its own for Pods of
// its node, at each change of one. What it decides is the same for all nodes.
const noNode = "-"

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "network-policy:", err)
		os.Exit(1)
	}
}

func run() error {
	var kubeconfig string
	var settings redirect
	flag.StringVar(&kubeconfig, "kubeconfig", "", "file with the credentials")
	flag.StringVar(&settings.bridge, "bridge", "", "the link of the node that its Pods are on")
	flag.StringVar(&settings.trusted, "trusted", "", "the address whose connections no policy holds back, as it never does those of the node itself")
	flag.IntVar(&settings.queue, "queue", 100, "the number of the kernel's queue")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	controller, start, err := newController(kubeconfig, settings.queue)
	if err != nil {
		return err
	}
	// Until the queue is open, and after it has been closed, packets pass it.
	defer settings.remove()
	if err := settings.install(); err != nil {
		return err
	}
	start(ctx)
	return controller.Run(ctx)
}

// newController makes what decides, and what starts its caches.
func newController(kubeconfig string, queue int) (*networkpolicy.Controller, func(context.Context), error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, nil, err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, nil, err
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	controller, err := networkpolicy.NewController(
		client,
		factory.Networking().V1().NetworkPolicies(),
		factory.Core().V1().Namespaces(),
		factory.Core().V1().Pods(),
		nil, nil, nil, nil,
		networkpolicy.Config{FailOpen: true, QueueID: queue, NodeName: noNode},
	)
	if err != nil {
		return nil, nil, err
	}
	return controller, func(ctx context.Context) { factory.Start(ctx.Done()) }, nil
}
