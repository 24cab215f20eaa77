# Fairlead's workshop. `make` alone lists the targets.
#
# Everything goes through SwiftPM; this file only says with which flags, installs what a target needs first, and copies
# the results into place. The longer scripts stand in .ci/ (tests, lint, fuzz) and bench/ (benchmark, demo).

.DEFAULT_GOAL := help
.PHONY: help deps build test lint format bench fuzz demo install uninstall deb clean

PREFIX       ?= /usr
SYSCONFDIR   ?= /etc
UNITDIR      ?= /usr/lib
DESTDIR      ?=
FUZZ_SECONDS ?= 60
DEMO_SECONDS ?= 20

# The commit is shown by `fairleadd --version`; Package.swift takes it from the environment.
FAIRLEAD_COMMIT ?= $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
export FAIRLEAD_COMMIT FUZZ_SECONDS DEMO_SECONDS

RELEASE := swift build -c release --static-swift-stdlib --explicit-target-dependency-import-check error
BIN     := $(CURDIR)/.build/release

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

deps: ## install the Debian packages that building and testing need
	@bash .ci/deps build test

build: ## build fairleadd and fairlead (release, Swift's libraries linked in)
	@bash .ci/deps build
	$(RELEASE)

test: build ## run unit and integration tests; ends with the counts
	@bash .ci/deps test
	@FAIRLEAD_BIN_DIR="$(BIN)" bash .ci/test

lint: ## check format, layout, forbidden imports, and the scripts' syntax
	@bash .ci/lint

