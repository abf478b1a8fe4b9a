# novasphere. `make help` shows what there is.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# Image that `docker-build` makes and `deploy` installs.
IMG ?= localhost/novasphere:$(VERSION)
# Images that `docker-build-desktop` makes.
DESKTOP_IMG ?= localhost/novasphere-desktop:$(VERSION)
DESKTOP_IDE_IMG ?= localhost/novasphere-desktop-ide:$(VERSION)
# Used by install, uninstall, deploy and undeploy, on the cluster of your kubeconfig.
KUBECTL ?= kubectl
# Container engine.
DOCKER ?= docker
# What `dev` starts: "" (control plane), --node or --kubevirt.
DEV_CLUSTER ?= --kubevirt

VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
# What was built once and does not change with the sources: see docs/testbed.md.
NOVASPHERE_CACHE ?= $(HOME)/.cache/novasphere
export NOVASPHERE_CACHE
CARGO_DENY_VERSION := 0.20.2
CARGO_DENY := $(NOVASPHERE_CACHE)/bin/cargo-deny-$(CARGO_DENY_VERSION)/bin/cargo-deny
CARGO_FUZZ_VERSION := 0.13.2
CARGO_FUZZ := $(NOVASPHERE_CACHE)/bin/cargo-fuzz-$(CARGO_FUZZ_VERSION)/bin/cargo-fuzz
# Seconds for each target of `fuzz`.
FUZZ_TIME ?= 60
NOVACLUSTER := target/novacluster
CLUSTER_MODULE := e2e/cluster
IMAGE_ARCHIVE := target/images/novasphere.tar
# Not `cargo xtask`: that would build the dependencies again for its features alone.
XTASK := target/debug/xtask
PAGE := crates/console/page
BROWSER := e2e/browser
STEP := hack/step
# In CI a lock file that does not match is an error, not something to mend.
LOCKED := $(if $(CI),--locked,)

##@ General

.PHONY: help
help: ## Show this text
	@awk 'BEGIN { FS = ":.*## "; print "Usage: make TARGET" } \
	  /^##@/ { printf "\n%s\n", substr($$0, 5) } \
	  /^[a-z0-9-]+:.*## / { printf "  %-20s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: image-desktop ## Show it all: a cluster with KubeVirt, novasphere, a virtual machine and a desktop that answer
	@hack/demo localhost/novasphere-desktop:$(VERSION)

.PHONY: dev
dev: build ## Start a cluster and run the controller from source against it
	$(NOVACLUSTER) up $(DEV_CLUSTER)
	$(NOVACLUSTER) kubectl apply --server-side -k config/crd
	NOVASPHERE_KUBECONFIG=$$($(NOVACLUSTER) kubeconfig) cargo run --package novasphere -- --log-format text controller

##@ Build

.PHONY: packages
packages:
	@for tool in cargo go node npm; do command -v $$tool >/dev/null || { echo "$$tool is missing: see CONTRIBUTING.md" >&2; exit 1; }; done
	@hack/install-packages

# One build for the program, the tests, xtask and the demo: debug profile, all targets.
.PHONY: rust
rust: packages console-page
	@$(STEP) "cargo build" cargo build $(LOCKED) --workspace --all-targets

# Make knows what changed. The program embeds it.
.PHONY: console-page
console-page: $(PAGE)/dist/index.html ## Build the page that shows a console in a browser

