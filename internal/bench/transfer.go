package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// transferTime bounds one transfer: a path that hangs must not hang the measurement.
const transferTime = 5 * time.Minute

// transfer moves the same bytes down and up every path, first through a command, whose streams are recorded in full, then as a file
// over SFTP, of which the rules of the lab keep the beginning and a hash. A count of bytes that is off is an error, so a transfer that
// broke off cannot look fast.
func transfer(r *rig, o options) error {
	block := logText(min(o.size, 64<<20))
	file := filepath.Join(r.dir, "block")
	if err := os.WriteFile(file, block, 0o600); err != nil {
		return err
	}
	times := int(o.size / int64(len(block)))
	size := int64(times) * int64(len(block))
	whole := filepath.Join(r.dir, "whole")
	if err := repeat(whole, block, times); err != nil {
		return err
	}
	ways := []struct {
		title string
		move  func(path) (time.Duration, error)
	}{
		{"download", func(p path) (time.Duration, error) { return download(r, p, file, times, size) }},
		{"upload", func(p path) (time.Duration, error) { return upload(r, p, block, times, size) }},
		{"scp from the host", func(p path) (time.Duration, error) { return copyFile(r, p, p.host+":"+whole, whole+".copy", size) }},
		{"scp to the host", func(p path) (time.Duration, error) { return copyFile(r, p, whole, p.host+":"+whole+".copy", size) }},
	}
	for _, way := range ways {
		taken, sealing, err := r.compare(o.rounds, way.move)
		if err != nil {
			return fmt.Errorf("%s: %w", way.title, err)
		}
		title := fmt.Sprintf("%s of %s of text, aes128-gcm (median of %d)", way.title, sizeName(size), o.rounds)
		printTable(title, r.paths(), taken, func(d time.Duration) string {
			return fmt.Sprintf("%.2f s  %4.0f MB/s", d.Seconds(), float64(size)/1e6/d.Seconds())
		})
		if len(sealing) > 0 {
			fmt.Printf("  sealed         %.2f s after the last byte, in the background (median; waited for between transfers)\n", quantile(sealing, 50).Seconds())
		}
	}
	return nil
}

// compare times a transfer on every path, round by round. Sealing is off the path of the bytes, so it must not fall into the measurement of
// the next path either; how long it took is the second result.
func (r *rig) compare(rounds int, move func(path) (time.Duration, error)) (map[string][]time.Duration, []time.Duration, error) {
	taken := map[string][]time.Duration{}
	var sealing []time.Duration
	for range rounds {
		for _, p := range r.paths() {
			waited, err := r.settle()
			if err != nil {
				return nil, nil, err
			}
			if waited > settlePoll {
				sealing = append(sealing, waited)
			}
			d, err := move(p)
			if err != nil {
				return nil, nil, fmt.Errorf("%s: %w", p.name, err)
			}
			taken[p.name] = append(taken[p.name], d)
		}
	}
	return taken, sealing, nil
}

func repeat(file string, block []byte, times int) error {
	f, err := os.Create(file)
	for i := 0; i < times && err == nil; i++ {
		_, err = f.Write(block)
	}
	return errors.Join(err, f.Close())
}

// copyFile is scp as it is since OpenSSH 9: over SFTP.
func copyFile(r *rig, p path, from, to string, size int64) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(context.Background(), transferTime)
	defer cancel()
	began := time.Now()
	if err := r.client(ctx, "scp", append(slices.Clone(p.options), "-q", from, to)...).Run(); err != nil {
		return 0, err
	}
	taken := time.Since(began)
	copied := to[strings.IndexByte(to, ':')+1:]
	info, err := os.Stat(copied)
	if err == nil && info.Size() != size {
		err = fmt.Errorf("%d bytes were copied of %d", info.Size(), size)
	}
	return taken, errors.Join(err, os.Remove(copied))
}

func download(r *rig, p path, file string, times int, size int64) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(context.Background(), transferTime)
	defer cancel()
	cmd := r.ssh(ctx, p, fmt.Sprintf("for i in $(seq %d); do cat %s; done", times, file))
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	got, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, out, make([]byte, 1<<20))
	if err != nil {
		return 0, err
	}
	if err := cmd.Wait(); err != nil {
		return 0, err
	}
	if got != size {
		return 0, fmt.Errorf("%d bytes came of %d", got, size)
	}
	return time.Since(began), nil
}

func upload(r *rig, p path, block []byte, times int, size int64) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(context.Background(), transferTime)
	defer cancel()
	cmd := r.ssh(ctx, p, "wc -c")
	readers := make([]io.Reader, times)
	for i := range readers {
		readers[i] = bytes.NewReader(block)
	}
	cmd.Stdin = io.MultiReader(readers...)
	began := time.Now()
	out, err := cmd.Output()
	if err != nil {
		return 0, err
	}
	if got, _ := strconv.ParseInt(strings.TrimSpace(string(out)), 10, 64); got != size {
		return 0, fmt.Errorf("%d bytes arrived of %d", got, size)
	}
	return time.Since(began), nil
}

// logText is text like a log's: it compresses, but not to nothing.
func logText(size int64) []byte {
	random := rand.New(rand.NewPCG(1, 2))
	var b bytes.Buffer
	for at := int64(1700000000); int64(b.Len()) < size; at++ {
		fmt.Fprintf(&b, "%d host-%02d postgres[%d]: LOG: duration: %d.%03d ms statement: SELECT * FROM t%d WHERE id = %d\n",
			at, random.IntN(40), random.IntN(32768), random.IntN(500), random.IntN(1000), random.IntN(90), random.Int64())
	}
	return b.Bytes()[:size]
}

func sizeName(n int64) string {
	if n >= 1<<30 && n%(1<<30) == 0 {
		return fmt.Sprintf("%d GiB", n>>30)
	}
	return fmt.Sprintf("%d MiB", n>>20)
}
