package config

import (
	"encoding"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

var duration = reflect.TypeFor[time.Duration]()

// plain turns a setting into text, numbers, booleans, lists and maps.
func plain(v reflect.Value) any {
	if v.Type() == duration {
		return time.Duration(v.Int()).String()
	}
	if v.Type().Implements(textOut) {
		text, err := v.Interface().(encoding.TextMarshaler).MarshalText()
		if err != nil {
			return fmt.Sprint(v.Interface())
		}
		return string(text)
	}
	switch v.Kind() {
	case reflect.Slice, reflect.Array:
		out := make([]any, v.Len())
		for i := range out {
			out[i] = plain(v.Index(i))
		}
		return out
	case reflect.Map:
		out := make(map[string]any, v.Len())
		for it := v.MapRange(); it.Next(); {
			out[fmt.Sprint(it.Key().Interface())] = plain(it.Value())
		}
		return out
	case reflect.Struct:
		out := map[string]any{}
		for i := range v.NumField() {
			if name := tag(v.Type().Field(i)); name != "" {
				out[name] = plain(v.Field(i))
			}
		}
		return out
	case reflect.Pointer:
		if v.IsNil() {
			return nil
		}
		return plain(v.Elem())
	}
	return v.Interface()
}

func tag(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("koanf"), ",")
	if name == "-" {
		return ""
	}
	return name
}

// decode writes plain data into a setting. Text is read as YAML where the setting is not text itself, so that the environment
// can give lists and maps; a list also comes as "a,b,c".
func decode(raw any, into reflect.Value) error {
	if into.Kind() == reflect.Pointer {
		fresh := reflect.New(into.Type().Elem())
		if err := decode(raw, fresh.Elem()); err != nil {
			return err
		}
		into.Set(fresh)
		return nil
	}
	if into.Type() == duration {
		return decodeDuration(raw, into)
	}
	if into.CanAddr() && into.Addr().Type().Implements(textIn) {
		switch raw.(type) {
		case map[string]any, []any:
			return fmt.Errorf("it must be text, not %s", kindOf(raw))
		}
		if err := into.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(fmt.Sprint(raw))); err != nil {
			return fmt.Errorf("it must be readable: %w", err)
		}
		return nil
	}
	switch into.Kind() {
	case reflect.String:
		return decodeString(raw, into)
	case reflect.Bool:
		return decodeBool(raw, into)
	case reflect.Slice:
		return decodeSlice(raw, into)
	case reflect.Map:
		return decodeMap(raw, into)
	case reflect.Struct:
		return decodeStruct(raw, into)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Float32, reflect.Float64:
		return decodeNumber(raw, into)
	}
	return fmt.Errorf("it must not be set: settings of type %s cannot be read", into.Type())
}

func decodeDuration(raw any, into reflect.Value) error {
	text := fmt.Sprint(raw)
	d, err := time.ParseDuration(text)
	if err != nil {
		// A bare number means seconds, as the environment names that operators know expect.
		seconds, serr := strconv.ParseFloat(text, 64)
		if serr != nil {
			return fmt.Errorf("it must be a duration such as 30s or 15m, or a number of seconds")
		}
		if !(math.Abs(seconds) < math.MaxInt64/float64(time.Second)) { // not a number neither
			return fmt.Errorf("it must be a duration such as 30s or 15m, or a number of seconds, of less than 292 years")
		}
		d = time.Duration(seconds * float64(time.Second))
	}
	into.SetInt(int64(d))
	return nil
}

func decodeString(raw any, into reflect.Value) error {
	switch raw := raw.(type) {
	case string, bool, int, int64, uint64, float64:
		into.SetString(fmt.Sprint(raw))
		return nil
	case time.Time: // YAML knows times; the setting wants the text
		into.SetString(raw.Format(time.RFC3339Nano))
		return nil
	case nil:
		into.SetString("")
		return nil
	}
	return fmt.Errorf("it must be text, not %s", kindOf(raw))
}

func decodeBool(raw any, into reflect.Value) error {
	b, err := strconv.ParseBool(strings.ToLower(fmt.Sprint(raw)))
	if err != nil {
		return fmt.Errorf("it must be true or false")
	}
	into.SetBool(b)
	return nil
}

