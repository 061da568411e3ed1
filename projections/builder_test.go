package projections

import (
	"context"

	"github.com/google/uuid"
)

// Resume goes on with a generation of this version that was not finished.
func (d *Database) Resume(ctx context.Context, number int64) (*Builder, error) {
	return d.builder(ctx, number, builderPrefix+uuid.NewString(), false)
}

// Sweep removes the rows of deleted events, so that nothing is left to be compared
// that queries don't show. Models do so by themselves, when nothing else is to be done.
func (b *Builder) Sweep(ctx context.Context) error {
	for ctx.Err() == nil {
		if more, err := b.w.sweep(); err != nil || !more {
			return err
		}
	}
	return ctx.Err()
}
