# `make` lists the targets. Tools are built once from tools/go.mod into .bin.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
GO ?= go
BIN := $(CURDIR)/.bin
T ?= 30s
ROUNDS ?= 200
SEED ?= 1
SUBMODULES := tools $(patsubst %/go.mod,%,$(wildcard deploy/*/go.mod))
GOFILES = $$(git ls-files --cached --others --exclude-standard '*.go' ':!*.pb.go')
PACKAGES ?= ./...
# The integration tests start real servers, so a package may take longer than Go's ten minutes on two busy cores.
TEST_FLAGS ?= -timeout=25m

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: run
run: ## everything in one process on the embedded broker
	$(GO) run ./cmd/tapewatch up -s simulator.backfill=1h

.PHONY: build
build: ## the static binary, .bin/tapewatch
	CGO_ENABLED=0 $(GO) build -trimpath -o $(BIN)/tapewatch ./cmd/tapewatch

.PHONY: test
test: ## all tests, on real Kafka, PostgreSQL and Redis where they can be had
	@scripts/test.sh $(TEST_FLAGS) $(PACKAGES)

.PHONY: race
race: ## all tests with the race detector, in random order
	@scripts/test.sh -race -shuffle=on $(TEST_FLAGS) $(PACKAGES)

.PHONY: studies
studies: ## the tests that the race run leaves out: much data on one goroutine
	@scripts/studies.sh $(TEST_FLAGS)

.PHONY: cover
cover: ## test coverage: cover.out and cover.html
	@scripts/test.sh -coverpkg=./... -coverprofile=cover.out $(TEST_FLAGS) $(PACKAGES)
	$(GO) tool cover -html=cover.out -o cover.html
	$(GO) tool cover -func=cover.out | tail -1

.PHONY: ci
ci: ## all that must pass before a change lands
	@scripts/ci.sh

.PHONY: tidy-check
tidy-check: ## go.mod and go.sum of every module say what the code needs
	$(GO) mod tidy -diff
	for module in $(SUBMODULES); do $(GO) -C $$module mod tidy -diff; done

.PHONY: fmt
fmt: $(BIN)/gofumpt $(BIN)/goimports ## format the Go files
	$(BIN)/goimports -local github.com/tapewatch/tapewatch -w $(GOFILES)
	$(BIN)/gofumpt -w $(GOFILES)

.PHONY: fmt-check
fmt-check: $(BIN)/gofumpt ## fail when a Go file is not formatted
	@unformatted=$$($(BIN)/gofumpt -l $(GOFILES)); if [ -n "$$unformatted" ]; then echo "not formatted, run make fmt:"; echo "$$unformatted"; exit 1; fi

.PHONY: lint
lint: $(BIN)/golangci-lint ## golangci-lint with .golangci.yml, shellcheck where it is installed
	$(BIN)/golangci-lint run ./...
	cd deploy/deploytest && $(BIN)/golangci-lint run --config ../../.golangci.yml ./...
	if command -v shellcheck >/dev/null; then shellcheck -x scripts/*.sh .ci/run; fi

.PHONY: vuln
vuln: $(BIN)/govulncheck ## known vulnerabilities that the code reaches (asks vuln.go.dev)
	$(BIN)/govulncheck ./...

.PHONY: generate
generate: $(BIN)/buf $(BIN)/protoc-gen-go ## protobuf code and all other generated files
	PATH="$(BIN):$$PATH" scripts/generate.sh

.PHONY: generate-check
generate-check: $(BIN)/buf $(BIN)/protoc-gen-go ## fail when a generated file is not what generate makes
	PATH="$(BIN):$$PATH" scripts/generate.sh --check

.PHONY: docs
docs: ## the documented commands and the generated reference, tested
	$(GO) test -count=1 -run 'Docs|Reference|Example' ./...

.PHONY: golden
golden: ## rewrite the golden events and show the diff
	$(GO) test -count=1 -run Cases ./detectors ./stages -update
	git --no-pager diff -- '*.txtar'

.PHONY: laws
laws: ## the laws of every processor: ROUNDS=200 SEED=1
	TAPEWATCH_LAWS_ROUNDS=$(ROUNDS) TAPEWATCH_LAWS_SEED=$(SEED) $(GO) test -count=1 -v -timeout=60m -run Laws ./detectors ./stages

.PHONY: fuzz
fuzz: ## every fuzz target in turn, T=30s each
	scripts/fuzz.sh $(T)

.PHONY: bench
bench: ## benchmarks, ten rounds, into bench/latest.txt
	mkdir -p bench
	$(GO) test -run '^$$' -bench . -benchmem -count=10 -timeout=60m $(PACKAGES) | tee bench/latest.txt
	$(MAKE) --no-print-directory bench-kafka

.PHONY: bench-kafka
bench-kafka: ## speed against a bare poll loop, and latency by stage, on a real Kafka: three minutes
	TAPEWATCH_BENCH=1 $(GO) test -count=1 -v -timeout=30m -run 'Throughput|Latency' ./bench

.PHONY: chaos
chaos: ## exactly once under kill -9: 3,000,000 records, three processes, a broker restart; three minutes
	TAPEWATCH_CHAOS=long TAPEWATCH_REQUIRE_KAFKA=1 $(GO) test -count=1 -v -timeout=30m ./stream/chaos

.PHONY: bench-smoke
bench-smoke: ## every benchmark once, so that none rots
	$(GO) test -run '^$$' -bench . -benchtime=1x -timeout=20m $(PACKAGES)

# What a record costs: decoding and the runtime's part of a group, a replay from a tape; by processor time.
BENCH_HOT = $(GO) test -p 1 -run '^$$' -bench '^(BenchmarkPart|BenchmarkReplay)$$' -benchmem -count=6 ./stream ./stream/replay

.PHONY: bench-baseline
bench-baseline: ## the hot path's benchmarks, six rounds, into bench/baseline.txt
	$(BENCH_HOT) | tee bench/baseline.txt

.PHONY: bench-cmp
bench-cmp: $(BIN)/benchstat ## bench/latest.txt against bench/baseline.txt
	$(BIN)/benchstat bench/baseline.txt bench/latest.txt

.PHONY: compose-test
compose-test: ## docker-compose.yml and the Dockerfile, checked without Docker
	$(GO) -C deploy/deploytest test ./...

.PHONY: prometheus-check
prometheus-check: ## configs/prometheus with promtool, where both exist
	scripts/prometheus-check.sh

.PHONY: kafka
kafka: ## real Apache Kafka on 127.0.0.1:19092 until the next make kafka-stop
	scripts/kafka.sh start .tapewatch/kafka 1 19092

.PHONY: kafka-stop
kafka-stop: ## stop what make kafka started; its data stay
	scripts/kafka.sh stop .tapewatch/kafka

.PHONY: up
up: ## docker compose: brokers, stores and one service per processor group
	docker compose up --build --detach --wait

.PHONY: down
down: ## stop docker compose; volumes stay
	docker compose down

.PHONY: deps
deps: ## install what the tests need beyond Go, as far as the system lets
	scripts/install.sh

# protoc-gen-go comes from the module itself, so that generated code and runtime are of one version.
$(BIN)/protoc-gen-go: go.mod
	GOBIN=$(BIN) $(GO) install -trimpath google.golang.org/protobuf/cmd/protoc-gen-go
	@touch $@

$(BIN)/buf $(BIN)/gofumpt $(BIN)/goimports $(BIN)/golangci-lint $(BIN)/govulncheck $(BIN)/benchstat: $(BIN)/.tools-built

# One rule for all tools: go install builds them together, which takes minutes the first time.
$(BIN)/.tools-built: tools/go.mod tools/go.sum
	@echo "building the pinned tools into .bin"
	@mkdir -p $(BIN)
	GOBIN=$(BIN) $(GO) -C tools install -trimpath tool
	@touch $@
