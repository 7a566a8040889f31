package scripted

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
)

// decode fills v, a pointer to a struct, from the one JSON document in body. It is stricter than encoding/json: a field that is
// unknown, written in another case or there twice is an error, and each error begins with its line and column.
func decode(body []byte, v any) error {
	s := &strict{Decoder: json.NewDecoder(bytes.NewReader(body))}
	err := s.value(reflect.TypeOf(v).Elem())
	if err == nil {
		if _, err = s.Token(); err == nil {
			err = errors.New("something follows the document")
		} else if errors.Is(err, io.EOF) {
			err = nil
		}
	}
	at := s.InputOffset()
	if e, ok := errors.AsType[*json.SyntaxError](err); ok {
		at = e.Offset
	}
	if err == nil {
		err = json.Unmarshal(body, v)
		if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			at = e.Offset
		}
	}
	if err == nil {
		return nil
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	before := body[:min(at, int64(len(body)))]
	return fmt.Errorf("line %d, column %d: %w", bytes.Count(before, []byte("\n"))+1, len(before)-bytes.LastIndexByte(before, '\n'), err)
}

// strict walks a document beside the type that it is for.
type strict struct{ *json.Decoder }

// value walks over one value. What the type is not prepared for is left to json.Unmarshal to refuse.
func (s *strict) value(t reflect.Type) error {
	isList, isStruct := t.Kind() == reflect.Slice && t != reflect.TypeFor[json.RawMessage](), t.Kind() == reflect.Struct
	if !isList && !isStruct {
		var any json.RawMessage
		return s.Decode(&any)
	}
	token, err := s.Token()
	if err != nil {
		return err
	}
	switch {
	case token == json.Delim('[') && isList:
		for s.More() {
			if err := s.value(t.Elem()); err != nil {
				return err
			}
		}
	case token == json.Delim('{') && isStruct:
		if err := s.fields(t); err != nil {
			return err
		}
	default:
		return fmt.Errorf("%v stands where %s is needed", token, map[bool]string{true: "a list", false: "an object"}[isList])
	}
	_, err = s.Token()
	return err
}

func (s *strict) fields(t reflect.Type) error {
	types := map[string]reflect.Type{}
	var names []string
	for f := range t.Fields() {
		names = append(names, f.Tag.Get("json"))
		types[f.Tag.Get("json")] = f.Type
	}
	seen := map[string]bool{}
	for s.More() {
		token, err := s.Token()
		if err != nil {
			return err
		}
		key := fmt.Sprint(token)
		switch {
		case types[key] == nil:
			return fmt.Errorf("unknown field %q; there are %s", key, strings.Join(names, ", "))
		case seen[key]:
			return fmt.Errorf("field %q is there twice", key)
		}
		seen[key] = true
		if err := s.value(types[key]); err != nil {
			return err
		}
	}
	return nil
}
