"""What an archive of a person's data holds: for each file its query, and what every field means. Pure.

Queries have $1 tenant, $2 the user's id as text, $3 box ids, $4 ids of all that belongs to these boxes.
Those of `PER_DEVICE` run for one device at a time: $1 tenant, $2 device.
"""

from dataclasses import dataclass
from typing import Final

from overwatt.quantities import QUANTITIES, Kind

_TYPES: Final = "with given as (select $1::text, $2::text, $3::text[], $4::text[])"
"""PostgreSQL has to know the type of each parameter, also where a query does not use it."""


@dataclass(frozen=True, slots=True)
class Table:
    """A file of the archive. `fields` are its columns in order, each with its meaning."""

    name: str
    about: str
    source: str
    fields: dict[str, str]

    @property
    def query(self) -> str:
        """Exactly the described columns."""
        return f"{_TYPES} select {', '.join(self.fields)} {self.source}"


_BOX: Final = "where tenant_id = $1 and box_id = any($3)"
_DEVICE: Final = "where tenant_id = $1 and device_id = any($4)"
_COMMAND: Final = {
    "command_id": "id of the command",
    "dispatch_id": "the dispatch that it is a part of",
    "box_id": "the box that it was sent to",
    "device_id": "the agent that it was sent to",
    "asset_id": "the asset that it concerns, empty for all of a site",
    "state": "how far it came",
    "created_at": "when it was made",
    "answered_at": "when the agent answered",
}

