package client

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"net/http"
	"net/url"
	"strconv"
)

// pageSize is the most that the service gives at once.
const pageSize = 200

// List gives the items of a list, page by page, at most limit of them; 0 is all.
// It ends with the first error.
func (c *Client) List(ctx context.Context, path string, query url.Values, limit int) iter.Seq2[json.RawMessage, error] {
	return func(yield func(json.RawMessage, error) bool) {
		query := maps.Clone(query)
		if query == nil {
			query = url.Values{}
		}
		for left := limit; ; {
			size := pageSize
			if limit > 0 {
				size = min(size, left)
			}
			query.Set("limit", strconv.Itoa(size))
			reply, err := c.Do(ctx, Request{Method: http.MethodGet, Path: path, Query: query})
			if err != nil {
				yield(nil, err)
				return
			}
			var page struct {
				Items      []json.RawMessage `json:"items"`
				NextCursor string            `json:"next_cursor"`
			}
			if err := json.Unmarshal(reply.Body, &page); err != nil {
				yield(nil, fmt.Errorf("read the list of %s: %w", path, err))
				return
			}
			for _, item := range page.Items {
				if !yield(item, nil) {
					return
				}
			}
			left -= len(page.Items)
			if page.NextCursor == "" || (limit > 0 && left <= 0) {
				return
			}
			query.Set("cursor", page.NextCursor)
		}
	}
}
