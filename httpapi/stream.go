package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/belltower/belltower/commands"
	"github.com/belltower/belltower/events"
	"github.com/belltower/belltower/eventstore"
)

const (
	streamPath = "/v1/stream"
	// heartbeat is how often a comment is sent, so that nothing on the way
	// takes the silence for the end.
	heartbeat = 15 * time.Second
	// slowest is how long a reader may take for what is sent at once.
	slowest = 10 * time.Second
)

// closer tells all streams that the server is closing.
type closer struct {
	once sync.Once
	done chan struct{}
}

func newCloser() *closer { return &closer{done: make(chan struct{})} }

func (s *server) endStreams() { s.closing.once.Do(func() { close(s.closing.done) }) }

// streamFilter is what a reader asks for.
type streamFilter struct {
	eventID string
	types   map[string]bool
}

func (f streamFilter) wants(r eventstore.Record) bool {
	if noted(r) || !domain(r.Stream) || (len(f.types) > 0 && !f.types[r.Type]) {
		return false
	}
	if f.eventID == "" {
		return true
	}
	var about struct {
		EventID string `json:"event_id"`
	}
	// Every fact about an event says so, and not in its sealed part.
	return json.Unmarshal(r.Data, &about) == nil && about.EventID == f.eventID
}

// domain tells whether a stream holds domain events, and not what instances
// tell each other.
func domain(stream string) bool {
	return strings.HasPrefix(stream, "event-") || strings.HasPrefix(stream, "notification-") || stream == commands.ProcessorStream
}

func (s *server) streamQuery(c *call) (f streamFilter, err error) {
	q := c.query()
	f.eventID = q.uuid("event_id")
	q.known["type"] = true
	f.types = map[string]bool{}
	for _, given := range q.values["type"] {
		for name := range strings.SplitSeq(given, ",") {
			if !knownType(name) {
				q.refuse("type", "bad_value", "must be the types of domain events")
				break
			}
			f.types[name] = true
		}
	}
	return f, q.end()
}

// knownType asks the codec, which is the one list of types.
func knownType(name string) bool {
	_, err := events.Decode(noKeys{}, uuid.Nil, name, []byte("{}"))
	return !errors.Is(err, events.ErrNewerFact)
}

// noKeys opens nothing.
type noKeys struct{}

func (noKeys) Seal(int64, []byte, []byte) ([]byte, error) { return nil, errors.New("httpapi: no keys") }

func (noKeys) Open(int64, []byte, []byte) ([]byte, bool, error) { return nil, false, nil }

// getStream sends what happens as it happens. The log itself is the buffer: a
// reader who is slow is behind in it, and holds up nobody.
func (s *server) getStream(c *call) (*answer, error) {
	filter, err := s.streamQuery(c)
	if err != nil {
		return nil, err
	}
	after, err := s.streamStart(c)
	if err != nil {
		return nil, err
	}
	header := c.w.Header()
	header.Set("Content-Type", "text/event-stream")
	header.Set("Cache-Control", "no-store")
	header.Set("X-Accel-Buffering", "no") // nginx would keep it back
	c.patient()
	if c.Method == http.MethodHead {
		c.w.WriteHeader(http.StatusOK)
		return nil, nil
	}
	ctx, cancel := context.WithCancel(c.Context())
	sub, err := s.o.Store.Subscribe(ctx, after)
	if err != nil {
		cancel()
		return nil, err
	}
	batches := make(chan eventstore.Batch)
	var pump sync.WaitGroup
	pump.Go(func() {
		defer close(batches)
		for {
			b, err := sub.Next(ctx)
			if err != nil {
				return
			}
			select {
			case batches <- b:
			case <-ctx.Done():
				return
			}
		}
	})
	s.metrics.streams.Inc()
	defer func() {
		cancel()
		if err := sub.Close(); err != nil {
			s.log.ErrorContext(c.Context(), "stream not closed", "request_id", c.id, "error", err)
		}
		pump.Wait()
		s.metrics.streams.Dec()
	}()
	s.send(c, filter, batches)
	return nil, nil
}

// streamStart is the position behind which a reader begins.
func (s *server) streamStart(c *call) (eventstore.Position, error) {
	given := c.Header.Values("Last-Event-ID")
	switch {
	case len(given) > 1:
		return eventstore.Position{}, errBadLastID
	case len(given) == 1 && given[0] != "": // browsers send none as an empty one
		p, err := eventstore.ParsePosition(given[0])
		if err != nil {
			return p, errBadLastID
		}
		end, err := s.o.Store.End(c.Context())
		if err == nil && end.Before(p) {
			// It is of another log than this, perhaps of the one before a backup
			// was restored: what comes up to it would be a gap that nobody sees.
			return p, errFutureLastID
		}
		return p, err
	}
	return s.o.Store.End(c.Context())
}

// send writes batches until the reader, the server or the log ends.
func (s *server) send(c *call, filter streamFilter, batches <-chan eventstore.Batch) {
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	// The first comment makes the headers go at once.
	if !flush(c, []byte(": connected\n\n")) {
		return
	}
	for {
		select {
		case b, open := <-batches:
			if !open || !s.sendBatch(c, filter, b) {
				return
			}
		case <-beat.C:
			if !flush(c, []byte(": still here\n\n")) {
				return
			}
		case <-s.closing.done:
			return
		case <-c.Context().Done():
			return
		}
	}
}

func (s *server) sendBatch(c *call, filter streamFilter, b eventstore.Batch) bool {
	var out bytes.Buffer
	for _, r := range b.Records {
		if !filter.wants(r) {
			continue
		}
		entry, err := s.o.Commands.Open(r)
		if err == nil {
			err = writeEvent(&out, entry)
		}
		if err != nil {
			// Going on would leave a gap that nobody sees.
			s.log.ErrorContext(c.Context(), "stream ended", "request_id", c.id, "position", r.Position.String(), "error", err)
			flush(c, out.Bytes())
			return false
		}
		if out.Len() > 64<<10 {
			if !flush(c, out.Bytes()) {
				return false
			}
			out.Reset()
		}
	}
	return out.Len() == 0 || flush(c, out.Bytes())
}

// flush sends data, and tells whether the reader took it in time.
func flush(c *call, data []byte) bool {
	control := c.control()
	// Where there are no deadlines, as in tests, the reader is trusted.
	_ = control.SetWriteDeadline(time.Now().Add(slowest))
	if _, err := c.w.Write(data); err != nil {
		return false
	}
	return control.Flush() == nil
}

// committed is a domain event as it is streamed.
type committed struct {
	Type       string          `json:"type"`
	Stream     string          `json:"stream"`
	Revision   int64           `json:"revision"`
	OccurredAt time.Time       `json:"occurred_at"`
	Actor      string          `json:"actor"`
	Data       any             `json:"data"`
	Metadata   events.Metadata `json:"metadata"`
}

func writeEvent(out *bytes.Buffer, e commands.Entry) error {
	e.Metadata.Request = nil // digests are nobody's business
	data, err := json.Marshal(committed{
		e.Record.Type, e.Record.Stream, e.Record.Revision, e.Metadata.OccurredAt, e.Metadata.Actor, e.Fact, e.Metadata,
	})
	if err != nil {
		return fmt.Errorf("encode %s: %w", e.Record.Type, err)
	}
	// JSON has no line breaks, and neither has a position or a type.
	fmt.Fprintf(out, "id: %s\nevent: %s\ndata: %s\n\n", e.Record.Position, e.Record.Type, data)
	return nil
}
