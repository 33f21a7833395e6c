# One line a target; .ci/ holds what needs more than a line. ARGS is passed on.
# Models walk the same way in every run; RAPID_SEED=0 lets them go astray.
export RAPID_SEED ?= 1
.PHONY: build install test race lint fuzz interop bench sim sim-full testground testground-upstream demo release vuln cover clean gateway-conformance
build:   ; CGO_ENABLED=0 go build -trimpath -o bin/ ./cmd/...
install: ; CGO_ENABLED=0 go install -trimpath ./cmd/hypha-node
test:    ; go test $(ARGS) ./...
# A program that is built for it sleeps a second at its end, scripts run hundreds.
race:    ; CGO_ENABLED=1 GORACE="atexit_sleep_ms=10 $(GORACE)" go test -race -timeout=30m $(ARGS) $(or $(PKGS),./...)
lint:    ; golangci-lint run ./...
fuzz:    ; .ci/fuzz $(or $(FUZZTIME),20s)
interop: ; go test -count=1 -timeout=40m $(if $(RUN),-run=$(RUN)) $(ARGS) ./testground/interop -size=2147483648
bench:   build ; go run ./testground/bench -binary bin/hypha-node $(ARGS)
gateway-conformance: build ; .ci/gateway-conformance bin/hypha-node
sim:     ; go test -count=1 -v -timeout=20m $(ARGS) ./testground/sim -run '$(or $(CASE),.)' -all -out=$(CURDIR)/testground/out
sim-full: ; go test -count=1 -v -timeout=4h $(ARGS) ./testground/sim -run '$(or $(CASE),TestCases)' -full -out=$(CURDIR)/testground/out
testground: ; go build -o bin/testground ./testground && go run ./testground/local -plan bin/testground $(if $(CASE),-case $(CASE)) $(if $(N),-n $(N)) $(ARGS)
testground-upstream: ; .ci/testground-upstream $(CASE)
demo:    build ; go run ./testground/demo -binary bin/hypha-node
release: ; .ci/release dist
vuln:    ; go run golang.org/x/vuln/cmd/govulncheck@v1.9.0 ./...
cover:   ; go test -coverprofile=cover.out ./... && go tool cover -func=cover.out | tail -n 1
clean:   ; rm -rf bin dist cover.out
