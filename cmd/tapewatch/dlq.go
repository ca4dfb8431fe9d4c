package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/deadletter"
)

func newDLQ(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "dlq", Short: "List, show and send back records that could not be processed", Args: noArgs, RunE: help}
	cmd.AddCommand(newDLQList(a), newDLQShow(a), newDLQRedrive(a))
	return cmd
}

// shownLetter is a dead letter as the commands print it.
type shownLetter struct {
	ID        string `json:"id"`
	Reason    string `json:"reason"`
	Detail    string `json:"detail"`
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
	Processor string `json:"processor"`
	// Source, Connection and Received are those of a frame that a source could not read.
	Source     string `json:"source,omitempty"`
	Connection string `json:"connection,omitempty"`
	Received   string `json:"received,omitempty"`
	Instance   string `json:"instance,omitempty"`
	Redrives   int    `json:"redrives"`
	// Cut is the size in bytes of a record of which the letter holds the beginning only.
	Cut   int    `json:"cut,omitempty"`
	Stack string `json:"stack,omitempty"`
	Key   string `json:"key,omitempty"`
	// Value is the record's bytes in base64.
	Value string `json:"value,omitempty"`
	// Decoded is the record in protojson, where it can be decoded.
	Decoded string `json:"decoded,omitempty"`
}

func shown(l *deadletter.Letter) shownLetter {
	s := shownLetter{
		ID: l.ID.String(), Reason: l.Reason, Detail: l.Detail, Topic: l.Topic, Partition: l.Partition, Offset: l.Offset,
		Processor: l.Processor, Instance: l.Instance, Redrives: l.Redrives, Cut: l.Cut, Source: l.Source, Connection: l.Connection,
	}
	if l.Received > 0 {
		s.Received = l.Received.String()
	}
	return s
}

func letterFilter(cmd *cobra.Command, f *deadletter.Filter) {
	cmd.Flags().StringVar(&f.Topic, "topic", "", "only records of this topic")
	cmd.Flags().StringVar(&f.Processor, "processor", "", "only those that this processor refused")
	cmd.Flags().StringVar(&f.Reason, "reason", "", "only this reason: "+strings.Join(deadletter.Reasons, ", "))
}

func newDLQList(a *app) *cobra.Command {
	var f deadletter.Filter
	cmd := &cobra.Command{
		Use: "list", Short: "List dead letters, the oldest first", Args: noArgs,
		Example: "tapewatch dlq list --reason panic",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.load(cmd); err != nil {
				return err
			}
			if err := f.Validate(); err != nil {
				return usage("flag --%w", err)
			}
			found, err := deadletter.List(cmd.Context(), a.settings.Kafka, a.log, f)
			if err != nil {
				return err
			}
			data := []shownLetter{}
			l := listing{head: []string{"ID", "REASON", "TOPIC", "PARTITION", "OFFSET", "PROCESSOR", "SOURCE", "REDRIVES", "DETAIL"}}
			for _, letter := range found.Letters {
				l.row(letter.ID, letter.Reason, orDash(letter.Topic), letter.Partition, letter.Offset, orDash(letter.Processor), orDash(letter.Source), letter.Redrives, letter.Detail)
				data = append(data, shown(letter))
			}
			l.data = data
			if n := found.Matched - len(found.Letters); n > 0 {
				fmt.Fprintf(a.stderr, "%d older ones are not shown: --limit 0 shows all\n", n)
			}
			if found.Foreign > 0 {
				fmt.Fprintf(a.stderr, "%d records on the topic are no dead letters\n", found.Foreign)
			}
			return a.print(l)
		},
	}
	letterFilter(cmd, &f)
	cmd.Flags().IntVarP(&f.Limit, "limit", "n", 100, "at most so many, the newest; 0 for all")
	return cmd
}