format: ## rewrite the Swift sources in the project's format
	swift format format --in-place --parallel --recursive Package.swift Sources Tests $(wildcard bench/*.swift)

bench: build ## measure against nginx, HAProxy, Envoy and a bare C forwarder; writes bench/RESULTS.md
	@bench/install
	@FAIRLEAD_BIN_DIR="$(BIN)" bench/run

fuzz: ## run every fuzz target for FUZZ_SECONDS (60) each
	@bash .ci/deps build
	@bash .ci/fuzz

demo: ## two hosts with capture: backend and proxy are killed, traffic goes on (DEMO_SECONDS=20; as root)
	@bash .ci/deps build demo
	$(RELEASE)
	@FAIRLEAD_BIN_DIR="$(BIN)" bench/demo

# The paths in a unit are those of the default installation.
define install-unit
sed 's|/usr/sbin/fairleadd|$(PREFIX)/sbin/fairleadd|; s|/usr/bin/fairlead |$(PREFIX)/bin/fairlead |; s|/etc/fairlead|$(SYSCONFDIR)/fairlead|' \
  systemd/$(1) > "$(DESTDIR)$(UNITDIR)/systemd/system/$(1)"
chmod 0644 "$(DESTDIR)$(UNITDIR)/systemd/system/$(1)"
endef

# Lists in a manual page come from the program itself: they stand in for a line of the page.
define install-manual
install -d "$(DESTDIR)$(PREFIX)/share/man/man$(2)"
"$(BIN)/fairlead" $(4) --manual | \
  sed -e '/^$(3)$$/{r /dev/stdin' -e 'd}' systemd/man/$(1).$(2).in > "$(DESTDIR)$(PREFIX)/share/man/man$(2)/$(1).$(2)"
chmod 0644 "$(DESTDIR)$(PREFIX)/share/man/man$(2)/$(1).$(2)"
endef

# What the program prints when it is asked so, as a file.
define install-output
install -d "$(dir $(DESTDIR)$(PREFIX)/share/$(2))"
"$(BIN)/fairlead" $(1) > "$(DESTDIR)$(PREFIX)/share/$(2)"
chmod 0644 "$(DESTDIR)$(PREFIX)/share/$(2)"
endef

install: ## install under DESTDIR and PREFIX (/usr); run `make build` first
	@test -x "$(BIN)/fairleadd" || { echo "install: $(BIN)/fairleadd is missing; run 'make build' first" >&2; exit 1; }
	install -D -m 0755 "$(BIN)/fairleadd" "$(DESTDIR)$(PREFIX)/sbin/fairleadd"
	install -D -m 0755 "$(BIN)/fairlead" "$(DESTDIR)$(PREFIX)/bin/fairlead"
	install -d "$(DESTDIR)$(UNITDIR)/systemd/system"
	$(call install-unit,fairlead.service)
	$(call install-unit,fairlead-capture.service)
	install -D -m 0644 systemd/fairlead.sysusers "$(DESTDIR)$(UNITDIR)/sysusers.d/fairlead.conf"
	install -D -m 0644 systemd/fairlead.tmpfiles "$(DESTDIR)$(UNITDIR)/tmpfiles.d/fairlead.conf"
	install -D -m 0644 systemd/man/fairleadd.8 "$(DESTDIR)$(PREFIX)/share/man/man8/fairleadd.8"
	$(call install-manual,fairlead,1,@COMMANDS@,help)
	$(call install-manual,fairlead.yaml,5,@KEYS@,schema)
	$(call install-output,schema,fairlead/schema.json)
	$(call install-output,completion bash,bash-completion/completions/fairlead)
	$(call install-output,completion zsh,zsh/vendor-completions/_fairlead)
	$(call install-output,completion fish,fish/vendor_completions.d/fairlead.fish)
	install -d "$(DESTDIR)$(SYSCONFDIR)/fairlead/conf.d" "$(DESTDIR)$(SYSCONFDIR)/fairlead/services"
	@if [ -e "$(DESTDIR)$(SYSCONFDIR)/fairlead/fairlead.yaml" ]; then \
	  echo "keeping the existing $(DESTDIR)$(SYSCONFDIR)/fairlead/fairlead.yaml"; \
	else \
	  install -m 0644 systemd/fairlead.yaml "$(DESTDIR)$(SYSCONFDIR)/fairlead/fairlead.yaml"; \
	fi
	@if [ -z "$(DESTDIR)" ]; then \
	  echo "next: systemd-sysusers && systemd-tmpfiles --create fairlead.conf && systemctl enable --now fairlead"; \
	fi

# On the running host the units end first: the rules, also those that were applied by hand, then the proxy.
uninstall: ## remove what install put there, except the configuration
	@if [ -z "$(DESTDIR)" ] && [ -d /run/systemd/system ]; then systemctl disable --now fairlead-capture.service || true; fi
	@if [ -z "$(DESTDIR)" ] && [ -d /run/fairlead-capture ] && [ -x "$(PREFIX)/bin/fairlead" ]; then \
	  "$(PREFIX)/bin/fairlead" capture remove || exit 1; \
	  rm -rf /run/fairlead-capture; \
	fi
	@if [ -z "$(DESTDIR)" ] && [ -d /run/systemd/system ]; then systemctl disable --now fairlead.service || true; fi
	rm -f "$(DESTDIR)$(PREFIX)/sbin/fairleadd" "$(DESTDIR)$(PREFIX)/bin/fairlead" \
	  "$(DESTDIR)$(UNITDIR)/systemd/system/fairlead.service" \
	  "$(DESTDIR)$(UNITDIR)/systemd/system/fairlead-capture.service" \
	  "$(DESTDIR)$(UNITDIR)/sysusers.d/fairlead.conf" "$(DESTDIR)$(UNITDIR)/tmpfiles.d/fairlead.conf" \
	  "$(DESTDIR)$(PREFIX)/share/man/man8/fairleadd.8" "$(DESTDIR)$(PREFIX)/share/man/man1/fairlead.1" \
	  "$(DESTDIR)$(PREFIX)/share/man/man5/fairlead.yaml.5" "$(DESTDIR)$(PREFIX)/share/fairlead/schema.json" \
	  "$(DESTDIR)$(PREFIX)/share/bash-completion/completions/fairlead" \
	  "$(DESTDIR)$(PREFIX)/share/zsh/vendor-completions/_fairlead" \
	  "$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/fairlead.fish"
	-rmdir "$(DESTDIR)$(PREFIX)/share/fairlead" 2>/dev/null
	@if [ -z "$(DESTDIR)" ] && [ -d /run/systemd/system ]; then systemctl daemon-reload || true; fi

deb: ## build the Debian package fairlead_<version>_<arch>.deb into .build/
	@bash .ci/deps build deb
	$(RELEASE)
	@systemd/debian/build "$(BIN)" "$(CURDIR)/.build"

clean: ## remove everything that was built
	rm -rf .build
