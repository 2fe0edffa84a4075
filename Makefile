GO ?= go
DIR ?= .lab
SIZE ?= 1G
FUZZTIME ?= 10s

# What takes longest begins first.
LONG = ./internal/story

# The packages whose goroutines meet run under the race detector, and only there, but for the tests that are one goroutine (a file cut or flipped
# at every byte), that measure memory, or that are more of the same by the dozen: all are twenty times slower under it.
RACE = ./bastion ./recorder ./ca ./internal/store ./internal/door ./ca/auditlog ./ca/server ./internal/control ./internal/socket
SLOW = Slips|EveryByte|CutJournal|TenThousand|OneByOne|Window|Attack|Rekeying|NoExitStatus|Flood|HalfOpen|Audit|Memory|Lots|TestShred$$|TestDestroy|LongOutline|WatchersThatTake|FuzzServer

help: ## say what the targets do
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

# sshd starts postern-host twice at each login, which takes a third less without the loader of the C library and what urfave makes manual pages of.
# It runs on hosts with another C library then, too.
build: player ## build the four programs into bin/
	$(GO) build -trimpath -o bin/ ./cmd/...
	CGO_ENABLED=0 $(GO) build -trimpath -tags urfave_cli_no_docs -o bin/ ./cmd/postern-host

player: ## fetch the player of replay --web with npm, once for each version that is pinned
	@scripts/player

deps: ## check that OpenSSH and the clients of the stories are here; install what is missing where apt can
	@scripts/deps

# The demo, the lab and the bench run OpenSSH and what is built here, and nothing else.
openssh:
	@scripts/deps openssh
	@scripts/player --if-able

test: deps player ## vet, all tests, the end-to-end stories, and the race detector where goroutines meet
	$(GO) vet ./...
	$(GO) test -race -skip '$(SLOW)' $(RACE)
	$(GO) test -run '$(SLOW)' $(RACE)
	$(GO) test $(LONG) $$($(GO) list ./... | grep -vFx "$$($(GO) list $(RACE))")

lint: ## vet, gofmt and staticcheck
	$(GO) vet ./...
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); [ -z "$$unformatted" ] || { echo "gofmt wants to change: $$unformatted"; exit 1; }
	$(GO) tool staticcheck ./...

demo: openssh ## tell the main story on real parts, in under two minutes
	@scripts/demo

bench: openssh ## measure throughput, latency, durability and revocation; SIZE=1G bytes each way
	@SIZE=$(SIZE) scripts/bench

lab: openssh ## bring up a CA, a bastion, two hosts and six people below DIR=.lab
	@scripts/lab up $(DIR)

lab-down: ## end the lab below DIR=.lab
	@scripts/lab down $(DIR)

fuzz: ## fuzz every parser of foreign bytes, FUZZTIME=10s each
	@set -e; found=0; for file in $$(git grep -l '^func Fuzz' -- '*_test.go'); do \
		for name in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' $$file); do \
			found=$$((found+1)); echo "$$file $$name"; $(GO) test -run '^$$' -fuzz "^$$name$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 20x ./$$(dirname $$file); \
		done; done; [ $$found -gt 0 ] || { echo "no fuzz tests found"; exit 1; }

clean: ## remove what was built
	rm -rf bin

.DEFAULT_GOAL := build
.PHONY: help build player deps openssh test lint demo bench lab lab-down fuzz clean
