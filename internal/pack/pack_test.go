package pack

import "testing"

// A string whose length says more than what is left is broken, also where the length itself would make up the difference.
func TestStringLongerThanWhatIsLeft(t *testing.T) {
	whole := String(nil, "abc")
	for n := range whole {
		r := NewReader(whole[:n])
		if s := r.String(); s != "" || r.Err() == nil {
			t.Errorf("%d of %d bytes: got %q, %v; want an error", n, len(whole), s, r.Err())
		}
	}
	r := NewReader(whole)
	if s := r.String(); s != "abc" || r.Err() != nil || len(r.Rest()) != 0 {
		t.Errorf("the whole: got %q, %v", s, r.Err())
	}
}
