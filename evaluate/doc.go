// Package evaluate measures detectors on recorded candles: alarms per key and day on the untouched stream, the share of
// injected bursts, jumps and ramps that is found and how late, and precision and recall against labels. Registered
// detectors run in the same Task as live; naive rules run beside them for comparison, at the same background rate.
package evaluate
