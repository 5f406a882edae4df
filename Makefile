# What a contributor types. Every tool is pinned: Go's in go.mod (see its tool block), npm's in cmd/flagledger/e2e/package-lock.json.

VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
FUZZTIME ?= 10s
BENCH    ?= .
SOAK     ?= 15m
COMMITS  ?= 1000000
CHECKS   ?= 2000
SEED     ?= $(shell date +%s)

.DEFAULT_GOAL := help
.PHONY: help build test race lint vuln properties bench bench-parts bench-http bench-scale soak streams chaos fuzz e2e agreement cover tidy check

help: ## This list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## The static binary, bin/flagledger
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/flagledger ./cmd/flagledger

test: ## All tests that need nothing but Go
	go test ./...

race: ## The tests under the race detector, without the long ones
	go test -race -short -timeout 15m ./...

# The end-to-end tests are linted like everything else.
lint: export GOFLAGS += -tags=e2e
lint: ## Format, vet, modernize, staticcheck, errcheck, errorlint, exhaustive switches over sealed types
	@unformatted=$$(gofmt -l $$(git ls-files --cached --others --exclude-standard '*.go')); \
		test -z "$$unformatted" || { echo "gofmt -w is needed for:"; echo "$$unformatted"; exit 1; }
	go vet ./...
	go fix -diff ./...
	go tool staticcheck ./...
	go tool errcheck ./...
	go tool go-errorlint ./...
	go tool go-check-sumtype ./...

properties: ## The past under random commands, CHECKS (2000) runs of each property
	go test -count 1 -timeout 60m -run '^(TestAdminPast|TestRollback|TestUndoOfTheLast|TestViewsFollowTheLog)$$' ./http ./projections -rapid.checks=$(CHECKS)

vuln: ## Known vulnerabilities in what the program uses; skipped, and says so, where vuln.go.dev cannot be reached
	@found=$$(go tool govulncheck ./... 2>&1); status=$$?; echo "$$found"; \
	case "$$status $$found" in "1 govulncheck: fetching vulnerabilities: "*) echo "SKIPPED: the database of vulnerabilities cannot be reached"; exit 0;; esac; \
	exit $$status

bench: ## Benchmarks with allocations (BENCH=regexp)
	go test -run '^$$' -bench '$(BENCH)' -benchmem ./...

bench-parts: ## The benchmarks of evaluation and answers, into docs/performance.md
	{ echo '```'; echo "# $$(date -u +%F), $$(git describe --tags --always --dirty), $$(go version)"; go test -run '^$$' -bench '^Benchmark(Evaluate|EvaluateFlag|NewEnvironment|OFREP|SDK)' -benchmem ./domain/evaluation ./http | grep -v '^PASS'; echo '```'; } \
		| go run ./cmd/flagledger/bench put -update docs/performance.md bench

bench-http: build ## The built binary over HTTP beside Echo: the table of docs/performance.md, some minutes (BENCHFLAGS=-rows=W1)
	go run ./cmd/flagledger/bench http -update README.md,docs/performance.md $(BENCHFLAGS)

soak: build ## W1 with 20 changes/s and 500 streams for SOAK (15m): no error, no growth of memory or goroutines
	go run ./cmd/flagledger/bench soak -duration $(SOAK) -update docs/performance.md $(BENCHFLAGS)

bench-scale: export SCALE_COMMITS = $(COMMITS)
bench-scale: export SCALE_TABLE = $(CURDIR)/bin/bench-scale.md
bench-scale: ## A history of COMMITS (1000000) made, read, rolled back, continued: the table of docs/performance.md; its log is kept in BENCH_DIR (1 GB, 6 while it works)
	@mkdir -p bin
	go test -run '^TestScale$$' -count 1 -timeout 60m -v ./cmd/flagledger
	$(if $(filter 1000000,$(COMMITS)),go run ./cmd/flagledger/bench put -update docs/performance.md bench-scale < $(SCALE_TABLE))
	go test -run '^$$' -bench '^BenchmarkCompile$$' -benchmem ./projections

streams: export STREAMS ?= 5000
streams: ## 5,000 event streams on one process (STREAMS=number): its memory, and how soon all are told of a change
	go test -count 1 -timeout 10m -v -run '^TestStreams$$' ./cmd/flagledger

chaos: export CHAOS_ROUNDS ?= 200
chaos: ## Kills, 200 times (CHAOS_ROUNDS), in every phase: nothing is lost, nothing is there twice
	go test -count 1 -timeout 60m -v -run '^(TestKill|TestFullDisk|TestPowerCut)$$' ./cmd/flagledger

fuzz: ## Every fuzz target for FUZZTIME (10s)
	@packages=$$(go list ./...) || exit 1; \
	for pkg in $$packages; do \
		listed=$$(go test -list '^Fuzz' $$pkg) || { echo "$$listed"; exit 1; }; \
		for target in $$(echo "$$listed" | grep '^Fuzz'); do \
			echo "$$pkg $$target"; \
			go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$pkg || exit 1; \
		done; \
	done

e2e: ## The built binary with real clients (needs node, npm, chromium), and the topology of docker-compose.yml as processes (haproxy)
	cd cmd/flagledger/e2e && npm ci --no-audit --no-fund
	go test -tags e2e -count 1 -timeout 10m -v -run '^TestE2E' ./cmd/flagledger

agreement: export AGREEMENT_IDENTITIES ?= 20000
agreement: export AGREEMENT_SEED = $(SEED)
agreement: ## Local evaluation of a real SDK and the server on 20,000 identities in random environments (SEED=number)
	cd cmd/flagledger/e2e && npm ci --no-audit --no-fund
	go test -tags e2e -count 1 -timeout 60m -v -run '^TestE2EAgreement$$' ./cmd/flagledger

cover: ## Coverage over all packages, cover.prof
	go test -short -coverpkg ./... -coverprofile cover.prof ./...
	@go tool cover -func cover.prof | tail -1

tidy: ## go.mod and go.sum say what is used (prints the difference)
	go mod tidy -diff

check: tidy lint test ## What to run before a commit
