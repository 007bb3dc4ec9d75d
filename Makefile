# Rehost's one entry point. `make help` lists the targets.
NODE := node_modules/node/bin/node
BIN := node_modules/.bin

.DEFAULT_GOAL := help
.PHONY: help setup check test test-unit test-real images demo bench clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  %-12s %s\n", $$1, $$2}' Makefile

setup: ## install what is missing: Debian packages, npm packages, the pinned Node
	@sh test/setup/setup.sh

check: ## types, lint, lost promises, import rules, unused code
	@$(BIN)/tsc -p .
	@$(BIN)/biome check --error-on-warnings .
	@$(BIN)/oxlint --type-aware --deny-warnings
	@$(BIN)/knip

test-unit: ## tests that need no root and no virtual machine
	@$(NODE) --test 'test/unit/**/*.test.ts'

images: ## build the transfer and agent images (cached by content)
	@$(NODE) iso/main.ts

clean: ## remove what was built here (the cache stays)
	rm -rf out
