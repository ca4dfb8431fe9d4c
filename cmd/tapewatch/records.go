package main

import (
	"slices"
	"strings"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/topics"
)

// catalogued finds a topic by its name with or without the prefix.
func catalogued(a *app, name string) (schemas.Topic, error) {
	bare := strings.TrimPrefix(name, a.settings.Kafka.Prefix)
	all := topics.All()
	if i := slices.IndexFunc(all, func(t schemas.Topic) bool { return t.Name == bare || t.Name == name }); i >= 0 {
		return all[i], nil
	}
	return schemas.Topic{}, usage("topic %q is not in the catalogue: see `tapewatch topics list`", name)
}
