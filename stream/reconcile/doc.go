// Package reconcile compares the events that a processor's group has committed with those that its input gives when it is run
// again, both ways: a live pipeline that kept its promises shows no difference.
package reconcile
