// Package deploytest checks the deployment files without a Docker engine.
package deploytest

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

const (
	composeFile    = "../../docker-compose.yml"
	dockerFile     = "../Dockerfile"
	prometheusFile = "../../configs/prometheus/prometheus.yml"
)

// load reads the compose file as docker compose does: schema, anchors, variables, consistency of references.
func load(t *testing.T, environment ...string) *types.Project {
	t.Helper()
	options, err := cli.NewProjectOptions([]string{composeFile}, cli.WithProfiles([]string{"*"}), cli.WithEnv(environment))
	if err != nil {
		t.Fatal(err)
	}
	project, err := options.LoadProject(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return project
}

func TestEveryPartOfThePipelineIsAService(t *testing.T) {
	project := load(t)
	want := map[string]string{
		"topics": "topics apply", "ingest": "ingest simulator -s simulator.backfill=1h", "bars": "stage bars", "baskets": "stage baskets", "crossquotes": "stage crossquotes", "scopes": "stage scopes", "arbitrage": "detect arbitrage", "incidents": "detect incidents",
		"price-anomaly": "detect price_anomaly", "unusual-volume": "detect unusual_volume",
		"earnings-anomaly": "detect earnings_anomaly", "funding-rate": "detect funding_rate",
		"liquidity-drop": "detect liquidity_drop", "correlation-breakdown": "detect correlation_breakdown", "exchange-outage": "detect exchange_outage", "whale-movement": "detect whale_movement",
		"sink-postgres": "sink postgres", "sink-redis": "sink redis", "serve": "serve",
	}
	got := map[string]string{}
	for name, service := range project.Services {
		if service.Image == "tapewatch:latest" {
			got[name] = strings.Join(service.Command, " ")
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("commands of the services (-want +got):\n%s", diff)
	}
}

func TestServicesAreChecked(t *testing.T) {
	for name, service := range load(t).Services {
		if name == "topics" || name == "kafka-ui" {
			continue // one ends by itself, the other's image has no client to check it with
		}
		if service.HealthCheck == nil || len(service.HealthCheck.Test) == 0 {
			t.Errorf("%s has no health check, so nothing can wait for it", name)
		}
	}
}

func TestServicesWaitForWhatTheyNeed(t *testing.T) {
	project := load(t)
	for name, service := range project.Services {
		if service.Image != "tapewatch:latest" || name == "topics" {
			continue
		}
		if got := service.DependsOn["topics"].Condition; got != types.ServiceConditionCompletedSuccessfully {
			t.Errorf("%s starts when topics is %q, so it may meet topics that are not there yet", name, got)
		}
		for _, server := range []string{"postgres", "redis"} {
			uses := slices.ContainsFunc(slices.Collect(maps.Values(service.Environment)), func(value *string) bool {
				return value != nil && strings.Contains(*value, server+":")
			})
			if uses && service.DependsOn[server].Condition != types.ServiceConditionHealthy {
				t.Errorf("%s uses %s and does not wait for it", name, server)
			}
		}
	}
}

func TestPortsAreOnLoopbackOnly(t *testing.T) {
	taken := map[string]string{}
	for name, service := range load(t).Services {
		for _, port := range service.Ports {
			if port.HostIP != "127.0.0.1" {
				t.Errorf("%s publishes port %s on %q, want 127.0.0.1: nothing here asks for a password", name, port.Published, port.HostIP)
			}
			if other := taken[port.Published]; other != "" {
				t.Errorf("%s and %s both publish port %s", name, other, port.Published)
			}
			taken[port.Published] = name
		}
	}
}

func TestTapewatchRunsWithoutRights(t *testing.T) {
	for name, service := range load(t).Services {
		if service.Image != "tapewatch:latest" {
			continue
		}
		if !service.ReadOnly || !slices.Contains(service.CapDrop, "ALL") {
			t.Errorf("%s: read_only %v, cap_drop %v; want a read-only container without capabilities", name, service.ReadOnly, service.CapDrop)
		}
	}
}

// One node with transactions needs all of these; each missing one fails only at run time.
func TestOneKafkaNodeCanServeTransactions(t *testing.T) {
	environment := load(t).Services["kafka"].Environment
	for name, want := range map[string]string{
		"KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR":         "1",
		"KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
		"KAFKA_TRANSACTION_STATE_LOG_MIN_ISR":            "1",
		"KAFKA_AUTO_CREATE_TOPICS_ENABLE":                "false",
		"KAFKA_CONTROLLER_QUORUM_VOTERS":                 "1@kafka:29093",
	} {
		if got := environment[name]; got == nil || *got != want {
			t.Errorf("kafka: %s = %v, want %s", name, got, want)
		}
	}
	if id := environment["CLUSTER_ID"]; id == nil || len(*id) != 22 {
		t.Errorf("kafka: CLUSTER_ID must be 16 bytes in base64, 22 characters")
	}
}

func TestThePasswordComesFromTheEnvironment(t *testing.T) {
	project := load(t, "POSTGRES_PASSWORD=other")
	if got := project.Services["postgres"].Environment["POSTGRES_PASSWORD"]; *got != "other" {
		t.Errorf("postgres has the password %q, want %q", *got, "other")
	}
	if got := project.Services["sink-postgres"].Environment["TAPEWATCH_SINKS__POSTGRES__URL"]; !strings.Contains(*got, ":other@") {
		t.Errorf("the sink connects with %q, want the same password", *got)
	}
}

func TestPrometheusScrapesEveryLongRunningService(t *testing.T) {
	content, err := os.ReadFile(prometheusFile)
	if err != nil {
		t.Fatal(err)
	}
	var config struct {
		Scrape []struct {
			Static []struct {
				Targets []string `yaml:"targets"`
			} `yaml:"static_configs"`
		} `yaml:"scrape_configs"`
	}
	if err := yaml.Unmarshal(content, &config); err != nil {
		t.Fatal(err)
	}
	var got, want []string
	for _, job := range config.Scrape {
		for _, group := range job.Static {
			got = append(got, group.Targets...)
		}
	}
	for name, service := range load(t).Services {
		if service.Image == "tapewatch:latest" && name != "topics" {
			want = append(want, name+":8080")
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("scraped targets (-want +got):\n%s", diff)
	}
}

func TestDockerfile(t *testing.T) {
	content, err := os.ReadFile(dockerFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, rule := range []string{
		`(?m)^FROM gcr\.io/distroless/static-debian13:nonroot$`,
		`CGO_ENABLED=0 go build -trimpath `,
		`(?m)^USER nonroot:nonroot$`,
		`(?m)^HEALTHCHECK .*CMD \["/usr/local/bin/tapewatch", "healthcheck"\]$`,
		`org\.opencontainers\.image\.licenses="Apache-2\.0"`,
	} {
		if !regexp.MustCompile(rule).Match(content) {
			t.Errorf("the Dockerfile has no %s", rule)
		}
	}
}
