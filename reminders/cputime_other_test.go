//go:build !unix

package reminders

import "time"

// processorTime is not told here.
func processorTime() time.Duration { return 0 }
