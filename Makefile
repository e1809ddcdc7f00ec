# The entry points of this tree. Needed beforehand: Debian 12 (or alike), root, a Rust toolchain, make, a C compiler.
# Nothing of the host is installed, started, enabled or changed: missing programs are unpacked below target/tools.
SHELL := /bin/bash
CARGO ?= cargo
TARGET := $(abspath $(or $(CARGO_TARGET_DIR),target))
TOOLS := $(TARGET)/tools
export CARGO_TARGET_DIR := $(TARGET)
# What the machine has comes first, what was unpacked fills the gaps.
export PATH := $(PATH):/usr/sbin:/sbin:$(TOOLS)/bin

DESTDIR ?=
prefix ?= /usr
sbindir ?= $(prefix)/sbin
bindir ?= $(prefix)/bin
unitdir ?= $(prefix)/lib/systemd/system
docdir ?= $(prefix)/share/doc/apd
mandir ?= $(prefix)/share/man
bashdir ?= $(prefix)/share/bash-completion/completions
zshdir ?= $(prefix)/share/zsh/vendor-completions
fishdir ?= $(prefix)/share/fish/vendor_completions.d
PROGRAMS ?= $(TARGET)/release

LAB := $(TARGET)/release/apd-lab
RUNS ?= 5
ROUNDS ?= 50
FUZZ_SECONDS ?= 120
SEEDS ?= 100000
FIRST ?= 1
MUTANTS ?= 400
SAMPLE_SEED ?= 1
# How long the simulator runs seeds in `make test`; 2,000 run in any case.
export APD_SIMULATION_SECONDS ?= 60

.PHONY: all build tools test-tools tree demo test fmt-check clippy doc unit compose-test compose-context bench soak seeds fuzz mutants
.PHONY: clean-lab install install-built uninstall

all: build

build:
	$(CARGO) build --release --locked

tools:
	@lab/fetch-tools $(TOOLS)

# What only tests need besides: container engines and linters.
test-tools:
	@lab/fetch-tools $(TOOLS) tests

# A small Debian with systemd and MariaDB below target/systemd: what the machines of some tests boot.
tree:
	@lab/systemd/make-tree $(TARGET)/systemd

# Two nodes with real MariaDB servers in namespaces: the active is powered off under a writer, returns, rejoins.
demo: tools build
	$(LAB) demo

# Every check and every test; ends with the closing lines of the test runner.
test: fmt-check clippy doc unit

fmt-check:
	$(CARGO) fmt --check

clippy:
	$(CARGO) clippy --locked --all-targets -- -D warnings

doc:
	RUSTDOCFLAGS="-D warnings -A rustdoc::private-intra-doc-links" $(CARGO) doc --locked --no-deps --document-private-items

# The examples in the documentation first, so that the closing lines are those of the test runner.
unit: test-tools tree
	$(CARGO) test --locked --doc
	@if $(CARGO) nextest --version >/dev/null 2>&1; then \
	  echo "$(CARGO) nextest run"; $(CARGO) nextest run --locked --no-fail-fast; \
	else \
	  echo "$(CARGO) test"; $(CARGO) test --locked --no-fail-fast --bins --lib --tests -- --test-threads=1; \
	fi

# The pair in containers, killed on one side. Needs a Docker Engine and docker compose; not a part of `make test`.
compose-test: build
	lab/compose/test $(PROGRAMS)

# What docker-compose.yml builds its image from.
compose-context: build
	lab/compose/context $(PROGRAMS)

# Each fault RUNS times with apd and with the three keepalived set-ups; writes the table into docs/performance.md.
bench: tools build
	$(LAB) bench --runs $(RUNS) --write docs/performance.md

# Long counts on one pair: ROUNDS failovers with rejoin and switchover back, every acknowledged write counted.
soak: tools build
	$(LAB) soak --rounds $(ROUNDS)

# SEEDS seeds of the simulator from FIRST on, with what is checked and not how long it takes; each violation by its seed.
# With SURVIVORS=1 of the runs in which one node goes for good.
seeds:
	SEEDS=$(SEEDS) FIRST=$(FIRST) $(CARGO) run --quiet --release --manifest-path simulator/Cargo.toml \
	  --target-dir $(TARGET)/seeds --example seeds

