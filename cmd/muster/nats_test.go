package main

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	client "github.com/nats-io/nats.go"
)

// asServer makes the test binary a nats-server: the file of its configuration.
const asServer = "MUSTER_TEST_AS_NATS_SERVER"

// serveNATS is a nats-server as a process of its own, until it is killed.
func serveNATS(conf string) {
	o, err := server.ProcessConfigFile(conf)
	if err != nil {
		panic(err)
	}
	o.NoSigs, o.NoLog = true, true
	s, err := server.NewServer(o)
	if err != nil {
		panic(err)
	}
	s.Start()
	s.WaitForShutdown()
	os.Exit(0)
}

// natsServer starts a nats-server with further lines of configuration, and returns its address when JetStream answers who logs in so.
func natsServer(t *testing.T, lines string, login ...client.Option) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr = l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	conf := filepath.Join(dir, "server.conf")
	text := "listen: " + addr + "\njetstream { store_dir: \"" + filepath.Join(dir, "store") + "\" }\n" + lines
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), asServer+"="+conf)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cmd.Process.Kill(); err != nil {
			t.Error(err)
		}
		_ = cmd.Wait() // tells that it was killed
	})
	ctx, end := context.WithTimeout(t.Context(), time.Minute)
	defer end()
	for {
		c, err := client.Connect("nats://"+addr, login...)
		if err == nil {
			var m *client.Msg
			m, err = c.Request("$JS.API.INFO", nil, time.Second)
			c.Close()
			if err == nil && m.Header.Get("Status") == "" {
				return addr
			}
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("the server does not answer within a minute; last: %v", err)
		}
	}
}

// natsSubjects are the subjects that a namespace keeps on a server, without those that end by themselves.
func natsSubjects(t *testing.T, url string, login ...client.Option) (kept []string) {
	t.Helper()
	c, err := client.Connect(url, login...)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ask := func(subject, question string) *client.Msg {
		m, err := c.Request(subject, []byte(question), 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	var info struct {
		State struct {
			Subjects map[string]int `json:"subjects"`
		} `json:"state"`
	}
	if err := json.Unmarshal(ask("$JS.API.STREAM.INFO.muster_muster", `{"subjects_filter":">"}`).Data, &info); err != nil {
		t.Fatal(err)
	}
	for subject := range info.State.Subjects {
		m := ask("$JS.API.DIRECT.GET.muster_muster", `{"last_by_subj":"`+subject+`"}`)
		if m.Header.Get("Status") == "404" || m.Header.Get("Nats-TTL") != "" {
			continue
		}
		kept = append(kept, strings.TrimPrefix(subject, "muster.muster.s."))
	}
	return kept
}
