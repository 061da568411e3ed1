package suites

import (
	"flag"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/bench/internal/bare"
	"github.com/belltower/belltower/bench/internal/lab"
	"github.com/belltower/belltower/bench/internal/measure"
)

func TestMain(m *testing.M) {
	bare.ServeIfAsked()
	os.Exit(m.Run())
}

// built is the service, which all tests share.
var built struct {
	once sync.Once
	lab  *lab.Lab
	path string
	err  error
}

func binary(t *testing.T) string {
	built.once.Do(func() {
		if built.lab, built.err = lab.New("", t.Logf); built.err == nil {
			built.path, built.err = built.lab.Belltower(t.Context())
		}
	})
	require.NoError(t, built.err)
	return built.path
}

// TestShortForms runs every suite in its short form. Its numbers mean nothing;
// what is held is that each contender does its work and gives its figures.
func TestShortForms(t *testing.T) {
	t.Cleanup(func() {
		if built.lab != nil {
			require.NoError(t, built.lab.Close())
		}
	})
	for _, s := range All {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel() // most of the time they wait for due times
			l, err := lab.New(binary(t), t.Logf)
			require.NoError(t, err)
			defer func() { require.NoError(t, l.Close()) }()
			flags := flag.NewFlagSet(s.Name, flag.PanicOnError)
			z := NewSizes(flags)
			begin := s.Sizes(z)
			require.NoError(t, z.Shorten())
			require.NoError(t, z.Check())
			r, err := Run(t.Context(), l, s, z, begin, 1)
			require.NoError(t, err)
			var table strings.Builder
			require.NoError(t, r.Table(&table))
			t.Log(table.String())

			require.NotEmpty(t, r.Rows)
			missing := len(r.LeftOut) > 0
			for _, g := range r.Goals {
				require.True(t, g.Got != nil || missing, "nothing was measured for: %s", g)
			}
			for _, row := range r.Rows {
				require.False(t, strings.HasPrefix(row.Figure, "early") && row.Contender == ourName && row.Max > 0, "%v", row)
			}
			if missing {
				t.Skip(strings.Join(r.LeftOut, "; "))
			}
		})
	}
}

func TestSizesThatAreGivenStay(t *testing.T) {
	flags := flag.NewFlagSet("", flag.ContinueOnError)
	z := NewSizes(flags)
	events, each := z.count("events", 1000, 10, ""), z.span("each", time.Minute, time.Second, "")
	require.NoError(t, flags.Parse([]string{"-events", "77"}))
	require.NoError(t, z.Shorten())
	require.Equal(t, 77, *events)
	require.Equal(t, time.Second, *each)
	require.Equal(t, map[string]string{"events": "77", "each": "1s"}, z.given())
	require.NoError(t, flags.Parse([]string{"-events", "0"}))
	require.ErrorContains(t, z.Check(), "-events: must be at least 1")
	require.NoError(t, flags.Parse([]string{"-events", "1", "-each", "-1s"}))
	require.ErrorContains(t, z.Check(), "-each")
}

func TestFind(t *testing.T) {
	for _, s := range All {
		found, err := Find(s.Name)
		require.NoError(t, err)
		require.Equal(t, s.About, found.About)
	}
	_, err := Find("speed")
	require.ErrorContains(t, err, `"speed"`)
}

func TestLateAndEarly(t *testing.T) {
	got := map[string]float64{}
	for _, f := range lateFigures([]time.Duration{3 * time.Millisecond, -2 * time.Millisecond, time.Millisecond, -time.Millisecond}) {
		got[f.Name] = f.Value
	}
	require.Equal(t, map[string]float64{"late, median": -1, "late, p99": 3, "late, the last": 3, "early": 2, "early, the first": 2}, got)
}

func TestShape(t *testing.T) {
	for _, n := range []int{1, 7, 200, 100_000, 1_000_000} {
		events, participants, reminders := shape(n)
		require.Positive(t, events*participants*reminders)
		require.LessOrEqual(t, events*participants*reminders, n)
	}
	events, participants, reminders := shape(100_000)
	require.Equal(t, []int{20, 250, 20}, []int{events, participants, reminders})
}

func TestAPeerThatIsMissingIsSaid(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	l, err := lab.New("", t.Logf)
	require.NoError(t, err)
	defer func() { require.NoError(t, l.Close()) }()
	_, _, err = l.Redis(t.Context(), "always")
	require.ErrorIs(t, err, measure.ErrMissing)
	require.ErrorContains(t, err, "install redis-server")
}
