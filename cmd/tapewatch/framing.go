package main

import (
	"context"
	"fmt"

	"github.com/tapewatch/tapewatch/internal/registry"
	"github.com/tapewatch/tapewatch/schemas"
)

// recordsConfig is how values are written.
type recordsConfig struct {
	Encoding string `koanf:"encoding" doc:"protobuf, or json to write events and analyses as protojson; readers take either."`
}

// Validate checks the settings.
func (c recordsConfig) Validate() error {
	if c.Encoding != "protobuf" && c.Encoding != "json" {
		return fmt.Errorf("records.encoding is %q: it must be protobuf or json", c.Encoding)
	}
	return nil
}

// framing returns the schema registry, nil when none is configured. The first call registers the contract.
func (a *app) framing(ctx context.Context) (*registry.Registry, error) {
	if a.registry == nil && a.settings.Kafka.Registry != "" {
		r, err := registry.New(ctx, a.settings.Kafka.RegistryOptions()...)
		if err != nil {
			return nil, err
		}
		a.registry = r
	}
	return a.registry, nil
}

// encoder writes values as the settings say.
func (a *app) encoder(ctx context.Context) (schemas.Encoder, error) {
	e := schemas.Encoder{JSON: a.settings.Records.Encoding == "json"}
	r, err := a.framing(ctx)
	if r != nil {
		e.Frame = r.Frame
	}
	return e, err
}

// schemaTypes resolves registry framing; nil when no registry is configured.
func (a *app) schemaTypes(ctx context.Context) (func(id uint32, index []int) (string, error), error) {
	r, err := a.framing(ctx)
	if r == nil || err != nil {
		return nil, err
	}
	return r.SchemaType, nil
}
