"""`make waitlist-export`, `make waitlist-import FILE=`: the waitlist as JSON lines."""

import argparse
import json
import os
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, TextIO

MAX_BATCH_BYTES: Final = 48_000
"""The door reads 64 KiB at most."""
PAGE: Final = 500


class Refused(Exception):
    """What the service said."""


def main(arguments: Sequence[str] | None = None, out: TextIO = sys.stdout) -> int:
    """Export to standard output, or import a file; both can be repeated."""
    parser = argparse.ArgumentParser(prog="python -m scripts.waitlist", description=__doc__)
    parser.add_argument("--tenant", default=os.environ.get("TENANT_ID") or "default")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("export", help="print every entry as a line of JSON, oldest first")
    importing = commands.add_parser("import", help="add the entries whose address is not there yet")
    importing.add_argument("file", help="JSON lines; - for standard input")
    options = parser.parse_args(arguments)
    try:
        if options.command == "export":
            for line in export(options.tenant):
                print(line, file=out)
        else:
            with sys.stdin if options.file == "-" else open(options.file, encoding="utf-8") as lines:
                added, known = import_lines(options.tenant, lines)
            print(f"waitlist of {options.tenant}: {added} added, {known} there already", file=sys.stderr)
    except (Refused, OSError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    return 0


def export(tenant: str) -> Iterator[str]:
    """Every entry as a line. Raises Refused."""
    after: str | None = None
    while True:
        query = {"tenant_id": tenant, "limit": str(PAGE), **({"after": after} if after else {})}
        lines = ask(f"/api/admin/waitlist/export?{urllib.parse.urlencode(query)}").splitlines()
        yield from lines
        if len(lines) < PAGE:
            return
        after = json.loads(lines[-1])["entry_id"]


def import_lines(tenant: str, lines: Iterable[str]) -> tuple[int, int]:
    """How many were added, and how many were there. Raises Refused, which names the line of its part."""
    added = known = first = 0
    for part in batches(lines):
        query = urllib.parse.urlencode({"tenant_id": tenant})
        try:
            told = json.loads(ask(f"/api/admin/waitlist/import?{query}", "".join(part).encode()))
        except Refused as error:
            where = f" (counted from line {first + 1}; the lines before it are in)" if first else ""
            raise Refused(f"{error}{where}") from error
        added, known, first = added + told["added"], known + told["known"], first + len(part)
    return added, known


def batches(lines: Iterable[str]) -> Iterator[list[str]]:
    """Lines in parts that one request can carry."""
    part: list[str] = []
    size = 0
    for line in lines:
        length = len(line.encode())
        if part and size + length > MAX_BATCH_BYTES:
            yield part
            part, size = [], 0
        part.append(line if line.endswith("\n") else f"{line}\n")
        size += length
    if part:
        yield part


def ask(path: str, body: bytes | None = None) -> str:
    """The answer's text. Raises Refused."""
    port = os.environ.get("PROVISIONING_PORT") or str(8081 + int(os.environ.get("PORT_OFFSET") or 0))
    address = os.environ.get("PROVISIONING_URL") or f"http://127.0.0.1:{port}"
    key = os.environ.get("PROVISION_ADMIN_KEY") or "change-me-now"
    headers = {"Content-Type": "application/x-ndjson", "X-Admin-Key": key}
    request = urllib.request.Request(f"{address}{path}", data=body, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        said = error.read(2000).decode(errors="replace")
        raise Refused(f"{address} answered {error.code}: {said}") from error
    except urllib.error.URLError as error:
        raise Refused(f"{address} does not answer ({error.reason}): is it running? `make start`") from error


if __name__ == "__main__":
    sys.exit(main())
