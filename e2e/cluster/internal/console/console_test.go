package console

import (
	"bytes"
	"context"
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/gorilla/websocket"

	"novasphere.io/e2e/cluster/internal/api"
)

func TestCopyUntilFindsTextAcrossReads(t *testing.T) {
	const boot = "booting\r\nTINY-GUEST-READY web-1\r\n"
	var out bytes.Buffer
	if err := copyUntil(iotest.OneByteReader(strings.NewReader(boot)), &out, "READY web"); err != nil {
		t.Fatal(err)
	}
	if want := "booting\r\nTINY-GUEST-READY web"; out.String() != want {
		t.Fatalf("copied %q, want %q", out.String(), want)
	}
	if err := copyUntil(strings.NewReader(boot), &out, "absent"); err == nil {
		t.Fatal("no error at the end of the stream")
	}
}

// The machine is not there at first, then the first stream ends early.
func TestUntilConnectsAgain(t *testing.T) {
	attempts := 0
	server := httptest.NewTLSServer(http.HandlerFunc(func(writer http.ResponseWriter, request *http.Request) {
		attempts++
		if attempts == 1 {
			http.Error(writer, "VMI is not running", http.StatusBadRequest)
			return
		}
		upgrader := websocket.Upgrader{Subprotocols: []string{subprotocol}}
		connection, err := upgrader.Upgrade(writer, request, nil)
		if err != nil {
			t.Error(err)
			return
		}
		defer connection.Close()
		_, typed, err := connection.ReadMessage()
		if err != nil || string(typed) != "\n" {
			t.Errorf("typed %q, error %v", typed, err)
		}
		if attempts == 3 {
			_ = connection.WriteMessage(websocket.BinaryMessage, []byte("web-1# "))
		}
	}))
	defer server.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	roots := server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	var out bytes.Buffer
	session := Session{
		Credentials: api.Credentials{Server: server.URL, TLS: &tls.Config{RootCAs: roots}},
		Namespace:   "default", Name: "web-1", Send: "\n", Out: &out,
	}
	if err := session.Until(ctx, "web-1#"); err != nil {
		t.Fatal(err)
	}
	if attempts != 3 || out.String() != "web-1# " {
		t.Fatalf("%d attempts, read %q", attempts, out.String())
	}
}
