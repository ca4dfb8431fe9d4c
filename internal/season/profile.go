package season

import (
	"encoding/binary"
	"errors"
	"math"
)

// ErrState is what RestoreState says of bytes that are not a profile.
var ErrState = errors.New("season state bytes are broken")

const (
	forget   = 0.84089641525371454303 // 2^(-1/4): a weekly visit fades the past by a half-life of 4 weeks
	clip     = 3                      // Huber's bound in scales
	trusted  = 3                      // visits of a slot before its values are clipped
	maxVisit = 255
	largest  = 1e30 // magnitude of a value: its float32 mean must stay finite
	scaleEW  = 0.99 // fade of the common scale per visit: about 100 visits
)

// weights[n] is the sum of weights after n visits; tabulated, as every machine must add the same numbers.
var weights = func() (w [maxVisit + 1]float64) {
	for n := 1; n <= maxVisit; n++ {
		w[n] = float64(w[n-1]*forget) + 1
	}
	return w
}()

// A Profile holds a Huber-clipped exponentially weighted mean per slot of the week, memory (half-life) 4 weeks. The values of one
// visit (an hour of minutes, say) are averaged and enter when the visit ends, clipped to 3 common scales around the slot's mean, so
// that one wild hour hardly moves it. State is 5 bytes a slot.
type Profile struct {
	means  []float32
	visits []uint8
	scale  float64 // EW mean absolute deviation of visits from their slot's mean
	seen   float64 // its weight
	total  float64 // running sum of the means of visited slots
	known  int     // visited slots
	slot   int     // of the visit that goes on; -1 when none
	visit  int64   // number of it
	sum    float64
	n      int64
}

// NewProfile makes a profile of so many slots, HoursOfWeek usually; at least 1.
func NewProfile(slots int) *Profile {
	slots = max(slots, 1)
	return &Profile{means: make([]float32, slots), visits: make([]uint8, slots), slot: -1}
}

// Add takes a value of a slot. visit numbers the visit: Hour(at) for hours of the week. Values of a new visit close the last one. For a volatility profile add |r|/sigma clipped at 4; for
// a volume profile the log volume minus its slow level. Read the profile before adding to it: past data only. The first three
// visits of a slot are not clipped here, so bound the values first. NaN and values beyond ±1e30 are ignored.
func (p *Profile) Add(slot int, visit int64, x float64) {
	if slot < 0 || slot >= len(p.means) || !(x >= -largest && x <= largest) {
		return
	}
	if p.slot >= 0 && (visit != p.visit || slot != p.slot) {
		p.close()
	}
	p.slot, p.visit = slot, visit
	p.sum += x
	p.n++
}

// Interrupt forgets the visit that goes on: a gap made it incomplete.
func (p *Profile) Interrupt() { p.slot, p.sum, p.n = -1, 0, 0 }

func (p *Profile) close() {
	x, i := p.sum/float64(p.n), p.slot
	p.Interrupt()
	n := int(p.visits[i])
	old := float64(p.means[i])
	d := x - old
	if n >= trusted && p.scale > 0 {
		reach := float64(clip * p.scale)
		d = min(max(d, -reach), reach)
	}
	if n > 0 {
		p.seen = float64(p.seen*scaleEW) + 1
		p.scale += (math.Abs(d) - p.scale) / p.seen
	} else {
		p.known++
	}
	n = min(n+1, maxVisit)
	p.visits[i] = uint8(n)
	p.means[i] = float32(old + d/weights[n])
	p.total += float64(p.means[i]) - old
}

// Center returns the mean over all visited slots, 0 when there is none.
func (p *Profile) Center() float64 {
	if p.known == 0 {
		return 0
	}
	return p.total / float64(p.known)
}

// Offset returns how far a slot's mean lies above the centre: what to subtract from a log value. Young slots are shrunk to 0,
// weight n/(n + 1) after n visits; 0 until half of the slots are known.
func (p *Profile) Offset(slot int) float64 {
	if slot < 0 || slot >= len(p.means) || 2*p.known < len(p.means) {
		return 0
	}
	n := float64(p.visits[slot])
	return (float64(p.means[slot]) - p.Center()) * (n / (n + 1))
}

// Smooth is Offset at a moment, for profiles of HoursOfWeek: linear between the middles of the hours, so that a season does not
// jump at the hour.
func (p *Profile) Smooth(at int64) float64 {
	half := at - hour/2
	f := float64(half-floorDiv(half, hour)*hour) / float64(hour)
	return float64((1-f)*p.Offset(HourOfWeek(half))) + float64(f*p.Offset(HourOfWeek(half+hour)))
}

// Factor returns a slot's mean over the centre: what to divide a positive value by. It is shrunk to 1 as Offset is to 0 and kept in
// 1/8..8.
func (p *Profile) Factor(slot int) float64 {
	c := p.Center()
	if !(c > 0) {
		return 1
	}
	return min(max(1+p.Offset(slot)/c, 1.0/8), 8)
}

// Known returns how many slots have been visited at least once.
func (p *Profile) Known() int { return p.known }

// AppendState appends the profile: 5 bytes a visited slot, 1 else, and about 50.
func (p *Profile) AppendState(dst []byte) []byte {
	for i, n := range p.visits {
		dst = append(dst, n)
		if n != 0 {
			dst = binary.LittleEndian.AppendUint32(dst, math.Float32bits(p.means[i]))
		}
	}
	for _, v := range [...]float64{p.scale, p.seen, p.total, p.sum} {
		dst = binary.LittleEndian.AppendUint64(dst, math.Float64bits(v))
	}
	dst = binary.AppendVarint(dst, int64(p.slot))
	dst = binary.AppendVarint(dst, p.visit)
	return binary.AppendVarint(dst, p.n)
}

// RestoreState reads what AppendState of a profile with as many slots wrote and returns the bytes after it. It never panics and
// leaves the profile as it was when it fails.
func (p *Profile) RestoreState(src []byte) (rest []byte, err error) {
	v := NewProfile(len(p.means))
	for i := range v.visits {
		if len(src) == 0 {
			return nil, ErrState
		}
		n := src[0]
		src = src[1:]
		if n == 0 {
			continue
		}
		if len(src) < 4 {
			return nil, ErrState
		}
		m := math.Float32frombits(binary.LittleEndian.Uint32(src))
		if m-m != 0 {
			return nil, ErrState
		}
		v.visits[i], v.means[i], src = n, m, src[4:]
		v.known++
	}
	for _, f := range [...]*float64{&v.scale, &v.seen, &v.total, &v.sum} {
		if len(src) < 8 {
			return nil, ErrState
		}
		*f, src = math.Float64frombits(binary.LittleEndian.Uint64(src)), src[8:]
		if *f-*f != 0 {
			return nil, ErrState
		}
	}
	var slot int64
	for _, d := range [...]*int64{&slot, &v.visit, &v.n} {
		x, k := binary.Varint(src)
		if k <= 0 {
			return nil, ErrState
		}
		*d, src = x, src[k:]
	}
	if slot < -1 || slot >= int64(len(v.means)) || v.n < 0 || (slot >= 0) != (v.n > 0) {
		return nil, ErrState
	}
	v.slot = int(slot)
	*p = *v
	return src, nil
}
