package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// bastions starts more of them beside the lab's until there are n, and returns the addresses of all.
func (r *rig) bastions(n int) ([]string, error) {
	addresses := []string{r.lab.Addresses["bastion"]}
	for i := len(addresses) + 1; i <= n; i++ {
		address, err := r.startBastion(fmt.Sprintf("bastion-%d", i))
		if err != nil {
			return nil, err
		}
		addresses = append(addresses, address)
	}
	return addresses, nil
}

// freeAddress is one on loopback that nobody listens on.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

const bastionTime = 20 * time.Second

// startBastion adds one to the policy and starts it.
func (r *rig) startBastion(name string) (string, error) {
	address, err := freeAddress()
	if err != nil {
		return "", err
	}
	dir, file := filepath.Join(r.dir, name), filepath.Join(r.dir, name+".address")
	program := filepath.Join(r.lab.Dir, "bin", "postern-bastion")
	if out, err := exec.Command(program, "init", "--dir", dir).CombinedOutput(); err != nil {
		return "", fmt.Errorf("%s: %w: %s", name, err, out)
	}
	key, err := os.ReadFile(filepath.Join(dir, "identity.pub"))
	if err != nil {
		return "", err
	}
	hosts, err := os.OpenFile(filepath.Join(r.lab.Dir, "policy", "hosts.yaml"), os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return "", err
	}
	defer hosts.Close()
	if _, err := fmt.Fprintf(hosts, "  %s:\n    address: %s\n    sources: [127.0.0.1]\n    key: %s\n", name, address, strings.TrimSpace(string(key))); err != nil {
		return "", err
	}
	if err := r.lab.Reload(); err != nil {
		return "", err
	}
	log, err := os.Create(filepath.Join(r.dir, name+".log"))
	if err != nil {
		return "", err
	}
	defer log.Close()
	cmd := exec.Command(program, "serve", "--dir", dir, "--name", name, "--ca", r.lab.Addresses["ca"], "--trust", filepath.Join(r.lab.Dir, "trust"),
		"--auditors", filepath.Join(r.lab.Dir, "auditors"), "--listen", address, "--address-file", file)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return "", err
	}
	r.plain = append(r.plain, cmd)
	for end := time.Now().Add(bastionTime); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if address, err := os.ReadFile(file); err == nil && len(address) > 0 {
			return strings.TrimSpace(string(address)), nil
		}
	}
	return "", fmt.Errorf("%s did not come up; see %s", name, log.Name())
}

// memory is what all bastions hold, resident.
func (r *rig) memory() (all int64) {
	pids := []int{r.lab.PIDs["bastion"]}
	for _, cmd := range r.plain {
		if cmd.Args[1] == "serve" {
			pids = append(pids, cmd.Process.Pid)
		}
	}
	for _, pid := range pids {
		var size, resident int64
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
		fmt.Sscan(string(b), &size, &resident)
		all += resident * int64(os.Getpagesize())
	}
	return all
}
