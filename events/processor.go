package events

import "time"

// ProcessorStarted lets notifications be sent and sets how often the net under the clock is drawn.
type ProcessorStarted struct {
	CheckIntervalSeconds int `json:"check_interval_seconds"`
}

// ProcessorStopped ends sending until the next start; planning goes on.
type ProcessorStopped struct{}

// NotificationsCleared drops from every read model the notifications whose
// state was final before Before.
type NotificationsCleared struct {
	Before time.Time `json:"before"`
}

func (ProcessorStarted) Name() string     { return "ProcessorStarted" }
func (ProcessorStopped) Name() string     { return "ProcessorStopped" }
func (NotificationsCleared) Name() string { return "NotificationsCleared" }
