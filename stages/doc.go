// Package stages holds the processors whose output is another processor's input: bars makes bars from trades, baskets keys
// bars by the baskets that they are members of. Like detectors they are pure and register themselves from init.
package stages