TABLES: Final = (
    Table(
        "account",
        "your account",
        'from "user" where tenant_id = $1 and user_id::text = $2',
        {
            "user_id": "your id here",
            "email": "your e-mail address",
            "role": "what you may do",
            "created_at": "since when the account exists",
        },
    ),
    Table(
        "boxes",
        "the boxes at your premises",
        f"from box {_BOX} order by box_id",
        {
            "box_id": "id of the box",
            "site_id": "the site at which it stands",
            "name": "what it is called",
            "serial": "its serial number",
            "hardware": "its kind of hardware",
            "mode": "observe: we only read; active: we may control what you opened",
            "opt_ins": "what you opened for control",
            "mode_changed_at": "since when the mode and these are so",
            "state": "whether it is in use",
            "created_at": "when it was registered",
            "enrolled_at": "when it came in",
        },
    ),
    Table(
        "sites",
        "your sites",
        "from site where tenant_id = $1 and site_id in (select site_id from box where box_id = any($3))",
        {
            "site_id": "id of the site",
            "name": "what it is called",
            "location": "where it is",
            "created_at": "when it was registered",
        },
    ),
    Table(
        "devices",
        "what belongs to your boxes",
        f"from device {_DEVICE} order by device_id",
        {
            "device_id": "id of the device",
            "site_id": "the site at which it is",
            "box_id": "the box that reads it",
            "type": "what it is",
            "name": "what it is called",
            "state": "whether it is in use",
            "host": "its address in your network, if known",
            "host_mac": "its hardware address, if known",
            "created_at": "when it was registered",
        },
    ),
    Table(
        "assets",
        "what your devices can do",
        "from asset where tenant_id = $1 and asset_id = any($4) order by asset_id",
        {
            "asset_id": "id of the asset, which is its device's",
            "capacity_mwh": "usable energy, MWh",
            "max_mw": "most power, MW, positive on discharge",
            "min_mw": "least power, MW, negative on charge",
            "efficiency": "share of energy that comes out again, 0 to 1",
            "ramp_rate_mw_per_min": "how fast its power may change, MW per minute",
            "location": "where it stands",
            "details": "its driver and other settings",
        },
    ),
    Table(
        "dispatches",
        "power that was asked of your devices",
        f"from dispatch {_BOX} order by created_at",
        {
            "dispatch_id": "id of the dispatch",
            "site_id": "the site that it was for",
            "asset_id": "the asset that it was for",
            "box_id": "the box that carried it out",
            "power_mw": "the power, MW, positive on discharge",
            "duration_s": "for how long, seconds; empty: until replaced",
            "state": "what became of it",
            "requested_by": "id of who asked for it",
            "source": "through what it was asked for",
            "created_at": "when it was asked for",
            "expires_at": "until when it could be carried out",
            "updated_at": "when its state changed last",
            "preview": "how it was planned to be split",
            "result": "how it was split, with what was measured",
            "reason": "why it was not carried out, if so",
        },
    ),
    Table("commands", "what was sent to your boxes", f"from command {_BOX} order by created_at", _COMMAND),
    Table(
        "command_replies",
        "what your boxes answered",
        f"from command_replies {_BOX} order by at",
        {
            "box_id": "the box that answered",
            "command_id": "the command",
            "dispatch_id": "the dispatch that it is a part of",
            "state": "what it said",
            "reason": "why, in words",
            "reply": "the whole answer",
            "at": "when it was said, by the box's clock",
            "received_at": "when it arrived",
        },
    ),
    Table(
        "controller_decisions",
        "how the split of power over your devices was decided",
        f"from controller_decisions {_BOX} order by at",
        {
            "box_id": "the box",
            "at": "when it was decided",
            "dispatch_id": "for which dispatch",
            "inputs": "what was known",
            "constraints": "which limits bound",
            "shares": "what each device got",
        },
    ),
    Table(
        "plans",
        "plans for your devices",
        f"from plans {_BOX} order by starts_at",
        {
            "plan_id": "id of the plan",
            "box_id": "the box",
            "starts_at": "its begin",
            "ends_at": "its end",
            "created_at": "when it was made",
            "source": "by what",
            "plan": "its content",
        },
    ),
    Table(
        "daily_money",
        "what your devices earned",
        f"from daily_money {_BOX} order by day, box_id",
        {
            "box_id": "the box",
            "day": "the day",
            "amount": "how much",
            "currency": "in which currency",
            "detail": "how it comes about",
        },
    ),
    Table(
        "alerts",
        "alerts about your devices",
        "from alerts where tenant_id = $1 and (box_id = any($3) or device_id = any($4)) order by opened_at",
        {
            "alert_id": "id of the alert",
            "device_id": "the device",
            "site_id": "its site",
            "box_id": "its box",
            "severity": "1 is the gravest, 4 the least",
            "status": "OPEN, ACKNOWLEDGED or CLOSED",
            "summary": "what was wrong",
            "details": "the values",
            "opened_at": "since when",
            "last_seen_at": "when it was last so",
            "acknowledged_at": "when somebody took care",
            "acknowledged_by": "id of who did",
            "closed_at": "until when",
            "count": "how often it was seen",
        },
    ),
    Table(
        "agent_sessions",
        "when your boxes were connected",
        f"from agent_session {_DEVICE} order by connected_at",
        {
            "device_id": "the agent, of the box of that name",
            "site_id": "the site that it named",
            "site_name": "that site's name",
            "version": "its software",
            "assets": "what it spoke for",
            "peer": "its address, if known",
            "connected_at": "from when",
            "last_seen_at": "when it was last heard",
            "disconnected_at": "until when",
            "close_reason": "why it ended",
        },
    ),
    Table(
        "declared_loss",
        "samples that a box could not keep",
        f"from declared_loss {_DEVICE} order by at",
        {
            "device_id": "the agent, of the box of that name",
            "epoch": "which run of its memory",
            "first_seq": "number of the first lost sample",
            "last_seq": "number of the last",
            "rows": "how many of them are lost",
            "at": "when it was told",
        },
    ),
    Table(
        "rejections",
        "messages of your devices that could not be used",
        "from rejection where tenant_id = $1 and (device_id = any($4) or asset_id = any($4)) order by at",
        {
            "at": "when it came",
            "device_id": "who sent it",
            "asset_id": "what it was about",
            "reason": "why it could not be used",
            "detail": "the same, in words",
            "payload": "what was sent, as hexadecimal digits",
            "count": "how many like it",
        },
    ),
    Table(
        "certificates",
        "identities that were given to your boxes",
        f"from certificate {_DEVICE} order by issued_at",
        {
            "serial": "serial number",
            "device_id": "whose it is",
            "via": "how it was given",
            "issued_at": "when",
            "not_before": "valid from",
            "not_after": "valid until",
            "revoked_at": "when it was taken back, if so",
            "revoke_reason": "why",
        },
    ),
    Table(
        "enrolment_tokens",
        "invitations for your boxes",
        f"from enrol_token {_BOX} order by created_at",
        {
            "box_id": "the box",
            "email": "the address that the invitation is bound to",
            "created_at": "when it was made",
            "expires_at": "until when it could be used",
            "used_at": "when it was used",
            "withdrawn_at": "when it was withdrawn",
        },
    ),
    Table(
        "waitlist",
        "your entry in the waitlist",
        'from waitlist where tenant_id = $1 and lower(email) = (select lower(email) from "user" u'
        " where u.tenant_id = $1 and u.user_id::text = $2)",
        {
            "email": "your e-mail address",
            "name": "your name",
            "hardware": "the hardware that you asked for",
            "note": "what you wrote",
            "state": "open or dismissed",
            "decision": "what was decided",
            "reason": "why",
            "created_at": "when you entered",
        },
    ),
    Table(
        "data_requests",
        "requests for the deletion of your data",
        "from data_request where tenant_id = $1 and user_id::text = $2 order by requested_at",
        {
            "request_id": "id of the request",
            "boxes": "the boxes that it concerns",
            "reason": "the reason that you gave",
            "state": "how far it is",
            "requested_at": "when you asked",
            "target_at": "when we want to be done",
            "due_at": "when we have to be done",
        },
    ),
    Table(
        "reports",
        "reports that you asked for",
        "from report_runs where tenant_id = $1 and requested_by = $2 order by created_at",
        {
            "report": "which",
            "parameters": "about what",
            "state": "what became of it",
            "created_at": "when",
        },
    ),
    Table(
        "audit",
        "what you did here, and what was done about you and your boxes",
        "from admin_audit where tenant_id = $1 and (actor = $2 or target_id = $2 or target_id = any($4))"
        " order by at",
        {
            "at": "when",
            "actor": "id of who did it",
            "action": "what was done",
            "target_type": "to what kind of thing",
            "target_id": "its id",
            "detail": "more about it",
            "result": "ok, or why not",
            "address": "from which network address",
            "request_id": "which request, for questions to us",
        },
    ),
)

