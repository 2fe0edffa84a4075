package scp

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"testing"

	"postern/bastion/meter"
	"postern/recorder"
)

// The test binary is also what scp takes for ssh: it runs the command as sshd would, by a shell, with a decoder between.
func TestMain(m *testing.M) {
	if os.Getenv("SCP_TEST_HOME") == "" {
		os.Exit(m.Run())
	}
	if err := relay(os.Args[len(os.Args)-1]); err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			os.Exit(exit.ExitCode())
		}
		fmt.Fprintln(os.Stderr, "relay:", err)
		os.Exit(99)
	}
	os.Exit(0)
}

func relay(command string) error {
	c, ok := ParseCommand(command)
	if !ok {
		return fmt.Errorf("not an scp: %s", command)
	}
	trace, err := os.OpenFile(os.Getenv("SCP_TEST_TRACE"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	r := &relayed{trace: json.NewEncoder(trace)}
	r.decoder = New(c, meter.Full, &r.log)
	host := exec.Command("/bin/sh", "-c", command)
	host.Dir, host.Stderr = os.Getenv("SCP_TEST_HOME"), os.Stderr
	in, err := host.StdinPipe()
	if err != nil {
		return err
	}
	out, err := host.StdoutPipe()
	if err != nil {
		return err
	}
	if err := host.Start(); err != nil {
		return err
	}
	ended := make(chan error, 2) // by the host, as ssh does, or with an error of either side
	go func() {
		if err := r.pump(os.Stdin, in, r.decoder.Client); err != nil {
			ended <- err
		}
		in.Close()
	}()
	go func() { ended <- r.pump(out, os.Stdout, r.decoder.Host) }()
	if err := <-ended; err != nil {
		_ = host.Process.Kill()
		return err
	}
	r.mu.Lock()
	r.log.Reset()
	r.decoder.Close()
	err = r.record(nil)
	r.mu.Unlock()
	return errors.Join(err, host.Wait())
}

// relayed is what the two directions share.
type relayed struct {
	mu      sync.Mutex
	log     meter.Log
	decoder *Decoder
	trace   *json.Encoder
}

func (r *relayed) pump(from io.Reader, to io.Writer, take func(dst, b []byte) (meter.Step, error)) error {
	b := make([]byte, 32<<10)
	for {
		n, err := from.Read(b)
		if err != nil {
			return nil
		}
		r.mu.Lock()
		r.log.Reset()
		step, wrong := take(nil, b[:n])
		err = r.record(step.Forward)
		r.mu.Unlock()
		if _, werr := to.Write(step.Forward); werr != nil {
			continue // it left; the other may still have something to say
		}
		if err := errors.Join(wrong, err); err != nil {
			return err
		}
	}
}

// record checks that what a relay would record is just what goes on, and writes down the events.
func (r *relayed) record(forward []byte) error {
	var recorded []byte
	for _, f := range r.log.Frames() {
		if f.Type == recorder.TypeEvent {
			if err := r.trace.Encode(f); err != nil {
				return err
			}
		}
		recorded = append(recorded, passed(f)...)
	}
	if !bytes.Equal(recorded, forward) {
		return fmt.Errorf("recorded %q, passed on %q", recorded, forward)
	}
	return nil
}

// passed is what a frame has of the bytes that went on.
func passed(f recorder.Frame) []byte {
	if f.Type == recorder.TypeData {
		return f.Data
	}
	if e, err := f.Extent(); f.Type == recorder.TypeExtent && err == nil {
		return e.Kept
	}
	return nil
}
