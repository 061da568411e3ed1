package projections

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// unusedTime is after how long a generation that nobody uses is dropped, by its
// state. Until then other instances have noticed that another one is live.
var unusedTime = map[State]time.Duration{Making: makingTime, Building: 10 * time.Minute, Old: 30 * time.Second}

// look looks whether another generation is to be folded into, and drops those
// that nobody uses any more; others says that there are some besides.
func (m *Models) look(ctx context.Context) (others, another bool, err error) {
	all, now, err := m.database.list(ctx)
	if err != nil {
		return false, false, fmt.Errorf("look for the live generation: %w", err)
	}
	if g, ok := ours(all); !ok || g.Number != m.writer.generation {
		return true, true, nil
	}
	for _, g := range all {
		used, ok := unusedTime[g.State]
		if !ok || g.Number == m.writer.generation || g.Number == m.current.Load() || now.Sub(g.Used) < used {
			continue
		}
		m.log.InfoContext(ctx, "dropping rows that nobody uses any more", "generation", g.Number, "version", g.Version)
		if err := m.database.Drop(ctx, g.Number); err != nil && !errors.Is(err, ErrNoGeneration) {
			return true, false, err
		}
		break
	}
	return len(all) > 1, false, nil
}

// lookAgain is when to look again though there are no facts: soon while there may be something to drop.
func (m *Models) lookAgain(others bool) time.Duration {
	if others {
		return min(lookEvery, m.lookIdle)
	}
	return m.lookIdle
}

// becomeLive swaps the generation that has caught up with the live one, but not
// with one of a newer version that is in use.
func (m *Models) becomeLive(ctx context.Context) error {
	all, now, err := m.database.list(ctx)
	if err != nil {
		return err
	}
	if live, ok := liveOf(all); ok && live.Version > version && now.Sub(live.Used) < unusedTime[Old] {
		return nil
	}
	if err := m.database.Swap(ctx, m.writer.generation); err != nil {
		return err
	}
	m.known.State = Live
	m.log.InfoContext(ctx, "the read models were swapped", "version", version, "generation", m.writer.generation)
	return nil
}
