#!/usr/bin/env bash
# Install what is missing on Debian: servers, Java, Maven, Node, the Python environment, Kafka's jars, Compose.
# Safe to repeat; says nothing but "ready" when nothing is missing. Each failure is one line: what and what to do.
set -euo pipefail
cd "$(dirname "$0")/.."

log=.local/log/setup.log
mkdir -p .local/log 2>/dev/null || { echo "setup: cannot write to $PWD/.local: run it as the owner of this directory" >&2; exit 1; }

say() { echo "setup: $*"; }
fail() { echo "setup: $*" >&2; exit 1; }
logged() { "$@" >>"$log" 2>&1 </dev/null; }
has() { command -v "$1" >/dev/null 2>&1; }
sbin() { PATH="$PATH:/usr/sbin:/sbin" has "$1"; }

java_ok() {
  local java=java
  [ -z "${JAVA_HOME:-}" ] || java=$JAVA_HOME/bin/java
  local major
  major=$("$java" -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -n 1) || return 1
  [ "${major:-0}" -ge 17 ]
}

node_ok() {
  has npm && has node && [ "$(node -p 'process.versions.node.split(".")[0]' 2>/dev/null || echo 0)" -ge 18 ]
}

python_ok() { "$1" -c 'import sys, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

find_python() {
  local each
  for each in ${PYTHON:-} python3 python3.11 python3.12 python3.13 /usr/bin/python3; do
    if has "$each" && python_ok "$each"; then echo "$each"; return; fi
  done
}

jars_ok() {
  [ -n "${KAFKA_HOME:-}" ] ||
    { cmp -s scripts/local/kafka/pom.xml .local/kafka/pom.xml && ls .local/kafka/libs/kafka_*.jar >/dev/null 2>&1; }
}

missing_packages() {
  [ -n "${PG_BIN:-}" ] || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || echo postgresql
  sbin redis-server || echo redis-server
  sbin mosquitto || echo mosquitto
  has mosquitto_pub || echo mosquitto-clients
  has curl || echo curl
  java_ok || echo default-jre-headless
  jars_ok || has mvn || echo maven
  [ -n "$(find_python)" ] || echo python3-venv
  node_ok || echo nodejs npm
}

# A sudo that is here may still refuse this user; where it wants a password it asks on the terminal.
may_install() { [ "$(id -u)" = 0 ] || { has sudo && sudo true 2>>"$log"; }; }
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

# Debian starts a server as soon as it is installed; ours run from our own configuration instead.
policy=/usr/sbin/policy-rc.d
policy_is_ours=no
hold_services() {
  [ ! -e $policy ] || return 0
  policy_is_ours=yes
  printf '#!/bin/sh\nexit 101\n' | as_root tee $policy >/dev/null
  as_root chmod 755 $policy
}
clean_up() {
  [ $policy_is_ours = no ] || as_root rm -f $policy
  [ -z "${scratch:-}" ] || rm -rf "$scratch"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

install_packages() {
  local packages
  [ -z "${JAVA_HOME:-}" ] || java_ok || fail "JAVA_HOME=$JAVA_HOME has no Java 17 or newer: unset it, or name one that has"
  packages=$(missing_packages | xargs)
  [ -n "$packages" ] || return 0
  has apt-get || fail "this machine has no apt-get: install the likes of $packages by hand, then run it again"
  may_install || fail "$packages missing, and no root or sudo to install them: ask for \`apt-get install $packages\`"
  say "installing $packages (about a minute; details in $log)"
  hold_services
  local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300)
  logged as_root "${apt[@]}" update || say "the package lists could not be refreshed, trying with those that are here"
  # shellcheck disable=SC2086
  logged as_root "${apt[@]}" install --no-install-recommends $packages ||
    fail "apt-get install $packages failed: $(grep -a '^E:' "$log" | tail -n 1) (details in $log)"
  local service
  for service in $packages; do
    # After a reboot they would take the ports.
    case $service in postgresql | redis-server | mosquitto) logged as_root systemctl disable "$service" || true ;; esac
  done
  packages=$(missing_packages | xargs)
  [ -z "$packages" ] ||
    fail "$packages still missing or too old (Java 17, Node 18, Python 3.11): install newer ones by hand"
}

