// Package registry speaks with a Confluent-compatible schema registry: it registers the contract under each record's name
// (record name strategy), frames values with the id that it got, and resolves the ids of other writers.
package registry

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/sr"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/schemas/proto"
)

// A Registry knows the schema ids of the contract. Safe for concurrent use.
type Registry struct {
	client *sr.Client
	// lookup bounds how long an id that is not known yet may be asked for: a registry that is away must not turn good
	// records into dead letters at once.
	lookup time.Duration
	header sr.ConfluentHeader
	frames map[string][]byte // by type; not written after New

	mu      sync.Mutex          // guards names and strange
	names   map[uint32][]string // the messages of a schema id, in order
	strange map[uint32]error    // ids that the registry does not know, or knows as something else
}

// files in an order in which each stands behind what it imports.
func files() []protoreflect.FileDescriptor {
	return []protoreflect.FileDescriptor{
		schemas.File_tapewatch_v1_common_proto, schemas.File_tapewatch_v1_market_proto,
		schemas.File_tapewatch_v1_reference_proto, schemas.File_tapewatch_v1_output_proto,
	}
}

// New registers every file and record type, or finds them registered.
func New(ctx context.Context, opts ...sr.ClientOpt) (*Registry, error) {
	client, err := sr.NewClient(opts...)
	if err != nil {
		return nil, fmt.Errorf("connecting to the schema registry: %w", err)
	}
	r := &Registry{client: client, lookup: 30 * time.Second, frames: map[string][]byte{}, names: map[uint32][]string{}, strange: map[uint32]error{}}
	var imports []sr.SchemaReference
	for i, f := range files() {
		text, err := proto.Files.ReadFile(f.Path())
		if err != nil {
			return nil, fmt.Errorf("reading the schema of %s: %w", f.Path(), err)
		}
		schema := sr.Schema{Schema: string(text), Type: sr.TypeProtobuf, References: imports}
		if i == 0 {
			version, err := r.register(ctx, f.Path(), schema)
			if err != nil {
				return nil, err
			}
			imports = []sr.SchemaReference{{Name: f.Path(), Subject: f.Path(), Version: version}}
		}
		if err := r.types(ctx, f, schema); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// register returns the version that a schema has under a subject.
func (r *Registry) register(ctx context.Context, subject string, schema sr.Schema) (int, error) {
	s, err := r.client.CreateSchema(ctx, subject, schema)
	if err != nil {
		return 0, fmt.Errorf("registering the schema of %s: %w", subject, err)
	}
	return s.Version, nil
}

// types registers each record type of a file under its full name.
func (r *Registry) types(ctx context.Context, f protoreflect.FileDescriptor, schema sr.Schema) error {
	messages := f.Messages()
	names := make([]string, messages.Len())
	for i := range messages.Len() {
		names[i] = string(messages.Get(i).Name())
	}
	for i, name := range names {
		id, err := r.client.RegisterSchema(ctx, string(messages.Get(i).FullName()), schema, -1, -1)
		if err != nil {
			return fmt.Errorf("registering the schema of %s: %w", name, err)
		}
		frame, err := r.header.AppendEncode(nil, id, []int{i})
		if err != nil {
			return fmt.Errorf("framing %s: %w", name, err)
		}
		r.frames[name] = frame
		r.names[uint32(id)] = names
	}
	return nil
}

// Frame returns what stands before a value of a type.
func (r *Registry) Frame(typeName string) ([]byte, error) {
	f, ok := r.frames[typeName]
	if !ok {
		return nil, fmt.Errorf("record type %q is not registered", typeName)
	}
	return f, nil
}

// SchemaType names the record type of a schema id and message index. An unknown id is asked for once; the answer is
// remembered, also that the registry does not know it.
func (r *Registry) SchemaType(id uint32, index []int) (string, error) {
	names, err := r.messages(id)
	if err != nil {
		return "", err
	}
	if len(index) != 1 || index[0] >= len(names) {
		return "", fmt.Errorf("schema %d has no message %v: it must be one of the first %d, not nested", id, index, len(names))
	}
	return names[index[0]], nil
}

func (r *Registry) messages(id uint32) ([]string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if names, ok := r.names[id]; ok {
		return names, nil
	}
	if err, ok := r.strange[id]; ok {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), r.lookup) //nolint:forbidigo // a decoder has no context: the lookup bounds itself
	defer cancel()
	schema, err := r.fetch(ctx, int(id))
	if err != nil {
		if final(err) {
			r.strange[id] = err
		}
		return nil, err
	}
	names, err := parse(schema)
	if err != nil {
		r.strange[id] = fmt.Errorf("reading schema %d: %w", id, err)
		return nil, r.strange[id]
	}
	r.names[id] = names
	return names, nil
}

// fetch asks until the registry answers, at most as long as ctx lasts.
func (r *Registry) fetch(ctx context.Context, id int) (sr.Schema, error) {
	for {
		schema, err := r.client.SchemaByID(ctx, id)
		if err == nil || final(err) || ctx.Err() != nil {
			if err != nil {
				err = fmt.Errorf("asking the registry for schema %d: %w", id, err)
			}
			return schema, err
		}
		select {
		case <-ctx.Done():
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// final reports whether the registry gave its answer. A 5xx is none: the registry is in trouble, and asked again.
func final(err error) bool {
	var answer *sr.ResponseError
	return errors.As(err, &answer) && answer.StatusCode < 500
}

var (
	packageLine = regexp.MustCompile(`(?m)^\s*package\s+([\w.]+)\s*;`)
	opening     = regexp.MustCompile(`\bmessage\s+(\w+)\s*$`)
	comment     = regexp.MustCompile(`(?s)//[^\n]*|/\*.*?\*/|"(?:[^"\\\n]|\\.)*"`)
)

// parse returns the names of a schema's outer messages, in order.
func parse(s sr.Schema) ([]string, error) {
	if s.Type != sr.TypeProtobuf {
		return nil, fmt.Errorf("it is of type %s: it must be Protobuf", s.Type)
	}
	text := comment.ReplaceAllString(s.Schema, "")
	if p := packageLine.FindStringSubmatch(text); len(p) < 2 || p[1] != "tapewatch.v1" {
		return nil, errors.New("it must be of package tapewatch.v1")
	}
	var names []string
	depth := 0
	for rest := text; ; {
		i := strings.IndexAny(rest, "{}")
		if i < 0 {
			return names, nil
		}
		if rest[i] == '}' {
			depth--
		} else {
			if m := opening.FindStringSubmatch(rest[:i]); m != nil && depth == 0 {
				names = append(names, m[1])
			}
			depth++
		}
		rest = rest[i+1:]
	}
}
