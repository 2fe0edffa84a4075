package web

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"
)

// refusal is an error with a status of HTTP.
type refusal struct {
	status int
	text   string
}

func (r refusal) Error() string { return r.text }

func misuse(format string, args ...any) error {
	return refusal{http.StatusBadRequest, fmt.Sprintf(format, args...)}
}

// answer makes a handler of a function that returns what is to be JSON.
func answer(fn func(*http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v, err := fn(r)
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		if err != nil {
			status := http.StatusBadGateway // what was asked of the CA, a bastion or a recording
			var refused refusal
			if errors.As(err, &refused) {
				status = refused.status
			}
			w.WriteHeader(status)
			v = struct {
				Error string `json:"error"`
			}{err.Error()}
		}
		_ = json.NewEncoder(w).Encode(v) // the browser may be gone
	}
}

// question reads the JSON of a request, which is one object without anything unknown.
func question(r *http.Request, v any) error {
	in := json.NewDecoder(r.Body)
	in.DisallowUnknownFields()
	if err := in.Decode(v); err != nil {
		var long *http.MaxBytesError
		if errors.As(err, &long) {
			return refusal{http.StatusRequestEntityTooLarge, "that is too much to ask"}
		}
		return misuse("the question is not JSON: %v", err)
	}
	if _, err := in.Token(); err != io.EOF {
		return misuse("something follows the question")
	}
	return nil
}

// lines writes JSON objects, one a line, each at once.
type lines struct {
	encoder *json.Encoder
	flush   *http.ResponseController
}

func newLines(w http.ResponseWriter) lines {
	w.Header().Set("Content-Type", "application/x-ndjson; charset=utf-8")
	return lines{json.NewEncoder(w), http.NewResponseController(w)}
}

func (l lines) write(v any) error {
	if err := l.encoder.Encode(v); err != nil {
		return err
	}
	return l.flush.Flush()
}

// seconds is a time as the page has it.
func seconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1e6 }

func number(r *http.Request, name string, most uint64) (uint64, error) {
	n, err := strconv.ParseUint(r.URL.Query().Get(name), 10, 64)
	if err != nil || n > most {
		return 0, misuse("%s is a number of at most %d", name, most)
	}
	return n, nil
}

func moment(r *http.Request, name string) (time.Duration, error) {
	at, err := strconv.ParseFloat(r.URL.Query().Get(name), 64)
	if err != nil || !(at >= 0 && at < 1e9) {
		return 0, misuse("%s is a time in seconds", name)
	}
	return time.Duration(at * float64(time.Second)), nil
}
