//go:build unix

package main

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	client "github.com/nats-io/nats.go"

	"github.com/musterhq/muster/internal/testserver"
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

// natsProcess is a nats-server of the test's own, which can be killed and started again on its data.
type natsProcess struct {
	t     *testing.T
	addr  string
	conf  string
	login []client.Option
	cmd   *exec.Cmd
}

// natsServer starts a nats-server with further lines of configuration, and returns when JetStream answers who logs in so.
func natsServer(t *testing.T, lines string, login ...client.Option) *natsProcess {
	t.Helper()
	dir := t.TempDir()
	p := &natsProcess{t: t, addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(testserver.FreePort(t))), conf: filepath.Join(dir, "server.conf"), login: login}
	text := "listen: " + p.addr + "\njetstream { store_dir: \"" + filepath.Join(dir, "store") + "\" }\n" + lines
	if err := os.WriteFile(p.conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p.Restart()
	t.Cleanup(p.Kill)
	return p
}

// Kill ends it at once.
func (p *natsProcess) Kill() {
	p.t.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		p.t.Error(err)
	}
	_ = p.cmd.Wait() // tells that it was killed
}

// Restart returns when JetStream answers.
func (p *natsProcess) Restart() {
	p.t.Helper()
	p.cmd = exec.Command(os.Args[0])
	p.cmd.Env = append(os.Environ(), asServer+"="+p.conf)
	p.cmd.Stderr = os.Stderr
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	ctx, end := context.WithTimeout(p.t.Context(), time.Minute)
	defer end()
	for {
		c, err := client.Connect(p.URL(), p.login...)
		if err == nil {
			var m *client.Msg
			m, err = c.Request("$JS.API.INFO", nil, time.Second)
			c.Close()
			if err == nil && m.Header.Get("Status") == "" {
				return
			}
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			p.t.Fatalf("the server does not answer within a minute; last: %v", err)
		}
	}
}

func (p *natsProcess) URL() string  { return "nats://" + p.addr }
func (p *natsProcess) Addr() string { return p.addr }

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

// onNATS has newCLI start a nats-server.
const onNATS = "MUSTER_TEST_ON_NATS"

// The tests of the commands, which run on Redis by themselves.
func TestTheCommandsDoTheSameOnNATS(t *testing.T) {
	for name, test := range map[string]func(*testing.T){
		"statuses":                TestEveryStatusHasItsMeaning,
		"nothing unasked":         TestWithoutSomebodyToAskNothingIsDestroyed,
		"namespaces":              TestNoNamespaceSeesAnother,
		"completion":              TestCompletionOffersTheNamesThatThereAre,
		"run":                     TestARequirementsFileBecomesAProgramOverAServerToo,
		"publish bodies":          TestABodyComesOutAsItWentIn,
		"publish identity":        TestAMessageHasTheIdentityThatItIsGiven,
		"publish with a delay":    TestAMessageWaitsForItsTime,
		"publish lines":           TestEachLineIsAMessageInItsOrder,
		"publish lines with ids":  TestLinesUnderAnIDCanBePublishedAgainWithoutDoubling,
		"tail":                    TestTailPrintsFromWhereItIsTold,
		"tail, many":              TestTailReadsMoreThanAPage,
		"tail --follow":           TestTailFollowsUntilAnInterrupt,
		"tail --count":            TestTailFollowsFromTheEndUntilItsCount,
		"tail, outage":            TestTailWaitsAnOutageOut,
		"work":                    TestACommandGetsTheBodyAndTheEnvelope,
		"work, verdicts":          TestTheStatusOfTheCommandIsTheVerdict,
		"work --emit":             TestWhatACommandPrintsIsEmittedWithTheAcknowledgement,
		"work, interrupt":         TestAnInterruptLetsRunningCommandsFinish,
		"work --from":             TestANewGroupMayStartAtTheEnd,
		"dead letters":            TestDeadLettersAreListedShownRedrivenAndRemoved,
		"groups":                  TestGroupsTellHowFarTheyAre,
		"kv":                      TestKeysHoldWhatTheyWereGiven,
		"kv, conditions":          TestAConditionGuardsAPut,
		"cache":                   TestACacheIsShownAndMadeInvalidByHand,
		"lead and lock, status":   TestTheStatusIsTheCommands,
		"lock --read and --fair":  TestALockIsSharedByThoseWhoReadAndQueuedForByTheFair,
		"lead, interrupt":         TestAnInterruptEndsTheCommandWhileItIsHeldAndThenResigns,
		"lead, faults":            TestACommandIsStoppedWithItsChildrenBeforeItsTermCanEnd,
		"members, leader and who": TestWhoIsThereAndWhoHoldsWhatIsTold,
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(onNATS, "1")
			test(t)
		})
	}
}