$(PAGE)/dist/index.html: $(PAGE)/node_modules/.package-lock.json $(PAGE)/build.mjs $(PAGE)/tsconfig.json $(wildcard $(PAGE)/src/*)
	@$(STEP) "console page" npm --prefix $(PAGE) run --silent build

# npm writes this file last.
%/node_modules/.package-lock.json: %/package.json %/package-lock.json | packages
	@$(STEP) "npm ci $*" npm --prefix $* ci --silent

.PHONY: build
build: rust $(NOVACLUSTER) $(BROWSER)/node_modules/.package-lock.json ## Build the program, its image and the test bed
	@$(STEP) "image" $(NOVACLUSTER) image --image localhost/novasphere:$(VERSION) --binary target/debug/novasphere --out $(IMAGE_ARCHIVE)

DESKTOPS := desktop desktop-ide

.PHONY: images
images: build $(DESKTOPS:%=image-%) ## Build all images: the program's and those of desktops

.PHONY: $(DESKTOPS:%=image-%)
$(DESKTOPS:%=image-%): image-%: build
	@$(STEP) "image $*" $(NOVACLUSTER) desktop-image --variant $* --image localhost/novasphere-$*:$(VERSION) --probe target/debug/novasphere-probe --out target/images/$*.tar

# The Go tool chain knows what changed.
.PHONY: $(NOVACLUSTER)
$(NOVACLUSTER): packages
	@$(STEP) "go build novacluster" go build -C $(CLUSTER_MODULE) -o $(CURDIR)/$(NOVACLUSTER) ./cmd/novacluster

.PHONY: test-bed
test-bed: $(NOVACLUSTER) ## Build all that the local cluster consists of
	@$(STEP) "test bed" $(NOVACLUSTER) build

.PHONY: generate
generate: rust ## Write the generated files
	$(XTASK) generate

.PHONY: docker-build
docker-build: ## Build the image IMG with a container engine
	$(DOCKER) build --file images/novasphere/Dockerfile --tag $(IMG) .

.PHONY: docker-build-desktop
docker-build-desktop: ## Build the desktop images DESKTOP_IMG and DESKTOP_IDE_IMG with a container engine
	$(DOCKER) build --file images/desktop/Dockerfile --tag $(DESKTOP_IMG) .
	$(DOCKER) build --file images/desktop-ide/Dockerfile --build-arg BASE=$(DESKTOP_IMG) --tag $(DESKTOP_IDE_IMG) .

##@ Check

.PHONY: verify
verify: verify-format verify-lint verify-generated verify-dependencies verify-go verify-docs ## Check format, lints, generated files, dependencies, links

.PHONY: verify-format
verify-format: packages
	@$(STEP) "cargo fmt" cargo fmt --all --check

.PHONY: verify-lint
verify-lint: packages console-page
	@$(STEP) "clippy" cargo clippy $(LOCKED) --workspace --all-targets -- -D warnings

.PHONY: verify-generated
verify-generated: rust
	@$(STEP) "generated files" $(XTASK) generate --check

.PHONY: verify-dependencies
verify-dependencies: $(CARGO_DENY)
	@$(STEP) "cargo deny" $(CARGO_DENY) $(LOCKED) --all-features check bans licenses sources

.PHONY: verify-go
verify-go: packages
	@$(STEP) "gofmt" hack/gofmt-check $(CLUSTER_MODULE)
	@$(STEP) "go vet" go vet -C $(CLUSTER_MODULE) -tags cluster ./...
	@# With what the test bed has compiled.
	@$(STEP) "go vet csi-driver" env CGO_ENABLED=0 go vet -C $(CLUSTER_MODULE)/components/csi -trimpath ./...

.PHONY: verify-docs
verify-docs: rust
	@$(STEP) "links" $(XTASK) links

.PHONY: audit
audit: $(CARGO_DENY) ## Look for known vulnerabilities (needs the advisory database from the internet)
	$(CARGO_DENY) check advisories

$(CARGO_DENY): | packages
	@$(STEP) "install cargo-deny" cargo install cargo-deny --quiet --locked --version $(CARGO_DENY_VERSION) --root $(dir $(patsubst %/,%,$(dir $@)))

##@ Test

.PHONY: test
test: build test-bed test-go test-storage test-manifests test-unit ## Run all tests that this machine can carry
	@# Last, because its last lines say what this machine could not run.
	@$(STEP) "cluster tests" cargo test $(LOCKED) --package novasphere-e2e

.PHONY: test-unit
test-unit: packages console-page ## Run the tests that need no cluster
	@$(STEP) "console page tests" npm --prefix $(PAGE) run --silent test
	@$(STEP) "unit tests" cargo test $(LOCKED) --workspace --exclude novasphere-e2e

.PHONY: test-e2e
test-e2e: build test-bed ## Run the tests on clusters (T=<part of a name> chooses)
	@$(STEP) "cluster tests" cargo test $(LOCKED) --package novasphere-e2e -- $(T)

.PHONY: test-go
test-go: packages
	@$(STEP) "go test" go test -C $(CLUSTER_MODULE) ./...
	@$(STEP) "go test csi-driver" env CGO_ENABLED=0 go test -C $(CLUSTER_MODULE)/components/csi -trimpath ./...

.PHONY: test-storage
test-storage: test-bed
	@$(STEP) "storage test" go test -C $(CLUSTER_MODULE) -tags cluster -count 1 ./test

.PHONY: test-manifests
test-manifests: rust $(NOVACLUSTER)
	@$(STEP) "chart and config" hack/test-manifests

.PHONY: fuzz
fuzz: $(CARGO_FUZZ) ## Throw random bytes at every parser of foreign bytes, FUZZ_TIME seconds each
	@$(STEP) "fuzz" hack/fuzz $(FUZZ_TIME) $(CARGO_FUZZ)

$(CARGO_FUZZ): | packages
	@$(STEP) "install cargo-fuzz" cargo install cargo-fuzz --quiet --locked --version $(CARGO_FUZZ_VERSION) --root $(dir $(patsubst %/,%,$(dir $@)))

.PHONY: bench
bench: packages test-bed ## Measure, write target/bench/summary.json and print it as a table
	@$(STEP) "cargo build --release" cargo build $(LOCKED) --release --package novasphere --package novasphere-e2e \
	  --bin novasphere --bin bench
	@NOVASPHERE=target/release/novasphere $(STEP) "bench" target/release/bench

##@ Install on the cluster of your kubeconfig

.PHONY: install
install: ## Install the custom resource definitions
	$(KUBECTL) apply --server-side -k config/crd

.PHONY: uninstall
uninstall: ## Remove the custom resource definitions AND ALL OBJECTS of these kinds, while the controller runs
	$(KUBECTL) delete --ignore-not-found -k config/crd

.PHONY: deploy
deploy: ## Install all of config/default with the image IMG
	@mkdir -p target/deploy
	@printf '%s\n' 'resources: [../../config/default]' 'images:' \
	  '  - {name: localhost/novasphere, newName: "$(IMG_NAME)", newTag: "$(IMG_TAG)"}' >target/deploy/kustomization.yaml
	$(KUBECTL) apply --server-side -k target/deploy

IMG_TAG = $(lastword $(subst :, ,$(IMG)))
IMG_NAME = $(patsubst %:$(IMG_TAG),%,$(IMG))

.PHONY: undeploy
undeploy: ## Remove the roles of novasphere and their rights; definitions and objects stay
	@# First: an APIService without a server keeps namespaces from being deleted.
	$(KUBECTL) delete --ignore-not-found --filename config/apiserver/api_service.yaml
	$(KUBECTL) delete --ignore-not-found -k config/apiserver
	$(KUBECTL) delete --ignore-not-found -k config/console
	$(KUBECTL) delete --ignore-not-found -k config/manager
	$(KUBECTL) delete --ignore-not-found -k config/admission
	$(KUBECTL) delete --ignore-not-found -k config/rbac
	@# The optional parts; a cluster need not know a ServiceMonitor.
	$(KUBECTL) delete --ignore-not-found -k config/network-policy
	$(KUBECTL) delete --ignore-not-found -k config/prometheus || true

##@ Clean

.PHONY: clean
clean: ## Take local clusters down and remove what was built here
	@if [[ -x $(NOVACLUSTER) ]]; then $(NOVACLUSTER) down --all; fi
	rm -rf target $(PAGE)/dist $(PAGE)/out $(PAGE)/node_modules $(BROWSER)/node_modules

.PHONY: clean-cache
clean-cache: ## Remove what was built once for all clones (see docs/testbed.md)
	@[[ -n "$(NOVASPHERE_CACHE)" && "$(NOVASPHERE_CACHE)" != / && "$(NOVASPHERE_CACHE)" != "$(HOME)" ]]
	rm -rf -- "$(NOVASPHERE_CACHE)"
