package chain

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/tapewatch/tapewatch/schemas"
)

// holder is who holds an address.
type holder struct {
	entity string
	kind   schemas.AddressKind
}

// labels are holders by address.
type labels struct {
	pin     string // empty without a file
	holders map[string]holder
}

// nullAddress is where minted tokens come from and burnt ones go to.
const nullAddress = "0x0000000000000000000000000000000000000000"

// of finds the holder of an address; the zero holder is nobody known.
func (l *labels) of(address string) holder {
	h := l.holders[fold(address)]
	if address == nullAddress {
		h.kind = schemas.AddressKind_ADDRESS_KIND_TREASURY
	}
	return h
}

// fold makes addresses that are equal look equal. Only hex and bech32 ignore case; base58 does not.
func fold(address string) string {
	if low := strings.ToLower(address); strings.HasPrefix(low, "0x") || strings.HasPrefix(low, "bc1") {
		return low
	}
	return address
}

// readLabels reads the file of a setting.
func readLabels(section string, c Common) (*labels, error) {
	if c.Labels == "" {
		if c.LabelsSHA256 != "" {
			return nil, fmt.Errorf("%s.labels is empty: with labels_sha256 it must name the file", section)
		}
		return &labels{}, nil
	}
	raw, err := os.ReadFile(c.Labels)
	if err != nil {
		return nil, fmt.Errorf("%s.labels: %w", section, err)
	}
	sum := sha256.Sum256(raw)
	pin := hex.EncodeToString(sum[:])
	if c.LabelsSHA256 != "" && !strings.EqualFold(pin, c.LabelsSHA256) {
		return nil, fmt.Errorf("%s.labels: the SHA-256 of %s is %s: it must be labels_sha256, %s", section, c.Labels, pin, c.LabelsSHA256)
	}
	if strings.HasSuffix(c.Labels, ".gz") {
		if raw, err = unpack(raw); err != nil {
			return nil, fmt.Errorf("%s.labels: unpacking %s: %w", section, c.Labels, err)
		}
	}
	l := &labels{pin: pin[:16]}
	if l.holders, err = parseLabels(raw); err != nil {
		return nil, fmt.Errorf("%s.labels: reading %s: %w", section, c.Labels, err)
	}
	return l, nil
}

func unpack(raw []byte) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(z)
}

// parseLabels reads CSV with a header. Of two lines for one address the first stands.
func parseLabels(raw []byte) (map[string]holder, error) {
	r := csv.NewReader(bytes.NewReader(raw))
	header, err := r.Read()
	if err != nil {
		return nil, fmt.Errorf("the header: %w", err)
	}
	column := func(name string) int { return slices.Index(header, name) }
	at, who, kind, tagged := column("address"), column("entity"), column("kind"), false
	if who < 0 && kind < 0 {
		who, kind, tagged = column("label"), column("category"), true
	}
	if at < 0 || who < 0 || kind < 0 {
		return nil, fmt.Errorf("the header is %q: it must have address,entity,kind or address,label,category", header)
	}
	out := map[string]holder{}
	for {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		h := holder{entity: strings.ToLower(strings.TrimSpace(row[who])), kind: kindOf(row[kind])}
		if tagged {
			h.entity = entityOf(h.entity, h.kind)
		}
		key := fold(row[at])
		if line, _ := r.FieldPos(at); key == "" {
			return nil, fmt.Errorf("line %d is %q: the address must not be empty", line, row)
		}
		if _, ok := out[key]; !ok {
			out[key] = h
		}
	}
}

// kindOf reads a kind; what has none of its own is known, and other.
func kindOf(text string) schemas.AddressKind {
	switch strings.ToLower(text) {
	case "exchange":
		return schemas.AddressKind_ADDRESS_KIND_EXCHANGE
	case "bridge":
		return schemas.AddressKind_ADDRESS_KIND_BRIDGE
	case "treasury":
		return schemas.AddressKind_ADDRESS_KIND_TREASURY
	}
	return schemas.AddressKind_ADDRESS_KIND_OTHER
}

// wallet is what explorers put behind the name of an exchange: "binance 18", "binance dep: 0x12…", "okx: hot wallet 3",
// "coinbase cold 2".
var wallet = regexp.MustCompile(`(?: dep| deposit| hot| cold| wallet)*(?: \d+)?$`)

// entityOf finds the exchange behind the name of one of its wallets. Other names are left whole: two pools of one protocol
// are not one holder.
func entityOf(label string, kind schemas.AddressKind) string {
	if kind != schemas.AddressKind_ADDRESS_KIND_EXCHANGE {
		return label
	}
	name, _, _ := strings.Cut(label, ":")
	if short := strings.TrimSpace(wallet.ReplaceAllString(name, "")); short != "" {
		return short
	}
	return label
}
