package bastion

import (
	"errors"

	"postern/recorder"
)

var (
	errNoRecorder = errors.New("this bastion cannot record at the moment, so no session opens; tell your operator")
	errReserve    = errors.New("the disk that this bastion records on is nearly full and what is left of it is for emergencies, so no other session opens; tell your operator")
	errFull       = errors.New("the disk that this bastion records on is full, so no session opens, not even in an emergency; tell your operator")
)

// noRecorder is what the person is told when a session cannot be recorded.
func noRecorder(err error, emergency bool) error {
	switch {
	case !errors.Is(err, recorder.ErrFull):
		return errNoRecorder
	case emergency:
		return errFull
	}
	return errReserve
}

// lastWords is what the person is told when what runs cannot be recorded any more.
func (s *session) lastWords(err error) string {
	switch {
	case !errors.Is(err, recorder.ErrFull):
		return "this session cannot be recorded any more, so it ends; tell your operator"
	case s.reply.Emergency:
		return "the disk that this bastion records on is full, so this session ends, although it is an emergency; tell your operator"
	}
	return "the disk that this bastion records on is nearly full and what is left of it is for emergencies, so this session ends; tell your operator"
}
