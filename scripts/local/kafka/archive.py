"""`python -m scripts.local.kafka.archive`: run Kafka once, keep its classes in a form that starts fast."""

import os
import shutil
import tempfile
from pathlib import Path

from scripts.local.kafka import ARCHIVE
from scripts.local.ports import Ports
from scripts.local.stack import Stack


def main() -> None:
    """Start a broker with nothing in it; the JVM writes the archive when it ends."""
    os.environ["KAFKA_JVM_OPTS"] = f"-XX:ArchiveClassesAtExit={ARCHIVE}"
    home = Path(tempfile.mkdtemp(prefix="overwatt-archive-"))
    try:
        with Stack(home, Ports.free()) as stack:
            stack.start("kafka")
    finally:
        shutil.rmtree(home)


if __name__ == "__main__":
    main()
