package esdbserver

import (
	"regexp"
	"slices"
	"strings"

	api "github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/belltower/belltower/eventstore"
)

// filter lets some records through; the zero filter lets all.
type filter struct {
	of       func(eventstore.Record) string // nil: nothing is filtered
	prefixes []string
	regex    *regexp.Regexp
	interval int // after so many records a checkpoint is told
}

// defaultWindow is how many records a filter looks at, at most, before it says
// how far it has come, where the client doesn't say.
const defaultWindow = 32

func filterOf(o *api.ReadReq_Options_FilterOptions) (filter, error) {
	if o == nil {
		return filter{}, nil
	}
	f := filter{of: func(r eventstore.Record) string { return r.Stream }}
	expression := o.GetStreamIdentifier()
	if o.GetEventType() != nil {
		f.of, expression = func(r eventstore.Record) string { return r.Type }, o.GetEventType()
	}
	f.prefixes = expression.GetPrefix()
	if expression.GetRegex() != "" {
		var err error
		if f.regex, err = regexp.Compile(expression.GetRegex()); err != nil {
			return filter{}, status.Errorf(codes.InvalidArgument, "the filter is no regular expression that this server takes: %v", err)
		}
	}
	if len(f.prefixes) == 0 && f.regex == nil {
		return filter{}, status.Error(codes.InvalidArgument, "a filter needs prefixes or a regular expression")
	}
	window := defaultWindow
	if o.GetMax() > 0 {
		window = int(o.GetMax())
	}
	f.interval = window * max(1, int(o.GetCheckpointIntervalMultiplier()))
	return f, nil
}

func (f filter) passes(r eventstore.Record) bool {
	if f.of == nil {
		return true
	}
	s := f.of(r)
	if f.regex != nil {
		return f.regex.MatchString(s)
	}
	return slices.ContainsFunc(f.prefixes, func(p string) bool { return strings.HasPrefix(s, p) })
}