# Each reader of bytes for FUZZ_SECONDS, from its corpus; needs cargo-fuzz (`cargo install cargo-fuzz`). What it finds lies
# in fuzz/artifacts; once repaired, minimised and put into fuzz/corpus, `make test` replays it for ever.
fuzz:
	cd fuzz && for reader in $$(ls corpus); do mkdir -p $(TARGET)/fuzz-corpus/$$reader; \
	  RUSTC_BOOTSTRAP=1 $(CARGO) fuzz run --sanitizer none --target-dir $(TARGET)/fuzz $$reader $(TARGET)/fuzz-corpus/$$reader corpus/$$reader \
	    -- -max_total_time=$(FUZZ_SECONDS) -max_len=8192 || exit 1; done

# A sample of MUTANTS changes to the decision, one at a time: does a test fail? The survivors are listed (docs/proof.md).
mutants:
	MUTANTS=$(MUTANTS) SAMPLE_SEED=$(SAMPLE_SEED) CARGO_TARGET_DIR=$(TARGET)/mutants-tool \
	  $(CARGO) run --quiet --release --manifest-path mutants/Cargo.toml -- . $(TARGET)

# Removes laboratories whose owner is gone: processes, namespaces, data folders.
clean-lab:
	@if [ -x $(LAB) ]; then $(LAB) clean; fi
	@if [ -x $(TARGET)/debug/apd-lab ]; then $(TARGET)/debug/apd-lab clean; fi

install: build install-built

# Puts what is built into place; enables, starts and reloads nothing (docs/operating.md says what comes then).
install-built:
	install -D -m 0755 $(PROGRAMS)/apd $(DESTDIR)$(sbindir)/apd
	ln -sf apd $(DESTDIR)$(sbindir)/apd-gate
	install -D -m 0755 $(PROGRAMS)/apctl $(DESTDIR)$(bindir)/apctl
	install -D -m 0644 -t $(DESTDIR)$(unitdir) $(wildcard systemd/*.service)
	install -D -m 0644 systemd/apd.sysusers $(DESTDIR)$(prefix)/lib/sysusers.d/apd.conf
	install -D -m 0644 systemd/apd.tmpfiles $(DESTDIR)$(prefix)/lib/tmpfiles.d/apd.conf
	install -D -m 0644 systemd/apd.catalog $(DESTDIR)$(prefix)/lib/systemd/catalog/apd.catalog
	install -D -m 0644 systemd/apd.rules $(DESTDIR)$(prefix)/share/polkit-1/rules.d/60-apd.rules
	install -D -m 0644 -t $(DESTDIR)$(docdir) README.md docs/*.md
	install -D -m 0644 -t $(DESTDIR)$(docdir)/monitoring docs/monitoring/*
	install -D -m 0644 -t $(DESTDIR)$(docdir)/schema docs/schema/*
	install -D -m 0644 systemd/apd.8 $(DESTDIR)$(mandir)/man8/apd.8
	ln -sf apd.8 $(DESTDIR)$(mandir)/man8/apd-gate.8
	install -d $(addprefix $(DESTDIR),$(mandir)/man1 $(bashdir) $(zshdir) $(fishdir))
	$(PROGRAMS)/apctl man --to $(DESTDIR)$(mandir)/man1
	$(PROGRAMS)/apctl completions bash >$(DESTDIR)$(bashdir)/apctl
	$(PROGRAMS)/apctl completions zsh >$(DESTDIR)$(zshdir)/_apctl
	$(PROGRAMS)/apctl completions fish >$(DESTDIR)$(fishdir)/apctl.fish

# The configuration, the state folder and the user stay.
uninstall:
	rm -f $(DESTDIR)$(sbindir)/apd $(DESTDIR)$(sbindir)/apd-gate $(DESTDIR)$(bindir)/apctl
	rm -f $(addprefix $(DESTDIR)$(unitdir)/,$(notdir $(wildcard systemd/*.service)))
	rm -f $(DESTDIR)$(prefix)/lib/sysusers.d/apd.conf $(DESTDIR)$(prefix)/lib/tmpfiles.d/apd.conf
	rm -f $(DESTDIR)$(prefix)/lib/systemd/catalog/apd.catalog $(DESTDIR)$(prefix)/share/polkit-1/rules.d/60-apd.rules
	rm -f $(DESTDIR)$(mandir)/man8/apd.8 $(DESTDIR)$(mandir)/man8/apd-gate.8
	rm -f $(DESTDIR)$(mandir)/man1/apctl.1 $(DESTDIR)$(mandir)/man1/apctl-*.1
	rm -f $(DESTDIR)$(bashdir)/apctl $(DESTDIR)$(zshdir)/_apctl $(DESTDIR)$(fishdir)/apctl.fish
	rm -rf $(DESTDIR)$(docdir)