make_environment() {
  local wanted
  wanted=$(cat requirements.txt pyproject.toml | sha256sum)
  .venv/bin/python -c '' 2>/dev/null || {
    say "making .venv with $("$(find_python)" --version)"
    logged "$(find_python)" -m venv --clear .venv || fail "cannot make .venv: $(tail -n 1 "$log")"
  }
  [ "$(cat .venv/installed 2>/dev/null)" != "$wanted" ] || return 0
  say "installing Python packages into .venv (a minute or two)"
  logged .venv/bin/python -m pip install --disable-pip-version-check --require-hashes --no-deps -r requirements.txt ||
    fail "pip failed: $(grep -a 'ERROR' "$log" | tail -n 1) (is the package index reachable? details in $log)"
  logged .venv/bin/python -m pip install --disable-pip-version-check --no-deps --no-build-isolation -e . ||
    fail "pip cannot install this project: $(grep -a 'ERROR' "$log" | tail -n 1) (details in $log)"
  echo "$wanted" >.venv/installed
}

fetch_kafka() {
  ! jars_ok || return 0
  say "fetching Apache Kafka (54 MB)"
  rm -rf .local/kafka
  mkdir -p .local/kafka
  logged mvn -q -B -C -Dstyle.color=never -f scripts/local/kafka/pom.xml dependency:copy-dependencies \
    -DoutputDirectory="$PWD/.local/kafka/libs" ||
    fail "Maven cannot fetch Kafka: $(grep -a ERROR "$log" | head -n 1 | cut -c1-200) (or set KAFKA_HOME; details in $log)"
  cp scripts/local/kafka/pom.xml .local/kafka/pom.xml
}

# Not needed to run, so a failure is not one of the set-up.
speed_up_kafka() {
  [ -z "${KAFKA_HOME:-}" ] && [ ! -e .local/kafka/classes.jsa ] || return 0
  say "preparing Kafka for fast starts"
  logged .venv/bin/python -m scripts.local.kafka.archive || say "that failed, Kafka starts at its usual pace (details in $log)"
}

# `make check` needs Compose v2; Debian 12 has 1.29, so the next release's package is unpacked, not installed.
fetch_compose() {
  docker compose version >/dev/null 2>&1 && return 0
  [ ! -x .local/compose/docker-compose ] || return 0
  local mirror keyring=/usr/share/keyrings/debian-archive-keyring.gpg
  mirror=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE)' 2>/dev/null | sed -n 's/ bookworm$//p' | head -n 1)
  scratch=$(mktemp -d)
  say "unpacking Docker Compose v2 for \`make check\`"
  mkdir -p "$scratch/lists/partial" "$scratch/cache/archives/partial" "$scratch/out"
  echo "deb [signed-by=$keyring] ${mirror:-none:/} trixie main" >"$scratch/sources.list"
  local apt=(apt-get -q -o "Dir::Etc::SourceList=$scratch/sources.list" -o Dir::Etc::SourceParts=/dev/null
    -o "Dir::State::Lists=$scratch/lists" -o "Dir::Cache=$scratch/cache" -o APT::Sandbox::User=
    -o Acquire::Languages=none)
  if logged "${apt[@]}" update && (cd "$scratch/out" && "${apt[@]}" download docker-compose) >>"$log" 2>&1 &&
    logged dpkg-deb -x "$scratch"/out/docker-compose_*.deb "$scratch/out"; then
    mkdir -p .local/compose
    cp "$scratch"/out/usr/libexec/docker/cli-plugins/docker-compose .local/compose/docker-compose
  else
    say "Compose v2 cannot be had here, \`make check\` will leave the compose files out (details in $log)"
  fi
}

exec 9>.local/setup.lock
flock -n 9 || { say "waiting for another set-up in this directory"; flock 9; }
install_packages
make_environment
fetch_kafka
speed_up_kafka
fetch_compose
say "ready"
