# Rehost's one entry point. `make help` lists the targets.
NODE := node_modules/node/bin/node
BIN := node_modules/.bin
# Tests on real parts start daemons and virtual machines, and there may be two cores only. They wait much of their time: two
# files at once. Complete clones run one at a time.
RUN_TESTS := $(NODE) --test --test-concurrency=

.DEFAULT_GOAL := help
.PHONY: help setup check test test-unit test-real test-clone test-slow test-fuzz fuzz fuzz-replay images demo bench clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{sub(/:.*/, "", $$1); printf "  %-12s %s\n", $$1, $$2}' Makefile

setup: ## install what is missing: Debian packages, npm packages, the pinned Node
	@sh test/setup/setup.sh

node_modules/.rehost-lock:
	@echo "make: nothing is installed yet; run 'make setup' first" >&2; exit 1

check: | node_modules/.rehost-lock ## types, lint, lost promises, import rules, unused code
	@$(BIN)/tsc -p .
	@$(BIN)/biome check --error-on-warnings .
	@$(BIN)/oxlint --type-aware --deny-warnings
	@$(BIN)/knip

images: | node_modules/.rehost-lock ## build the transfer and agent images (cached by content)
	@$(NODE) iso/main.ts

# --keep-going: one test that fails does not hide what the others of its kind would say; the exit code tells all the same.
# The fuzzer takes what the tests on real parts leave of the cores.
test: ## everything: checks, unit, contract and integration tests, complete clones
	@$(MAKE) --no-print-directory setup
	@status=0; \
	for group in 'check test-unit images' '--jobs=2 test-real test-fuzz' test-clone; do \
		$(MAKE) --no-print-directory --keep-going $$group || status=1; \
	done; \
	exit $$status

test-unit: | node_modules/.rehost-lock ## tests that need no root and no virtual machine
	@$(NODE) --test 'test/unit/**/*.test.ts'

test-real: | node_modules/.rehost-lock ## contract suites and tests on real parts (root)
	@$(RUN_TESTS)2 $$(find test/contract test/real -name '*.test.ts' ! -name '*.slow.test.ts' | sort)

test-clone: | node_modules/.rehost-lock ## complete clones of a BIOS and a UEFI machine (root, images)
	@$(RUN_TESTS)1 $$(find test/e2e -name '*.test.ts' ! -name '*.slow.test.ts' | sort)

test-slow: | node_modules/.rehost-lock ## what takes long and changes seldom: setup in fresh Debian 12 and 13, source disks that boot by themselves
	@$(RUN_TESTS)1 $$(find test -name '*.slow.test.ts' | sort)

test-fuzz: | node_modules/.rehost-lock ## five minutes of fuzzing, over all targets
	@FUZZ_SECONDS=300 nice -n 19 $(NODE) test/fuzz/main.ts

fuzz: | node_modules/.rehost-lock ## fuzz the NBD server and client and the allocation readers; FUZZ_SECONDS (an hour), FUZZ_TARGETS, FUZZ_SEED
	@$(NODE) test/fuzz/main.ts lines

fuzz-replay: | node_modules/.rehost-lock ## run one input again: FILE=...
	@$(NODE) test/fuzz/main.ts replay $(FILE)

demo: ## clone one machine for real and prove it; KIND=uefi for the other kind
	@[ "$$(id -u)" -eq 0 ] || { echo 'demo: it makes network namespaces and virtual machines; run it as root' >&2; exit 1; }
	@$(MAKE) --no-print-directory setup images
	@$(NODE) test/demo/main.ts $(or $(KIND),bios)

bench: | node_modules/.rehost-lock ## Rehost and its peers in one run
	@$(NODE) test/bench/main.ts

clean: ## remove what was built here (the cache stays)
	rm -rf out
