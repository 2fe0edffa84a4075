package recorder

import (
	"context"
	"fmt"
	"maps"
)

// mostParked bounds the places at which an archive goes on with compartments.
const mostParked = 8

// uncover opens what was sealed to keys that were given. HPKE opens the frames of a compartment in their order only, so what went before is opened
// too: of a compartment that lasts for a minute at most that is little, and who reads in order has it at hand.
func (a *Archive) uncover(ctx context.Context, segment uint64, frames []Frame) ([]Frame, error) {
	keys := a.compartmentKeys()
	if len(keys) == 0 || len(frames) == 0 {
		return frames, nil
	}
	c, err := a.resume(ctx, segment, frames, keys)
	if err != nil {
		return nil, err
	}
	for i, f := range frames {
		if frames[i], err = c.uncover(f); err != nil {
			return frames[:i], a.fault(a.parts[segment], i, err)
		}
	}
	a.park(segment+1, c)
	return frames, nil
}

func (a *Archive) compartmentKeys() map[string]PrivateKey {
	a.mu.Lock()
	defer a.mu.Unlock()
	return maps.Clone(a.opened)
}

// resume returns the compartments as they are before a segment, as far as its frames need them.
func (a *Archive) resume(ctx context.Context, segment uint64, frames []Frame, keys map[string]PrivateKey) (*compartments, error) {
	a.mu.Lock()
	c := a.parked[segment]
	delete(a.parked, segment)
	a.mu.Unlock()
	if c == nil {
		c = newCompartments(a.opening.Session, keys)
		c.part = segment > 0
	}
	need := unbegun(frames, c)
	var before [][]Frame // of those compartments, the last segment first
	for n := segment; len(need) > 0 && n > 0; {
		n--
		earlier, err := a.outer(ctx, n)
		if err != nil {
			return nil, err
		}
		before = append(before, inCompartments(earlier, need))
		for _, number := range begun(earlier) {
			delete(need, number)
		}
	}
	return c, a.replay(c, segment, before)
}

// replay opens what came before, in its order.
func (a *Archive) replay(c *compartments, segment uint64, before [][]Frame) error {
	earlier := newCompartments(c.session, c.keys)
	earlier.part = true
	for i := len(before) - 1; i >= 0; i-- {
		for _, f := range before[i] {
			if _, err := earlier.uncover(f); err != nil {
				return a.fault(a.parts[segment], 0, fmt.Errorf("what was sealed before: %w", err))
			}
		}
	}
	maps.Copy(c.open, earlier.open)
	c.next = max(c.next, earlier.next)
	return nil
}

// park keeps compartments for who reads on.
func (a *Archive) park(segment uint64, c *compartments) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(c.keys) != len(a.opened) {
		return // a key was given meanwhile
	}
	if len(a.parked) >= mostParked {
		clear(a.parked)
	}
	a.parked[segment] = c
}

// unbegun are the compartments of frames that begin before them, and are not known.
func unbegun(frames []Frame, c *compartments) map[uint32]bool {
	need, here := map[uint32]bool{}, map[uint32]bool{}
	for _, f := range frames {
		if k, err := f.CompartmentKey(); f.Type == TypeCompartment && err == nil {
			here[k.Number] = true
		}
		if s, err := f.Sealed(); f.Type == TypeSealed && err == nil && !here[s.Compartment] {
			if _, known := c.open[s.Compartment]; !known {
				need[s.Compartment] = true
			}
		}
	}
	return need
}

// begun are the compartments that begin in frames.
func begun(frames []Frame) (list []uint32) {
	for _, f := range frames {
		if k, err := f.CompartmentKey(); f.Type == TypeCompartment && err == nil {
			list = append(list, k.Number)
		}
	}
	return list
}

// inCompartments are the frames of some compartments.
func inCompartments(frames []Frame, of map[uint32]bool) (list []Frame) {
	for _, f := range frames {
		k, notBegin := f.CompartmentKey()
		s, notSealed := f.Sealed()
		if f.Type == TypeCompartment && notBegin == nil && of[k.Number] || f.Type == TypeSealed && notSealed == nil && of[s.Compartment] {
			list = append(list, f)
		}
	}
	return list
}
