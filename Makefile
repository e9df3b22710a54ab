# Everything is a script in scripts/; this is the list of them.

.DEFAULT_GOAL := help
.PHONY: help run test build lint format sanitize faults soak fuzz simulate bench bench-plot check-costs smoke-test openapi check-openapi install uninstall deb clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## install what is missing, build, and run a whole host on 127.0.0.1 until Ctrl-C
	@scripts/run

test: ## install what is missing and run every test, those with real servers included
	@scripts/test

build: ## .build/release/syncd and .build/release/apiworker
	@scripts/install-dependencies build
	@scripts/build

install: ## as root: copy what was built, units, manual pages, configuration (PREFIX=/usr/local, DESTDIR)
	@scripts/install

uninstall: ## as root: remove what `make install` installed (same PREFIX and DESTDIR)
	@scripts/uninstall

deb: ## a Debian package with programs and units, in .build/deb
	@scripts/install-dependencies build package
	@scripts/build
	@scripts/make-deb

lint: ## style of Swift sources and scripts
	@scripts/lint

format: ## bring the Swift sources into the style that lint asks for
	@swift format -i -p -r Sources Tests Fuzz Benchmarks

smoke-test: ## start `make run`, use it, break it, stop it
	@scripts/smoke-test

openapi: ## write docs/openapi.yaml as the JSON that workers serve
	@scripts/install-dependencies tests
	@.build/servers/python/bin/python3 scripts/openapi

check-openapi: ## requests made from docs/openapi.yaml to a running worker; the responses are as it says
	@scripts/check-openapi $(ARGUMENTS)

sanitize: ## unit tests under a sanitizer: make sanitize SAN=thread (or address)
	@scripts/sanitize $(SAN)

simulate: ## simulate whole worlds with faults for TIME seconds (60)
	@swift run -c release simulate --time $(or $(TIME),60)

faults: ## real processes and servers, and faults at random, for TIME seconds (60)
	@scripts/install-dependencies
	@swift build --build-tests
	@FAULT_SECONDS=$(or $(TIME),60) swift test --skip-build --disable-xctest --filter FaultHistoryTests

soak: ## release programs under load for TIME seconds (600), with faults; does memory stay flat? picture in .build/soak
	@scripts/soak

fuzz: ## fuzz everything that reads what others wrote, each for TIME seconds (60), or TARGET alone
	@scripts/fuzz

bench: ## measure everything beside its yardstick and write it to docs/performance.md: make bench ROWS="fetch http"
	@scripts/bench --write docs/performance.md $(ROWS)

bench-plot: ## measure how times grow and how they are spread, and draw it into docs/plots
	@scripts/bench-plot $(CURVES)

check-costs: ## count instructions and allocations of the hot paths and hold them against their limits
	@scripts/check-costs

clean: ## remove what was built and the data of make run; what was fetched stays
	@swift package clean
	@rm -rf .build/run .build-thread .build-address .build-fuzz
