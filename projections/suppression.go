package projections

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/belltower/belltower/events"
)

// Suppression is an address that nothing is sent to.
type Suppression struct {
	ID         string    `json:"id"` // a keyed digest of kind and address
	Kind       string    `json:"kind"`
	To         string    `json:"to"` // masked
	Suppressed bool      `json:"suppressed"`
	Reason     string    `json:"reason"`
	Provider   *string   `json:"provider"` // who told it
	Code       *string   `json:"code"`     // the provider's
	Since      time.Time `json:"since"`
	Revision   int64     `json:"revision"`
}

// suppressionRow is a row of suppressions; an address that is released has none.
type suppressionRow struct {
	id, kind, to, reason, provider, code string
	since, revision                      int64
}

func (r *suppressionRow) fields() []any {
	return []any{&r.id, &r.kind, &r.to, &r.reason, &r.provider, &r.code, &r.since, &r.revision}
}

// SuppressionFilter narrows Suppressions; what is empty narrows nothing.
type SuppressionFilter struct {
	Kind     string
	Reason   string
	Provider string
}

// Suppressions lists the addresses that nothing is sent to, by the time since when,
// then id.
func (m *Models) Suppressions(ctx context.Context, f SuppressionFilter, p Page) (List[Suppression], error) {
	const scope = "suppressions"
	after, err := p.after(scope, f)
	if err != nil {
		return List[Suppression]{}, err
	}
	var w where
	w.equal("kind", f.Kind)
	w.equal("reason", f.Reason)
	w.equal("provider", f.Provider)
	if after != nil {
		w.after(m.db, "since", "id", after)
	}
	out := newList[Suppression]()
	err = m.rows(ctx, func(row scanner) error {
		var r suppressionRow
		err := row.Scan(r.fields()...)
		out.Items = append(out.Items, Suppression{
			ID: r.id, Kind: r.kind, To: r.to, Suppressed: true, Reason: r.reason, Provider: textOrNil(r.provider), Code: textOrNil(r.code),
			Since: timeOf(r.since), Revision: r.revision,
		})
		return err
	}, "SELECT "+strings.Join(suppressionsShape.columns, ", ")+" FROM {suppressions}"+w.sql()+" ORDER BY since, id LIMIT ?", w.with(p.fetch())...)
	if err != nil {
		return List[Suppression]{}, fmt.Errorf("list suppressed addresses: %w", err)
	}
	return out.cut(p, scope, f, func(s Suppression) key { return key{s.Since.UnixMicro(), s.ID} }), nil
}

// addressSuppressed keeps since when, where another reason is told of an address
// that is suppressed already.
func (w *writer) addressSuppressed(f fact, e events.AddressSuppressed) error {
	r, err := w.suppressions.get(w, e.SuppressionID)
	if err != nil {
		return err
	}
	if r == nil {
		r = &suppressionRow{id: e.SuppressionID, since: f.at}
		if err := w.suppressions.insert(e.SuppressionID, r); err != nil {
			return err
		}
	}
	r.kind, r.to, r.reason, r.provider, r.code, r.revision = e.Kind, e.To, e.Reason, e.Provider, e.Code, f.Revision
	return nil
}

func (w *writer) addressReleased(e events.AddressReleased) error {
	r, err := w.suppressions.get(w, e.SuppressionID)
	if err == nil && r != nil {
		w.suppressions.delete(e.SuppressionID)
	}
	return err
}
