package terminal

import (
	"bytes"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestLinesStayWhole(t *testing.T) {
	var out bytes.Buffer
	to := &Lines{Out: &out}
	var writing sync.WaitGroup
	for range 8 {
		writing.Go(func() {
			for range 100 {
				to.Say("%s-%s\n", "one", "line")
			}
		})
	}
	writing.Wait()
	require.Equal(t, strings.Repeat("one-line\n", 800), out.String())
}

func TestNoTerminalHasNoColumns(t *testing.T) {
	require.Zero(t, Columns(io.Discard))
	require.Zero(t, Columns(&bytes.Buffer{}))
}

func TestProgressElsewhereIsALineEachTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		stop := Progress(&Lines{Out: &out}, 0, time.Second, func() string { return "so far" })
		time.Sleep(3*time.Second + time.Millisecond)
		stop()
		stop() // a second time does nothing
		require.Equal(t, "so far\nso far\nso far\n", out.String())
	})
}

func TestProgressOfShortWorkSaysNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, columns := range []int{0, 80} {
			var out bytes.Buffer
			stop := Progress(&out, columns, time.Second, func() string { return "so far" })
			time.Sleep(time.Second - time.Millisecond)
			stop()
			require.Empty(t, out.String())
		}
	})
}

func TestProgressOnATerminalIsOneLineThatIsWiped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		stop := Progress(&out, 80, time.Second, func() string { return "so far" })
		time.Sleep(time.Second + 300*time.Millisecond)
		stop()
		require.Equal(t, "\r\x1b[Kso far\r\x1b[Kso far\r\x1b[K", out.String())
	})
}

func TestMeter(t *testing.T) {
	began := time.Date(2031, 5, 6, 7, 0, 0, 0, time.UTC)
	m := NewMeter("facts", began, 0, 0)
	require.Equal(t, " 10 %  1000 facts  500/s  18s left", m.Line(began.Add(2*time.Second), 1000, 0.1, 0))
	require.Equal(t, "[#########################...............]   64 %  6400 facts  1600/s  3s left", m.Line(began.Add(4*time.Second), 6400, 0.64, 120))
	require.Equal(t, "100 %  10000 facts  2000/s", m.Line(began.Add(5*time.Second), 10_000, 1, 0))
}

func TestMeterGoesByTheLastSeconds(t *testing.T) {
	began := time.Date(2031, 5, 6, 7, 0, 0, 0, time.UTC)
	m := NewMeter("facts", began, 0, 0)
	for second := 1; second <= 100; second++ { // fast at first
		m.Line(began.Add(time.Duration(second)*time.Second), int64(second)*1000, float64(second)/200, 0)
	}
	var said string
	for second := 1; second <= 20; second++ { // and then a tenth
		said = m.Line(began.Add(time.Duration(100+second)*time.Second), 100_000+int64(second)*100, 0.5+float64(second)/2000, 0)
	}
	require.Contains(t, said, "  100/s  16m20s left")
}

// A line never breaks, however narrow the terminal, and its bar is as long as what it says.
func TestMeterFits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		began := time.Date(2031, 5, 6, 7, 0, 0, 0, time.UTC)
		m := NewMeter("facts", began, rapid.Int64Range(0, 1e12).Draw(t, "first"), 0)
		columns := rapid.IntRange(1, 300).Draw(t, "columns")
		for i, n := 0, rapid.IntRange(1, 30).Draw(t, "lines"); i < n; i++ {
			began = began.Add(time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "later")))
			line := m.Line(began, rapid.Int64Range(0, 1e15).Draw(t, "count"), rapid.Float64Range(-1, 2).Draw(t, "part"), columns)
			require.Less(t, utf8.RuneCountInString(line), columns)
			require.NotContains(t, line, "\n")
		}
	})
}
