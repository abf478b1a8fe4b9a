// Package console reads the serial console of a virtual machine through
// kube-apiserver, for scripts that wait for a line of the guest.
package console

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/gorilla/websocket"

	"novasphere.io/e2e/cluster/internal/api"
)

// subprotocol is what KubeVirt's virt-api speaks: raw bytes in binary frames.
const subprotocol = "plain.kubevirt.io"

// Session is one look at a console. KubeVirt gives the console to the newest
// viewer: an open one is cut.
type Session struct {
	Credentials     api.Credentials
	Namespace, Name string
	// Send is typed as soon as the console is open; empty for nothing.
	Send string
	// Out receives what the guest writes.
	Out io.Writer
}

// Until copies the console to Out until text appears. A machine that does not
// run yet and a stream that ends are waited out until ctx ends: KubeVirt closes
// the console when the guest stops.
func (s Session) Until(ctx context.Context, text string) error {
	const pause = 500 * time.Millisecond
	for {
		last := s.once(ctx, text)
		if last == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%q did not appear on the console of %s/%s; last: %w", text, s.Namespace, s.Name, last)
		case <-time.After(pause):
		}
	}
}

func (s Session) once(ctx context.Context, text string) error {
	dialer := websocket.Dialer{TLSClientConfig: s.Credentials.TLS, Subprotocols: []string{subprotocol}}
	connection, response, err := dialer.DialContext(ctx, s.url(), nil)
	if err != nil {
		return refusal(response, err)
	}
	defer connection.Close()
	// The connection knows no context: closing it ends the read.
	stop := context.AfterFunc(ctx, func() { connection.Close() })
	defer stop()
	if s.Send != "" {
		if err := connection.WriteMessage(websocket.BinaryMessage, []byte(s.Send)); err != nil {
			return err
		}
	}
	return copyUntil(websocket.JoinMessages(connection, ""), s.Out, text)
}

func (s Session) url() string {
	return strings.Replace(s.Credentials.Server, "https://", "wss://", 1) +
		"/apis/subresources.kubevirt.io/v1/namespaces/" + s.Namespace + "/virtualmachineinstances/" + s.Name + "/console"
}

// refusal adds the server's words to gorilla's "bad handshake".
func refusal(response *http.Response, err error) error {
	if response == nil {
		return err
	}
	const enough = 512
	body, _ := io.ReadAll(io.LimitReader(response.Body, enough))
	return fmt.Errorf("%w: HTTP %s: %s", err, response.Status, bytes.TrimSpace(body))
}

// copyUntil copies until text has passed.
func copyUntil(in io.Reader, out io.Writer, text string) error {
	buffer := make([]byte, 4096)
	var recent []byte
	for {
		read, err := in.Read(buffer)
		if _, err := out.Write(buffer[:read]); err != nil {
			return err
		}
		recent = append(recent, buffer[:read]...)
		if bytes.Contains(recent, []byte(text)) {
			return nil
		}
		if err != nil {
			return errors.Join(errors.New("the console was closed"), err)
		}
		// Only the beginning of the text can be in what is kept.
		recent = recent[max(0, len(recent)-len(text)):]
	}
}
