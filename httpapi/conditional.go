package httpapi

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/belltower/belltower/commands"
)

func etag(revision int64) string { return `"` + strconv.FormatInt(revision, 10) + `"` }

// ifMatch reads If-Match; nil where there is none. Tags that this API never
// made, weak ones too, match nothing.
func ifMatch(r *http.Request) (*commands.Match, error) {
	given := r.Header.Values("If-Match")
	if len(given) == 0 {
		return nil, nil
	}
	list := strings.Join(given, ",")
	if strings.Trim(list, " \t") == "*" {
		return &commands.Match{Any: true}, nil
	}
	tags, ok := entityTags(list)
	if !ok {
		return nil, errBadMatch
	}
	match := &commands.Match{}
	for _, tag := range tags {
		if revision, ok := revisionOf(tag.opaque); ok && !tag.weak {
			match.Revisions = append(match.Revisions, revision)
		}
	}
	return match, nil
}

// noneMatch tells whether If-None-Match names the revision, so that the client
// has what it asks for. One that can't be read names nothing.
func noneMatch(r *http.Request, revision int64) bool {
	list := strings.Join(r.Header.Values("If-None-Match"), ",")
	if strings.Trim(list, " \t") == "*" {
		return true
	}
	tags, _ := entityTags(list)
	for _, tag := range tags {
		if named, ok := revisionOf(tag.opaque); ok && named == revision {
			return true
		}
	}
	return false
}

type entityTag struct {
	opaque string
	weak   bool
}

// entityTags reads a list of entity tags as RFC 9110 has it, at least one.
func entityTags(list string) (tags []entityTag, ok bool) {
	for {
		list = strings.TrimLeft(list, " \t,")
		if list == "" {
			return tags, len(tags) > 0
		}
		var tag entityTag
		list, tag.weak = strings.CutPrefix(list, "W/")
		if !strings.HasPrefix(list, `"`) {
			return nil, false
		}
		end := strings.IndexByte(list[1:], '"')
		if end < 0 {
			return nil, false
		}
		tag.opaque, list = list[1:1+end], list[2+end:]
		if rest := strings.TrimLeft(list, " \t"); rest != "" && rest[0] != ',' {
			return nil, false
		}
		tags = append(tags, tag)
	}
}

// revisionOf reads what stands in a tag that etag made.
func revisionOf(opaque string) (int64, bool) {
	revision, err := strconv.ParseInt(opaque, 10, 64)
	return revision, err == nil && revision >= 0 && strconv.FormatInt(revision, 10) == opaque
}
