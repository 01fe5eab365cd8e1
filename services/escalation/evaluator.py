"""Records in, changes of alerts out: the memory of all rules over the devices that this process judges.

No input or output here. What a rule remembers is kept per partition of the stream, so that it goes when the
partition goes to another replica.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias
from uuid import UUID

from overwatt.quantities import BY_NAME
from services.escalation.directory import Directory
from services.escalation.heartbeat import Heartbeats
from services.escalation.model import SIGNS, Change, Clear, Device, Key, Raise, Rule, fingerprint
from services.escalation.rule_book import RuleBook
from services.escalation.rules import Phase, State, Step, Turn, judge
from services.escalation.samples import Series
from services.runtime.clock import from_us

OLDEST_S: Final = 3_600
"""Samples older than this open nothing: nobody wants a page about this morning."""

Pair: TypeAlias = tuple[UUID, str, str]
"""Rule, tenant, device."""


@dataclass(slots=True)
class Case:
    """Samples that one rule has to judge."""

    partition: int
    rule: Rule
    device: Device
    series: Series

    @property
    def pair(self) -> Pair:
        """Whose memory this is."""
        return self.rule.rule_id, self.device.tenant_id, self.device.device_id

    @property
    def alert_key(self) -> Key:
        """Tenant and fingerprint of the alert that it can open."""
        return self.rule.tenant_id, fingerprint(self.rule.rule_id, self.device.device_id)


@dataclass
class Evaluator:
    """Thresholds and heartbeats together."""

    directory: Directory
    rules: RuleBook
    heartbeats: Heartbeats
    _states: dict[int, dict[Pair, State]] = field(default_factory=dict)
    _watched: dict[int, dict[str, list[Rule]]] = field(default_factory=dict)
    _seen_revisions: tuple[int, int] = (-1, -1)

    def watched(self, device_key: int) -> Collection[str]:
        """Metrics of a device that some rule looks at."""
        return self._rules_of(device_key).keys()

    def cases(self, partition: int, series: Iterable[Series]) -> Iterator[Case]:
        """Each series with each rule that looks at it."""
        for one in series:
            device = self.directory.by_key.get(one.device_key)
            if device is None or not device.is_active:
                continue
            for rule in self._rules_of(one.device_key).get(one.metric, ()):
                yield Case(partition, rule, device, one)

    def strangers(self, cases: Iterable[Case]) -> list[Key]:
        """Alerts of which nothing is remembered here: whether they are open stands in the database."""
        return list(
            {case.alert_key for case in cases if case.pair not in self._states.get(case.partition, {})}
        )

    def judge(self, cases: Iterable[Case], known_open: Mapping[Key, int]) -> list[Change]:
        """What these samples change; `known_open` answers for the strangers."""
        changes: list[Change] = []
        for case in cases:
            states = self._states.setdefault(case.partition, {})
            state = states.get(case.pair)
            if state is None:
                since_us = known_open.get(case.alert_key)
                state = State() if since_us is None else State(Phase.OPEN, since_us, since_us)
            states[case.pair], turns = judge(case.rule, state, case.series.ts_us, case.series.values)
            changes.extend(_change(case, turn) for turn in turns)
        return changes

    def keep_only(self, partitions: Collection[int]) -> None:
        """Forget what belongs to partitions that others read now."""
        self._states = {number: states for number, states in self._states.items() if number in partitions}

    def silence_keys(self, keys: Iterable[Key]) -> dict[Key, Key]:
        """(Tenant, fingerprint) of each alert that the silence of these devices can open, to the device."""
        return {
            (rule.tenant_id, fingerprint(rule.rule_id, device.device_id)): (
                device.tenant_id,
                device.device_id,
            )
            for device in self._devices(keys)
            for rule in self.rules.heartbeats(device)
        }

    def heard(self, key: Key, at_us: int) -> list[Change]:
        """A message of a device: what its silence had opened is over."""
        if not self.heartbeats.heard(key, at_us):
            return []
        return [
            Clear(rule=rule, device=device, at_us=at_us)
            for device in self._devices([key])
            for rule in self.rules.heartbeats(device)
        ]

    def silence(self, key: Key, since_us: int, stale_s: float) -> list[Change]:
        """A device has gone stale."""
        return [
            Raise(
                rule=rule,
                device=device,
                at_us=since_us,
                summary=f"{device.device_id}: no heartbeat for {stale_s:g} s",
                details={"stale_s": stale_s, "silent_since": _iso(since_us - int(stale_s * 1_000_000))},
            )
            for device in self._devices([key])
            if device.is_active
            for rule in self.rules.heartbeats(device)
        ]

    def _devices(self, keys: Iterable[Key]) -> Iterator[Device]:
        for key in keys:
            device = self.directory.by_name.get(key)
            if device is not None:
                yield device

    def _rules_of(self, device_key: int) -> dict[str, list[Rule]]:
        revisions = (self.directory.revision, self.rules.revision)
        if revisions != self._seen_revisions:
            self._watched.clear()
            self._seen_revisions = revisions
        found = self._watched.get(device_key)
        if found is None:
            device = self.directory.by_key.get(device_key)
            found = self._watched[device_key] = self.rules.thresholds(device) if device else {}
        return found


def _change(case: Case, turn: Turn) -> Change:
    rule, device = case.rule, case.device
    if turn.step is Step.CLEARED:
        return Clear(rule=rule, device=device, at_us=turn.at_us, details={"cleared_by": turn.value})
    quantity = BY_NAME.get(rule.metric)
    unit = f" {quantity.unit}" if quantity and quantity.unit != "1" else ""
    lasted = f" for {rule.for_s} s" if rule.for_s else ""
    return Raise(
        rule=rule,
        device=device,
        at_us=turn.at_us,
        summary=(
            f"{device.device_id}: {rule.metric} {_plain(turn.value)}{unit} "
            f"{SIGNS[rule.comparison]} {_plain(rule.threshold)}{unit}{lasted}"
        ),
        details={
            "rule": rule.name,
            "metric": rule.metric,
            "value": turn.value,
            "comparison": rule.comparison.value,
            "threshold": rule.threshold,
            "clear_threshold": rule.clear_threshold,
            "for_s": rule.for_s,
            "at": _iso(turn.at_us),
        },
    )


def _iso(at_us: int) -> str:
    return from_us(at_us).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _plain(value: float) -> str:
    """As a person at night reads it: 7,200,000 and not 7.2e+06."""
    return f"{value:,.3f}".rstrip("0").rstrip(".")
