package main

import (
	"io"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
)

// metric is one of ours as it is declared, whether it has a value yet or not.
type metric struct {
	help   string
	labels []string // that vary
}

var declared = regexp.MustCompile(`^Desc{fqName: "(belltower_\w+)", help: "(.*)", unit: .* variableLabels: {(.*)}}$`)

// described gives our metrics by name.
func described(t *testing.T, r *prometheus.Registry) map[string]metric {
	t.Helper()
	descs, all := make(chan *prometheus.Desc), map[string]metric{}
	go func() {
		r.Describe(descs)
		close(descs)
	}()
	for desc := range descs {
		if m := declared.FindStringSubmatch(desc.String()); m != nil {
			all[m[1]] = metric{m[2], strings.FieldsFunc(m[3], func(r rune) bool { return r == ',' })}
		}
	}
	require.Greater(t, len(all), 20)
	return all
}

// What is asked of the figures: they are named as Prometheus advises, the page on
// operations has each of them and no other, and the log's writes are in them.
func TestMetrics(t *testing.T) {
	v, err := start(t.Context(), settings{listen: "127.0.0.1:0", data: t.TempDir(), store: embeddedStore, readModels: "sqlite"}, io.Discard, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	defer func() { require.NoError(t, v.stop()) }()
	defer http.DefaultClient.CloseIdleConnections()
	client := demoClient{url: v.url, token: v.token}
	made, err := client.ask(t.Context(), http.MethodPost, "/v1/events", "", anEvent(far, nil))
	require.NoError(t, err)
	require.Equal(t, http.StatusCreated, made.status, made.body)

	problems, err := testutil.GatherAndLint(v.registry)
	require.NoError(t, err)
	require.Empty(t, problems)

	page, err := os.ReadFile("../../docs/operations.md")
	require.NoError(t, err)
	_, table, _ := strings.Cut(string(page), "\n| metric | meaning |\n")
	table, _, _ = strings.Cut(table, "\n\n")
	named := map[string]bool{}
	for _, name := range regexp.MustCompile("`(belltower_[a-z_]+)`").FindAllStringSubmatch(table, -1) {
		named[name[1]] = true
	}
	require.Equal(t, slices.Sorted(maps.Keys(described(t, v.registry))), slices.Sorted(maps.Keys(named)), "docs/operations.md")

	gathered, err := v.registry.Gather()
	require.NoError(t, err)
	samples := map[string]uint64{}
	for _, family := range gathered {
		if h := family.GetMetric()[0].GetHistogram(); h != nil {
			samples[family.GetName()] = h.GetSampleCount()
		}
	}
	require.Positive(t, samples["belltower_append_seconds"])
	require.Positive(t, samples["belltower_log_sync_seconds"])
	require.Equal(t, samples["belltower_log_sync_seconds"], samples["belltower_log_sync_facts"])
}
