package torture

import (
	"flag"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var (
	size       = flag.String("size", "small", "how much is tried: small, ci or long")
	givenSeed  = flag.Uint64("seed", 0, "seed of what is left to chance; 0: a new one")
	binaryPath = flag.String("binary", "", "the service to torture; empty: it is built")
)

func TestMain(m *testing.M) {
	flag.Parse()
	code := m.Run()
	if built.dir != "" {
		_ = os.RemoveAll(built.dir)
	}
	os.Exit(code)
}

// onlySized is called by suites that are run only by who asks for a size, for the
// reason given.
func onlySized(t *testing.T, reason string) {
	t.Helper()
	asked := false
	flag.Visit(func(f *flag.Flag) { asked = asked || f == flag.Lookup("size") })
	if !asked {
		t.Skipf("%s, so it is run with a size given: go test ./internal/torture -run '^%s$' -size=small", reason, t.Name())
	}
}

// beside lets a suite run beside another one: it waits for much of its time, and
// what it demands holds on a machine that has much else to do.
func beside(t *testing.T) { t.Parallel() }

// measures is why suites need a machine with nothing else to do.
const measures = "it compares measurements"

// sized chooses by -size.
func sized(t *testing.T, small, ci, long int) int {
	t.Helper()
	switch *size {
	case "small":
		return small
	case "ci":
		return ci
	case "long":
		return long
	}
	require.FailNow(t, "-size is small, ci or long", *size)
	return 0
}

// seeded gives what a run leaves to chance and says how to see it again.
func seeded(t *testing.T) uint64 {
	t.Helper()
	seed := *givenSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("to see it again: go test ./internal/torture -run '^%s$' -size=%s -seed=%d", t.Name(), *size, seed)
	return seed
}

// budget says at the end how long a suite took of the minutes that it has with
// -size=ci on two cores. A slower machine is no fault.
func budget(t *testing.T, ci time.Duration) {
	t.Helper()
	began := time.Now()
	t.Cleanup(func() {
		t.Logf("took %s; with -size=ci it has %s", time.Since(began).Round(time.Second), ci)
	})
}