func decodeNumber(raw any, into reflect.Value) error {
	text := strings.ReplaceAll(fmt.Sprint(raw), "_", "")
	if f, ok := raw.(float64); ok {
		text = strconv.FormatFloat(f, 'f', -1, 64)
	}
	bits := into.Type().Bits()
	switch {
	case into.CanFloat():
		f, err := strconv.ParseFloat(text, bits)
		if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
			return fmt.Errorf("it must be a number")
		}
		into.SetFloat(f)
	case into.CanInt():
		n, err := strconv.ParseInt(text, 10, bits)
		if err != nil {
			return fmt.Errorf("it must be a whole number of %d bits", bits)
		}
		into.SetInt(n)
	default:
		n, err := strconv.ParseUint(text, 10, bits)
		if err != nil {
			return fmt.Errorf("it must be a whole number, not negative, of %d bits", bits)
		}
		into.SetUint(n)
	}
	return nil
}

func decodeSlice(raw any, into reflect.Value) error {
	list, ok := raw.([]any)
	if texts, isTexts := raw.([]string); isTexts { // a flag
		ok = true
		for _, text := range texts {
			list = append(list, text)
		}
	}
	if text, isText := raw.(string); isText {
		list, ok = listOf(text, into.Type().Elem())
	}
	if raw == nil {
		ok = true
	}
	if !ok {
		return fmt.Errorf("it must be a list, not %s", kindOf(raw))
	}
	out := reflect.MakeSlice(into.Type(), len(list), len(list))
	for i, item := range list {
		if err := decode(item, out.Index(i)); err != nil {
			return fmt.Errorf("entry %d is %v: %w", i+1, item, err)
		}
	}
	into.Set(out)
	return nil
}

// listOf reads "a,b,c", or YAML where the entries are not simple or brackets say so.
func listOf(text string, elem reflect.Type) ([]any, bool) {
	text = strings.TrimSpace(text)
	simple := elem.Kind() != reflect.Struct && elem.Kind() != reflect.Map && elem.Kind() != reflect.Slice
	if simple && !strings.HasPrefix(text, "[") {
		if text == "" {
			return nil, true
		}
		var out []any
		for s := range strings.SplitSeq(text, ",") {
			out = append(out, strings.TrimSpace(s))
		}
		return out, true
	}
	var out []any
	err := yaml.Unmarshal([]byte(text), &out)
	return out, err == nil
}

func mapOf(raw any) (map[string]any, error) {
	switch m := raw.(type) {
	case nil:
		return nil, nil
	case map[string]any:
		return m, nil
	case string:
		var out map[string]any
		if err := yaml.Unmarshal([]byte(m), &out); err != nil {
			return nil, fmt.Errorf("it must be a map, such as {a: 1}")
		}
		return out, nil
	}
	return nil, fmt.Errorf("it must be a map, not %s", kindOf(raw))
}

func decodeMap(raw any, into reflect.Value) error {
	m, err := mapOf(raw)
	if err != nil {
		return err
	}
	out := reflect.MakeMapWithSize(into.Type(), len(m))
	for k, item := range m {
		key, value := reflect.New(into.Type().Key()).Elem(), reflect.New(into.Type().Elem()).Elem()
		if err := decode(k, key); err != nil {
			return fmt.Errorf("key %q: %w", k, err)
		}
		if err := decode(item, value); err != nil {
			return fmt.Errorf("entry %s is %v: %w", k, item, err)
		}
		out.SetMapIndex(key, value)
	}
	into.Set(out)
	return nil
}

func decodeStruct(raw any, into reflect.Value) error {
	m, err := mapOf(raw)
	if err != nil {
		return err
	}
	at := map[string]int{}
	var known []string
	for i := range into.NumField() {
		if name := tag(into.Type().Field(i)); name != "" {
			at[name], known = i, append(known, name)
		}
	}
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		i, ok := at[k]
		if !ok {
			return fmt.Errorf("key %q is unknown: it must be one of %s%s", k, strings.Join(known, ", "), suggestion(k, known))
		}
		if err := decode(m[k], into.Field(i)); err != nil {
			return fmt.Errorf("%s is %v: %w", k, m[k], err)
		}
	}
	return nil
}

func kindOf(raw any) string {
	switch raw.(type) {
	case map[string]any:
		return "a map"
	case []any:
		return "a list"
	case nil:
		return "nothing"
	}
	return fmt.Sprintf("%v", raw)
}