_SAMPLE: Final = {"device_id": "the device", "ts": "when it was measured, UTC"}
_PARTS: Final = {
    "sum": "sum of the values",
    "n": "number of values",
    "min": "least value",
    "max": "greatest value",
    "last": "last value",
    "first": "first value",
}
_PARTS_OF: Final = {
    Kind.GAUGE: ("sum", "n", "min", "max", "last"),
    Kind.COUNTER: ("first", "last"),
    Kind.STATE: ("last",),
}


def _rollup(level: str, words: str) -> Table:
    parts = {
        f"{q.name}_{part}": f"{_PARTS[part]}; {q.meaning} ({q.unit})"
        for q in QUANTITIES
        for part in _PARTS_OF[q.kind]
    }
    fields = {"device_id": "the device", "bucket": f"begin of the {words}, UTC", "n": "number of samples"}
    source = f"from v_telemetry_{level} where tenant_id = $1 and device_id = $2 order by bucket"
    return Table(f"telemetry_{level}", f"what your devices measured, by {words}", source, fields | parts)


_ONE: Final = "where tenant_id = $1 and device_id = $2"
PER_DEVICE: Final = (
    Table(
        "telemetry",
        "what your devices measured: every sample that is still kept (90 days)",
        f"from v_telemetry {_ONE} order by ts",
        {
            **_SAMPLE,
            "quality": "0 good, 1 uncertain, 2 bad",
            **{q.name: f"{q.meaning} ({q.unit})" for q in QUANTITIES},
        },
    ),
    Table(
        "telemetry_other",
        "other values that your devices measured",
        f"from v_telemetry_other {_ONE} order by metric, ts",
        {
            **_SAMPLE,
            "metric": "which value, as the device calls it",
            "value": "the value, in the device's unit",
            "quality": "0 good, 1 uncertain, 2 bad",
        },
    ),
    _rollup("15m", "quarter of an hour"),
    _rollup("1h", "hour"),
    _rollup("1d", "day"),
    Table(
        "counter_resets",
        "when a counter of a device started again",
        f"from v_counter_reset {_ONE} order by metric, ts",
        {
            **_SAMPLE,
            "metric": "which counter",
            "before_value": "where it stood",
            "after_value": "where it started again",
        },
    ),
)
