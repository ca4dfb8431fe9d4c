package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/spf13/cobra"
)

func newHealthcheck(a *app) *cobra.Command {
	var url string
	var ready bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use: "healthcheck", Short: "Ask a running process whether it is alive: 0 or 1, for containers", Args: noArgs,
		Long:    "Asks /livez, or with --ready /readyz, of the process on this machine: the admin port where admin.port is set, else the API's.",
		Example: "tapewatch healthcheck --url http://127.0.0.1:8080/readyz",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.load(cmd); err != nil {
				return err
			}
			if url == "" {
				path := "/livez"
				if ready {
					path = "/readyz"
				}
				host := a.probeHost()
				url = "http://" + host + path
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			return getHealth(ctx, url)
		},
	}
	cmd.Flags().StringVar(&url, "url", "", "ask this address instead")
	cmd.Flags().BoolVar(&ready, "ready", false, "ask /readyz: assigned, restored, sinks well")
	cmd.Flags().DurationVar(&timeout, "timeout", 3*time.Second, "how long the answer may take")
	return cmd
}

// probeHost is where this machine's process listens, as the settings say.
func (a *app) probeHost() string {
	if a.settings.Admin.Port > 0 {
		return net.JoinHostPort(onLoopback(a.settings.Admin.Host), strconv.Itoa(a.settings.Admin.Port))
	}
	return net.JoinHostPort(onLoopback(a.settings.API.Host), strconv.Itoa(a.settings.API.Port))
}

// onLoopback replaces "all addresses" by this machine's own.
func onLoopback(host string) string {
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		return "127.0.0.1"
	}
	return host
}

func getHealth(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return &usageError{fmt.Errorf("asking %s: %w", url, err)}
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("asking for health: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return fmt.Errorf("reading the answer of %s: %w", url, err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answered %s: %s", url, resp.Status, body)
	}
	return nil
}
