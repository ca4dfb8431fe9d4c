package main

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tapewatch/tapewatch/sources/capture"
	"github.com/tapewatch/tapewatch/sources/venue"
)

func newFeeds(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "feeds", Short: "List what the sources can read", Args: noArgs, RunE: help}
	var live bool
	list := &cobra.Command{
		Use: "list", Short: "List every channel of every source: where from, what proves it, for which instruments it is set", Args: noArgs,
		Long: "One row for each channel of each source. RECORDS are the types of record that it gives. PROOF says how the loss of a record is seen; docs/feeds.md says what each proof cannot.\n" +
			"KEY is the setting of a key or an address that a service wants, STATUS says whether it is there. CONFIGURED are the instruments of the\n" +
			"settings, - where the channel is not asked for. RECORDED is the month of the recording that proves the decoding of the\n" +
			"channel, - where documented examples do.\n\n" +
			"--live asks a running cluster instead: one row for each stream, by its last FeedHealth of the last five minutes. STATE is live; silent: for a\n" +
			"minute, or it never spoke; down: no connection; stale: no health for a minute and a half; absent: the settings want it, and no health came.",
		Example: "tapewatch feeds list\ntapewatch feeds list --output json\ntapewatch feeds list --live",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.load(cmd); err != nil {
				return err
			}
			rows, err := a.settings.feeds()
			if err != nil {
				return err
			}
			if live {
				return a.liveFeeds(cmd.Context(), rows)
			}
			l := listing{head: []string{"SOURCE", "CHANNEL", "RECORDS", "KEY", "STATUS", "PROOF", "RECORDED", "WHOLE", "USED", "CONFIGURED", "ADDRESS"}, data: rows}
			for _, r := range rows {
				configured := "-"
				if len(r.Configured) > 0 {
					configured = strings.Join(r.Configured, ",")
				}
				l.row(r.Source, r.Channel, orDash(strings.Join(r.Records, ",")), orDash(r.Key), r.Status, r.Proof, orDash(r.Recorded), yes(r.Complete), yes(r.Used), configured, r.Address)
			}
			return a.print(l)
		},
	}
	list.Flags().BoolVar(&live, "live", false, "how every stream of a running cluster is, by its last FeedHealth")
	cmd.AddCommand(list)
	return cmd
}

