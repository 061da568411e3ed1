package aggregates

import (
	"bytes"
	"encoding/json"
)

// Patch is a field of a JSON merge patch (RFC 7396): absent, null or a value.
type Patch[T any] struct {
	Given bool
	Null  bool
	Value T
}

// UnmarshalJSON notes that the field was given.
func (p *Patch[T]) UnmarshalJSON(data []byte) error {
	*p = Patch[T]{Given: true}
	if bytes.Equal(data, []byte("null")) {
		p.Null = true
		return nil
	}
	return json.Unmarshal(data, &p.Value)
}
