// Package play writes recordings for people and for other programs: what the screens showed, as text, as asciicast, as JSON Lines, and more.
//
// Start with [Screens], [Asciicast], [Text] or [Events]; each consumes a [recorder.Reader] to its end and returns the
// reader's error, so that whoever shows a recording also says where it stops being good. What a host printed is
// hostile: everything that goes to a terminal passes a [Filter].
package play

import (
	"io"
	"iter"

	"postern/recorder"
)

// Frames iterates over what r has left. The last error is nil at a good end.
func Frames(r *recorder.Reader) iter.Seq2[recorder.Frame, error] {
	return func(yield func(recorder.Frame, error) bool) {
		for {
			f, err := r.Next()
			if err == io.EOF {
				return
			}
			if !yield(f, err) || err != nil {
				return
			}
		}
	}
}

// Restore brings a terminal back after a recording that was cut off in the middle of a full screen program.
const Restore = "\x1b[?1049l\x1b[!p\x1b[0m\x1b[?25h\r\n"