// shownFeed is one channel of one source as `feeds list` prints it.
type shownFeed struct {
	Source  string `json:"source"`
	Venue   string `json:"venue"`
	Channel string `json:"channel"`
	Address string `json:"address"`
	// Records are the types of record that the channel of a venue gives.
	Records []string `json:"records"`
	// Key is the setting that the source wants to be asked with, empty for none.
	Key string `json:"key"`
	// Status is ready, or names what is missing.
	Status string `json:"status"`
	// Proof is how a loss is seen: none, arithmetic, identity, checksum, or connection: a lost message may have been of any stream.
	Proof string `json:"proof"`
	// Recorded is the month of the recording that proves the channel's decoding, empty for none.
	Recorded string `json:"recorded"`
	// Complete is false where the venue sends a part only.
	Complete bool `json:"complete"`
	// Used says that sources.use names the source.
	Used bool `json:"used"`
	// Configured are the instruments that the channel is asked for.
	Configured []string `json:"configured"`

	// name is the Meta.source of the records.
	name string
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// feeds lists the channels of all sources that are read from elsewhere.
func (s *settings) feeds() ([]shownFeed, error) {
	var rows []shownFeed
	for _, v := range s.Venues.connectors() {
		spec, err := v.section.Spec()
		if err != nil {
			return nil, fmt.Errorf("describing %s: %w", v.name, err)
		}
		for _, channel := range spec.Channels {
			r := shownFeed{
				Source: v.name, Venue: spec.Venue, Channel: channel, Status: "ready", Records: spec.Records(channel), Proof: spec.Proof(channel), Recorded: spec.Recorded.Of(channel), Complete: !slices.Contains(spec.Partial, channel),
				Used: slices.Contains(s.Sources.Use, v.name), Address: address(spec, channel), Configured: []string{}, name: cmp.Or(v.common.Name, spec.SourceName()),
			}
			if slices.Contains(v.common.Channels, channel) {
				r.Configured = v.common.Symbols
			}
			rows = append(rows, r)
		}
	}
	for _, m := range pollMakers() {
		p, err := m.describe(s)
		if err != nil {
			return nil, fmt.Errorf("describing %s: %w", m.name, err)
		}
		state := "ready"
		if !m.ready(s) {
			state = "needs " + m.key
		}
		var streams []string
		for _, j := range p.Jobs() {
			if !slices.Contains(streams, j.Stream) {
				streams = append(streams, j.Stream)
			}
		}
		for _, stream := range streams {
			rows = append(rows, shownFeed{
				Source: m.name, Venue: p.Venue(), Channel: stream, Key: m.key, Status: state, Proof: "none", Complete: true, Used: slices.Contains(s.Sources.Use, m.name),
				Records: []string{}, Configured: []string{}, name: m.name,
			})
		}
	}
	for _, c := range s.Probe.Calls() {
		rows = append(rows, shownFeed{
			Source: probeName, Venue: c.Venue, Channel: "probe " + c.Scope, Status: "ready", Proof: "none", Complete: true, Used: slices.Contains(s.Sources.Use, probeName),
			Records: []string{}, Configured: []string{}, Address: c.Address, name: probeName,
		})
	}
	return rows, nil
}

// address is where a channel is had, without what is asked for: the connection that carries it, else a GET.
func address(s *venue.Spec, channel string) string {
	carries := func(f capture.Frame) bool {
		return slices.ContainsFunc(s.Streams(f), func(st venue.Stream) bool { return st.Channel == channel })
	}
	for _, c := range s.Connections {
		found := carries(capture.Frame{Kind: capture.Connect, URL: c.URL})
		for _, request := range c.Send {
			found = found || carries(capture.Frame{Kind: capture.Send, Data: request})
		}
		if base, _, _ := strings.Cut(c.URL, "?"); found {
			return base
		}
	}
	for _, g := range s.Gets {
		if base, _, _ := strings.Cut(g.URL, "?"); channel == venue.Interest {
			return base
		}
	}
	if len(s.Connections) == 0 {
		return ""
	}
	base, _, _ := strings.Cut(s.Connections[0].URL, "?")
	return base
}

// writeFeeds writes the matrix of the defaults.
func writeFeeds(b *bytes.Buffer) error {
	s, _ := newSettings()
	rows, err := s.feeds()
	if err != nil {
		return err
	}
	fmt.Fprintf(b, "# Feeds\n\n%s\n\n", generatedNote)
	b.WriteString("Every channel of every source, by the defaults; `tapewatch feeds list` shows the same for the settings at hand, and whether what a source needs is\n" +
		"set. None of the venues' channels needs a key.\n\n" +
		"| proof | a loss is seen by | what it cannot show |\n|---|---|---|\n" +
		"| arithmetic | numbers that grow by one, or ranges that meet | what was lost at the end, until the next one comes |\n" +
		"| identity | each message names its predecessor | how many were lost; the end, as above |\n" +
		"| checksum | the best levels of the book, summed up | a change below those levels until it rises among them; how much was lost |\n" +
		"| connection | the messages of a connection are numbered | which stream lost: all are told of it |\n" +
		"| none | nothing but silence and the end of the connection | a single message |\n\n" +
		"Records are the types that a channel gives (a test plays the documented messages of each). Recorded is the month of the recording that proves the decoding\n" +
		"of a channel, - where examples of the venue's documentation do.\n\n" +
		"| source | venue | channel | records | proof | recorded | whole | instruments by default | address |\n|---|---|---|---|---|---|---|---|---|\n")
	for _, r := range rows {
		if _, ok := s.Venues.connector(r.Source); !ok {
			continue
		}
		fmt.Fprintf(b, "| `%s` | %s | %s | %s | %s | %s | %s | %s | %s |\n", r.Source, r.Venue, r.Channel, strings.Join(r.Records, ", "), r.Proof, orDash(r.Recorded), yes(r.Complete), strings.Join(r.Configured, ", "), r.Address)
	}
	b.WriteString("\nServices that are asked ([sources](sources.md)); what is new is found by what they answer, so nothing proves a loss:\n\n" +
		"| source | venue of its records | channel | asked with |\n|---|---|---|---|\n")
	for _, r := range rows {
		if _, ok := s.Venues.connector(r.Source); !ok {
			fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", r.Source, orDash(r.Venue), r.Channel, orDash(r.Key))
		}
	}
	return nil
}
