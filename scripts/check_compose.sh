#!/usr/bin/env bash
# `docker compose config -q` for development and production; production's required secrets are made up here.
set -euo pipefail
cd "$(dirname "$0")/.."
compose=(docker compose)
docker compose version >/dev/null 2>&1 || compose=("$PWD/.local/compose/docker-compose")
if ! "${compose[@]}" version >/dev/null 2>&1; then
  echo "compose: not checked, Compose v2 is not here (\`make setup\` fetches it where Debian's mirror has it)" >&2
  exit 0
fi
for variable in $(grep -ohE '\$\{[A-Z0-9_]+:\?' compose/docker-compose*.yml | tr -d '${:?' | sort -u); do
  export "$variable=${!variable:-/made/up/for/this/check}"
done
"${compose[@]}" -f compose/docker-compose.yml --profile '*' config -q
"${compose[@]}" -f compose/docker-compose.yml -f compose/docker-compose.prod.yml --profile '*' config -q
echo "compose: both files are valid"
