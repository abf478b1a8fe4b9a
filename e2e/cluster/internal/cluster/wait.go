package cluster

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"novasphere.io/e2e/cluster/internal/api"
	"novasphere.io/e2e/cluster/internal/host"
)

func (c *Cluster) client() (*api.Client, error) { return api.New(c.serverURL(), c.path("pki")) }

// waitServing waits until a part answers, or just runs when nothing can be
// asked.
func (c *Cluster) waitServing(ctx context.Context, part string, timeout time.Duration) error {
	switch part {
	case etcd:
		if _, runs := c.running(apiserver); runs {
			// Its readiness includes that of etcd.
			return c.waitAPIServer(ctx, timeout)
		}
		return c.waitEtcd(ctx, timeout)
	case apiserver:
		return c.waitAPIServer(ctx, timeout)
	case containerd:
		return c.waitContainerd(ctx, timeout)
	case kubelet:
		return c.waitNodeReady(ctx, timeout)
	case csiDriver:
		return c.waitDriver(ctx, timeout)
	case networkPolicy:
		return c.waitPolicyQueue(ctx, timeout)
	}
	return c.checkAlive(part)
}

// waitEtcd asks etcd where this program can reach it; in a node's namespace
// kube-apiserver's own start waits for it.
func (c *Cluster) waitEtcd(ctx context.Context, timeout time.Duration) error {
	if c.hasNode() {
		return c.checkAlive(etcd)
	}
	client := &http.Client{Timeout: 2 * time.Second}
	return host.Wait(ctx, c.progress, "etcd", timeout, func(ctx context.Context) (bool, string, error) {
		if err := c.checkAlive(etcd); err != nil {
			return false, "", err
		}
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.etcdURL()+"/health", nil)
		if err != nil {
			return false, "", err
		}
		response, err := client.Do(request)
		if err != nil {
			return false, err.Error(), nil
		}
		defer response.Body.Close()
		return response.StatusCode == http.StatusOK, response.Status, nil
	})
}

func (c *Cluster) waitAPIServer(ctx context.Context, timeout time.Duration) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	return host.Wait(ctx, c.progress, "kube-apiserver's /readyz", timeout, func(ctx context.Context) (bool, string, error) {
		if err := c.checkAlive(apiserver); err != nil {
			return false, "", err
		}
		status, body, err := client.Get(ctx, "/readyz?verbose", nil)
		if err != nil {
			return false, err.Error(), nil
		}
		return status == http.StatusOK, notReady(body), nil
	})
}

// notReady picks the failing lines of /readyz?verbose.
func notReady(body string) string {
	var failing []string
	for line := range strings.Lines(body) {
		if strings.HasPrefix(line, "[-]") {
			failing = append(failing, strings.TrimSpace(line))
		}
	}
	return strings.Join(failing, ", ")
}

func (c *Cluster) waitObject(ctx context.Context, what, path string, part string, timeout time.Duration) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	return host.Wait(ctx, c.progress, what, timeout, func(ctx context.Context) (bool, string, error) {
		if err := c.checkAlive(part); err != nil {
			return false, "", err
		}
		status, _, err := client.Get(ctx, path, nil)
		if err != nil {
			return false, err.Error(), nil
		}
		return status == http.StatusOK, fmt.Sprintf("HTTP status %d", status), nil
	})
}

func (c *Cluster) waitContainerd(ctx context.Context, timeout time.Duration) error {
	socket := c.Handle("").ContainerdSocket()
	return host.Wait(ctx, c.progress, "containerd", timeout, func(ctx context.Context) (bool, string, error) {
		if err := c.checkAlive(containerd); err != nil {
			return false, "", err
		}
		connection, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
		if err != nil {
			return false, err.Error(), nil
		}
		connection.Close()
		return true, "", nil
	})
}

type conditions struct {
	Status struct {
		Conditions []struct{ Type, Status, Message string }
	}
}

// met says whether a condition is True, and else what it says.
func (object conditions) met(kind string) (bool, string) {
	for _, each := range object.Status.Conditions {
		if each.Type == kind {
			return each.Status == "True", kind + "=" + each.Status + " " + each.Message
		}
	}
	return false, "no condition " + kind + " yet"
}

func (c *Cluster) waitCondition(ctx context.Context, what, path, kind, part string, timeout time.Duration) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	return host.Wait(ctx, c.progress, what, timeout, func(ctx context.Context) (bool, string, error) {
		if err := c.checkAlive(part); err != nil {
			return false, "", err
		}
		var object conditions
		status, _, err := client.Get(ctx, path, &object)
		if err != nil {
			return false, err.Error(), nil
		}
		if status != http.StatusOK {
			return false, fmt.Sprintf("HTTP status %d", status), nil
		}
		met, detail := object.met(kind)
		return met, detail, nil
	})
}

func (c *Cluster) waitNodeReady(ctx context.Context, timeout time.Duration) error {
	return c.waitCondition(ctx, "Node "+c.nodeName()+" to be Ready", "/api/v1/nodes/"+c.nodeName(), "Ready", kubelet, timeout)
}

// waitDNS asks the cluster's DNS through its Service. After a crash the objects
// in etcd still say that everything is ready; the answer does not lie.
func (c *Cluster) waitDNS(ctx context.Context, timeout time.Duration) error {
	server := net.JoinHostPort(c.state.Index.DNSServiceIP().String(), "53")
	resolver := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", server)
	}}
	const name = "kubernetes.default.svc." + clusterDomain + "."
	return host.Wait(ctx, c.progress, "an answer of DNS", timeout, func(ctx context.Context) (bool, string, error) {
		if err := c.checkAlive(kubelet); err != nil {
			return false, "", err
		}
		// The first packet can be lost while kube-proxy makes its rules.
		const patience = 200 * time.Millisecond
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		addresses, err := resolver.LookupHost(ctx, name)
		return err == nil && len(addresses) > 0, fmt.Sprint(err), nil
	})
}

// lastWarning is what the last Warning event of a namespace says.
func (c *Cluster) lastWarning(ctx context.Context, namespace string) string {
	client, err := c.client()
	if err != nil {
		return err.Error()
	}
	var events struct {
		Items []struct {
			Reason, Message string
			InvolvedObject  struct{ Kind, Name string }
			LastTimestamp   time.Time
		}
	}
	_, _, err = client.Get(ctx, "/api/v1/namespaces/"+namespace+"/events?fieldSelector=type=Warning", &events)
	if err != nil || len(events.Items) == 0 {
		return "no warning events in " + namespace
	}
	last := events.Items[0]
	for _, event := range events.Items[1:] {
		if event.LastTimestamp.After(last.LastTimestamp) {
			last = event
		}
	}
	return fmt.Sprintf("last warning: %s %s: %s: %s", last.InvolvedObject.Kind, last.InvolvedObject.Name, last.Reason, last.Message)
}
