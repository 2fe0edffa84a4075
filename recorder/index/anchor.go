package index

import "time"

const (
	mostAnchors = 64 // while a segment is read,
	keptAnchors = 16 // and in its entry
)

// anchor notes a place to begin, in the frame that is read.
func (x *Indexer) anchor(a Anchor) {
	a.At, a.Frame = x.at, x.frame
	x.entry.Anchors = append(x.entry.Anchors, a)
	if len(x.entry.Anchors) >= mostAnchors {
		x.entry.Anchors = thin(x.entry.Anchors)
	}
}

// thin leaves some of the anchors. One that says that the alternate screen was left is only left out when it is followed by a return to it and another, so
// that no anchor before it is taken for good.
func thin(list []Anchor) []Anchor {
	for len(list) > keptAnchors {
		kept := list[:0]
		for i, a := range list {
			switch {
			case i == 0 || i >= len(list)-2 || i%2 == 0:
				kept = append(kept, a)
			case a.Left && !leftAfter(list[i+1:], a.Channel):
				kept = append(kept, a)
			}
		}
		if len(kept) == len(list) {
			return list
		}
		list = kept
	}
	return list
}

func leftAfter(list []Anchor, channel uint32) bool {
	for _, a := range list {
		if a.Channel == channel && a.Left {
			return true
		}
	}
	return false
}

// Begin is the anchor from which the screen of a channel at a time is best painted. There is none when the channel printed nothing before.
func Begin(entries []Entry, channel uint32, at time.Duration) (Anchor, bool) {
	left := false
	for i := len(entries) - 1; i >= 0; i-- {
		if entries[i].Begin > at {
			continue
		}
		list := entries[i].Anchors
		for n := len(list) - 1; n >= 0; n-- {
			switch a := list[n]; {
			case a.Channel != channel || a.At > at:
			case a.Left:
				left = true
			case a.Alternate && left:
			default:
				return a, true
			}
		}
	}
	return Anchor{}, false
}
