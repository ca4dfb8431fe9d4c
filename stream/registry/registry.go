// Package registry connects the codec with a Confluent-compatible schema registry: it registers the .proto files of the
// contract, gives the framing that precedes values, and says which type a framed value has.
//
// Each file is registered under its import path, as the files that import it refer to it, and, as record-name strategies
// look for it, under the full name of every record type on a topic ("tapewatch.v1.Trade").
package registry

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/sr"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/tapewatch/tapewatch/schemas"
)

// packageName precedes the short names of record types.
const packageName = "tapewatch.v1."

// LookupTimeout bounds the search for a schema id that was not seen before, retries included.
const LookupTimeout = 10 * time.Second

// retryPause is how long a failed question to the registry waits before it is asked again.
const retryPause = 200 * time.Millisecond

// A Registry knows the ids of our schemas and learns those of others. It is safe for concurrent use.
type Registry struct {
	ctx    context.Context //nolint:containedctx // the codec's functions take none: it ends the questions asked for them
	client *sr.Client
	frames map[string][]byte // by record type; not changed after Open

	mu    sync.RWMutex // guards known
	known map[uint32]resolved
}

// resolved is what is known of a schema id: its top-level messages in order, or why it has none for us.
type resolved struct {
	messages []string
	err      error
}

// Open registers the contract's files and the record types of the topics. Doing it again changes nothing: a registry
// answers a known schema with its id. The context also ends questions that decoding asks later.
func Open(ctx context.Context, url string, topics []schemas.Topic) (*Registry, error) {
	client, err := sr.NewClient(sr.URLs(url), sr.UserAgent("tapewatch"))
	if err != nil {
		return nil, fmt.Errorf("connecting to the schema registry %s: %w", url, err)
	}
	r := &Registry{ctx: ctx, client: client, frames: map[string][]byte{}, known: map[uint32]resolved{}}
	files := map[string]sr.SubjectSchema{}
	for _, name := range typesOf(topics) {
		m, err := schemas.NewMessage(name)
		if err != nil {
			return nil, fmt.Errorf("registering %s: %w", name, err)
		}
		d := m.ProtoReflect().Descriptor()
		file, err := r.register(ctx, d.ParentFile(), files)
		if err == nil {
			file, err = client.CreateSchema(ctx, packageName+name, file.Schema)
		}
		if err != nil {
			return nil, fmt.Errorf("registering %s at the schema registry %s: %w", name, url, err)
		}
		var header sr.ConfluentHeader
		if r.frames[name], err = header.AppendEncode(nil, file.ID, []int{d.Index()}); err != nil {
			return nil, fmt.Errorf("framing %s: %w", name, err)
		}
		r.known[uint32(file.ID)] = resolved{messages: messagesOf(d.ParentFile())}
	}
	return r, nil
}

// register registers a file after those that it imports.
func (r *Registry) register(ctx context.Context, f protoreflect.FileDescriptor, done map[string]sr.SubjectSchema) (sr.SubjectSchema, error) {
	if s, ok := done[f.Path()]; ok {
		return s, nil
	}
	text, err := schemas.ProtoSource(f.Path())
	if err != nil {
		return sr.SubjectSchema{}, err
	}
	schema := sr.Schema{Schema: text, Type: sr.TypeProtobuf}
	for i := range f.Imports().Len() {
		in := f.Imports().Get(i)
		s, err := r.register(ctx, in, done)
		if err != nil {
			return s, err
		}
		schema.References = append(schema.References, sr.SchemaReference{Name: in.Path(), Subject: s.Subject, Version: s.Version})
	}
	s, err := r.client.CreateSchema(ctx, f.Path(), schema)
	if err != nil {
		return s, err
	}
	done[f.Path()] = s
	return s, nil
}

// typesOf returns the record types of the topics, sorted.
func typesOf(topics []schemas.Topic) []string {
	var out []string
	for _, t := range topics {
		out = append(out, t.Types...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func messagesOf(f protoreflect.FileDescriptor) []string {
	var out []string
	for i := range f.Messages().Len() {
		out = append(out, string(f.Messages().Get(i).Name()))
	}
	return out
}

// Frame returns the bytes that precede values of a record type: it is schemas.Encoder.Frame.
func (r *Registry) Frame(typeName string) ([]byte, error) {
	frame, ok := r.frames[typeName]
	if !ok {
		return nil, fmt.Errorf("record type %s is on no topic that was registered", typeName)
	}
	return frame, nil
}

// SchemaType names the record type of a schema id and message index: it is schemas.Decoder.SchemaType. An id that was not
// seen before is looked up; a registry that does not answer is asked again for a while, so that its short outage makes no
// dead letters.
func (r *Registry) SchemaType(id uint32, index []int) (string, error) {
	r.mu.RLock()
	found, ok := r.known[id]
	r.mu.RUnlock()
	if !ok {
		var err error
		if found, err = r.lookUp(id); err != nil {
			return "", err
		}
	}
	switch {
	case found.err != nil:
		return "", found.err
	case len(index) != 1 || index[0] < 0 || index[0] >= len(found.messages):
		return "", fmt.Errorf("message index %v: schema %d has the top-level messages %v", index, id, found.messages)
	}
	return found.messages[index[0]], nil
}

// lookUp asks the registry for an id and remembers its answer. Trouble on the way is an error and not remembered.
func (r *Registry) lookUp(id uint32) (resolved, error) {
	ctx, cancel := context.WithTimeout(r.ctx, LookupTimeout)
	defer cancel()
	schema, err := r.ask(ctx, id)
	found := resolved{}
	var answer *sr.ResponseError
	switch {
	case errors.As(err, &answer) && answer.StatusCode < 500:
		found.err = fmt.Errorf("the schema registry does not know the id: %w", err)
	case err != nil:
		return found, fmt.Errorf("asking the schema registry: %w", err)
	default:
		found.messages, found.err = parse(schema)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.known[id] = found
	return found, nil
}

func (r *Registry) ask(ctx context.Context, id uint32) (sr.Schema, error) {
	for {
		schema, err := r.client.SchemaByID(ctx, int(id))
		var answer *sr.ResponseError
		if err == nil || errors.As(err, &answer) && answer.StatusCode < 500 {
			return schema, err
		}
		select {
		case <-ctx.Done():
			return schema, err
		case <-time.After(retryPause):
		}
	}
}
