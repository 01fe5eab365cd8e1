#!/usr/bin/env bash
# The generated Python code beside the .proto files is what they generate.
set -euo pipefail
cd "$(dirname "$0")/.."
fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
.venv/bin/python -m grpc_tools.protoc -Iproto --python_out="$fresh" --pyi_out="$fresh" proto/overwatt/v1/*.proto
for file in "$fresh"/overwatt/v1/*; do
  cmp -s "$file" "proto/overwatt/v1/${file##*/}" || {
    echo "proto/overwatt/v1/${file##*/} is not what its .proto generates: run \`make proto\`" >&2
    exit 1
  }
done
echo "proto: the generated code is fresh"
