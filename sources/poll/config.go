package poll

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Config is what all polling sources share.
type Config struct {
	UserAgent  string        `koanf:"user_agent" doc:"User-Agent of every request. SEC EDGAR requires a name and a mail address to write to, and refuses requests without."`
	Timeout    time.Duration `koanf:"timeout" doc:"Longest duration of one request, its body included."`
	Attempts   int           `koanf:"attempts" doc:"Tries of one request before its job waits for its next turn."`
	BackoffMax time.Duration `koanf:"backoff_max" doc:"Longest wait between two tries; a Retry-After beyond it ends the job's turn, and is kept."`
	MaxBodyMB  int           `koanf:"max_body_mb" doc:"Largest answer that is read, MiB."`
	Capture    string        `koanf:"capture" doc:"Folder to record answers in; empty records nothing."`
	Remember   bool          `koanf:"remember" doc:"Whether a restart goes on where the run before ended (topic state.sources); without it every start publishes anew what the services have."`
}

// Defaults fit public services.
func Defaults() Config {
	return Config{
		UserAgent: "tapewatch/1 (+https://github.com/tapewatch/tapewatch)", Timeout: 30 * time.Second, Attempts: 3,
		BackoffMax: time.Minute, MaxBodyMB: 64, Remember: true,
	}
}

// Validate checks the settings.
func (c Config) Validate() error {
	switch {
	case c.UserAgent == "" || strings.ContainsAny(c.UserAgent, "\r\n"):
		return errors.New("poll.user_agent must be one line of text: services refuse requests without it")
	case c.Timeout < time.Second || c.Timeout > 10*time.Minute:
		return fmt.Errorf("poll.timeout is %v: it must lie between 1s and 10m", c.Timeout)
	case c.Attempts < 1 || c.Attempts > 10:
		return fmt.Errorf("poll.attempts is %d: it must lie between 1 and 10", c.Attempts)
	case c.BackoffMax < 0 || c.BackoffMax > time.Hour:
		return fmt.Errorf("poll.backoff_max is %v: it must lie between 0 and 1h", c.BackoffMax)
	case c.MaxBodyMB < 1 || c.MaxBodyMB > 1024:
		return fmt.Errorf("poll.max_body_mb is %d: it must lie between 1 and 1024", c.MaxBodyMB)
	}
	return nil
}

// Interval checks how often a job is done: at least a second, so that a typing error does not hammer a service.
func Interval(setting string, d time.Duration) error {
	if d < time.Second || d > 30*24*time.Hour {
		return fmt.Errorf("%s is %v: it must lie between 1s and 720h", setting, d)
	}
	return nil
}