func newDLQShow(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "show ID", Short: "Show one dead letter whole: reason, stack, the record itself", Args: someArgs(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.load(cmd); err != nil {
				return err
			}
			id, err := deadletter.ParseID(args[0])
			if err != nil {
				return &usageError{err}
			}
			letter, err := deadletter.Show(cmd.Context(), a.settings.Kafka, a.log, id)
			if err != nil {
				return err
			}
			s := shown(letter)
			s.Stack, s.Key = letter.Stack, string(letter.Key)
			s.Value = base64.StdEncoding.EncodeToString(letter.Value)
			s.Decoded = decodedLetter(cmd.Context(), a, letter)
			if a.output != "table" {
				return a.print(listing{data: s})
			}
			_, err = fmt.Fprintf(a.stdout, "id         %s\nreason     %s\ndetail     %s\ntopic      %s\npartition  %d\noffset     %d\nprocessor  %s\ninstance   %s\nsource     %s\nconnection %s\nreceived   %s\nredrives   %d\ncut        %s\nkey        %q\nvalue      %s\ndecoded    %s\n%s",
				s.ID, s.Reason, s.Detail, orDash(s.Topic), s.Partition, s.Offset, orDash(s.Processor), orDash(s.Instance),
				orDash(s.Source), orDash(s.Connection), orDash(s.Received), s.Redrives, wholeOr(s.Cut), s.Key, s.Value, s.Decoded, s.Stack)
			return err
		},
	}
}

// wholeOr says how large a record was of which a letter holds the beginning only.
func wholeOr(cut int) string {
	if cut == 0 {
		return "-"
	}
	return fmt.Sprintf("the beginning of %d bytes", cut)
}

// decodedLetter returns the record as JSON, or why it cannot be decoded.
func decodedLetter(ctx context.Context, a *app, l *deadletter.Letter) string {
	if l.Source != "" {
		return fmt.Sprintf("%q", l.Value)
	}
	topic, err := catalogued(a, l.Topic)
	if err != nil {
		return err.Error()
	}
	typ, content := topic.TypeFromHeader(len(l.Headers), func(i int) (string, []byte) { return l.Headers[i].Key, l.Headers[i].Value })
	types, err := a.schemaTypes(ctx)
	if err != nil {
		return err.Error()
	}
	dec := schemas.Decoder{SchemaType: types}
	m, err := dec.Decode(typ, content, l.Value)
	if err != nil {
		return err.Error()
	}
	text, err := schemas.MarshalJSON(m)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

func newDLQRedrive(a *app) *cobra.Command {
	var o deadletter.RedriveOptions
	var f deadletter.Filter
	var all bool
	cmd := &cobra.Command{
		Use: "redrive [ID...]", Short: "Send dead letters back to their topics; the letters stay listed",
		Long:    "Sends the named letters, or with --all every one that the filters choose, back to the topics that they came from.\nA record that went back too often is refused: 3.",
		Example: "tapewatch dlq redrive --all --reason future --dry-run",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.load(cmd); err != nil {
				return err
			}
			if err := chooseLetters(cmd, a, args, all, f, &o); err != nil {
				return err
			}
			sent, err := deadletter.Redrive(cmd.Context(), a.settings.Kafka, a.log, o)
			refused := 0
			l := listing{head: []string{"ID", "TOPIC", "PARTITION", "OFFSET", "REFUSED"}, data: sent}
			for _, r := range sent {
				if r.Refused != "" {
					refused++
				}
				l.row(r.ID, r.Topic, r.Partition, r.Offset, orDash(r.Refused))
			}
			if perr := a.print(l); perr != nil || err != nil {
				return errors.Join(err, perr)
			}
			if refused > 0 {
				return findings("%d of %d were refused", refused, len(sent))
			}
			return nil
		},
	}
	letterFilter(cmd, &f)
	cmd.Flags().BoolVar(&all, "all", false, "all letters that the filters choose")
	cmd.Flags().IntVar(&o.MaxRedrives, "max-redrives", deadletter.DefaultMaxRedrives, "refuse letters that went back so often already")
	cmd.Flags().BoolVar(&o.DryRun, "dry-run", false, "only say what would be sent")
	return cmd
}

// chooseLetters fills in the ids: those named, or with all those that the filter chooses.
func chooseLetters(cmd *cobra.Command, a *app, args []string, all bool, f deadletter.Filter, o *deadletter.RedriveOptions) error {
	if all == (len(args) > 0) {
		return usage("name the letters to send back, or give --all, not both")
	}
	for _, arg := range args {
		id, err := deadletter.ParseID(arg)
		if err != nil {
			return &usageError{err}
		}
		o.IDs = append(o.IDs, id)
	}
	if !all {
		return nil
	}
	if err := f.Validate(); err != nil {
		return usage("flag --%w", err)
	}
	found, err := deadletter.List(cmd.Context(), a.settings.Kafka, a.log, f)
	if err != nil {
		return err
	}
	for _, l := range found.Letters {
		o.IDs = append(o.IDs, l.ID)
	}
	if len(o.IDs) == 0 {
		return findings("no dead letter matches")
	}
	return nil
}
