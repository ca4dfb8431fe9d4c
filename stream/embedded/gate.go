package embedded

import (
	"net"
	"sync"
)

// A gate is a listener that lets nobody but the process itself in until it is opened. Connections from outside wait in the
// system's queue meanwhile.
type gate struct {
	net.Listener
	inside chan net.Conn
	opened chan struct{}
	closed chan struct{}
	once   sync.Once
}

func newGate(l net.Listener) *gate {
	return &gate{Listener: l, inside: make(chan net.Conn), opened: make(chan struct{}), closed: make(chan struct{})}
}

// Accept returns connections of dial until the gate is open, then those from outside.
func (g *gate) Accept() (net.Conn, error) {
	select {
	case conn := <-g.inside:
		return conn, nil
	case <-g.opened:
		return g.Listener.Accept()
	case <-g.closed:
		return nil, net.ErrClosed
	}
}

// Close stops listening and wakes Accept.
func (g *gate) Close() error {
	g.once.Do(func() { close(g.closed) })
	return g.Listener.Close()
}

// open lets everyone in; it is called once.
func (g *gate) open() { close(g.opened) }

// dial connects to the broker from inside the process.
func (g *gate) dial() (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case g.inside <- there:
		return here, nil
	case <-g.opened:
	case <-g.closed:
	}
	return nil, net.ErrClosed
}
