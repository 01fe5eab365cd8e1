"""Which faults happen in which order, and how long each lasts. Pure: all of it follows from the seed."""

import random
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from scripts.chaos.links import Trouble

AGENT: Final = "agent"
SERVICES: Final = ("ingest-writer", "ingest-gateway", "mosquitto", "kafka", "postgres")
PARTS: Final = (*SERVICES, AGENT)
LINKS: Final = ("agents-broker", "gateway-broker", "services-kafka", "services-postgres")
DISKS: Final = ("postgres", "kafka", "spools")
SKEWS: Final = ("behind 3 h", "ahead 1 h", "behind 1 y", "no clock")
GROUPS: Final = {
    "kill": "kill -9 of each part, started again after up to 5 s",
    "pause": "SIGSTOP of each part for 2 to 12 s",
    "link": f"a link between two parts is {', '.join(Trouble)}",
    "disk": "a disk is full for 3 to 8 s (needs root: small file systems are mounted)",
    "slow": "every flush takes the database a second longer",
    "clock": f"an agent runs with a wrong clock: {', '.join(SKEWS)}",
    "repeat": "the last batches are sent again, shuffled and doubled",
    "spool": "an agent's disk is wiped, or copied into a second box that runs beside it",
    "flood": "the gateway stands still while a device sends until the broker drops",
    "outage": "the writer is away for OUTAGE seconds, so that agents give up waiting and probe",
}
OUTAGE: Final = "outage"


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault; no two at a time have a part in common."""

    number: int
    group: str
    target: str
    detail: str
    lasts_s: float
    parts: frozenset[str]

    @property
    def label(self) -> str:
        """For people: `kill kafka`."""
        return " ".join(word for word in (self.group, self.target, self.detail) if word)


def plan(seed: int, count: int, groups: Collection[str], *, outage_s: float) -> list[Fault]:
    """`count` faults of these groups; everything comes up before anything comes up again."""
    chance = random.Random(seed)
    faults: list[Fault] = []
    deck: list[tuple[str, str, str]] = []
    while len(faults) < count:
        if not deck:
            deck = [card for card in _deck() if card[0] in groups and (card[0] != OUTAGE or not faults)]
            chance.shuffle(deck)
        group, target, detail = deck.pop()
        lasts_s = outage_s if group == OUTAGE else round(chance.uniform(*_LASTS_S[group]), 1)
        parts = _parts(group, target)
        faults.append(Fault(len(faults) + 1, group, target, detail, lasts_s, parts))
    return faults


def due(waiting: Sequence[Fault], busy: Collection[str]) -> Fault | None:
    """The first that touches nothing that another fault has its hands on."""
    return next((fault for fault in waiting if fault.parts.isdisjoint(busy)), None)


_LASTS_S: Final = {
    "kill": (0.0, 5.0), "pause": (2.0, 12.0), "link": (2.0, 8.0), "disk": (3.0, 8.0), "slow": (3.0, 8.0),
    "clock": (3.0, 6.0), "repeat": (0.0, 0.0), "spool": (3.0, 6.0), "flood": (3.0, 5.0),
}  # fmt: skip


def _deck() -> Iterator[tuple[str, str, str]]:
    """Every fault there is, once; kills twice, since they are the promise's own words."""
    for part in PARTS:
        yield from (("kill", part, ""), ("kill", part, ""), ("pause", part, ""))
    for link in LINKS:
        yield from (("link", link, trouble) for trouble in Trouble if _is_fitting(link, trouble))
    yield from (("disk", disk, "full") for disk in DISKS)
    yield ("slow", "postgres", "")
    yield from (("clock", AGENT, skew) for skew in SKEWS)
    yield ("repeat", "batches", "")
    yield from (("spool", AGENT, "wiped"), ("spool", AGENT, "copied"))
    yield ("flood", "mosquitto", "")
    yield (OUTAGE, "ingest-writer", "")


def _is_fitting(link: str, trouble: Trouble) -> bool:
    """Acknowledgements vanish between an agent and the broker; elsewhere it would be no network's fault."""
    return trouble is not Trouble.DEAF or link == "agents-broker"


def _parts(group: str, target: str) -> frozenset[str]:
    match group:
        case "flood":
            return frozenset({"mosquitto", "ingest-gateway"})
        case "disk" if target == "spools":
            return frozenset({AGENT})
        case _:
            return frozenset({target})
