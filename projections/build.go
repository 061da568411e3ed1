package projections

import "github.com/belltower/belltower/eventstore"

// BuildProgress is how far a build of the rows has come.
type BuildProgress struct {
	Facts    int64               // that are in the rows
	Position eventstore.Position // up to here
	End      eventstore.Position // of the log, as far as it is to be read
}

// Part is how much of the log is in the rows, from 0 to 1.
func (p BuildProgress) Part() float64 {
	if p.End.Commit == 0 {
		return 1
	}
	return min(float64(p.Position.Commit)/float64(p.End.Commit), 1)
}
