"""What can be watched."""

from typing import Final

from prometheus_client import Counter, Gauge

LAST_TICK: Final = Gauge(
    "controller_last_tick_timestamp",
    "Unix time in seconds of the last tick that reached the database; older than 150 s is red (H-063)",
)
OPEN_SESSIONS: Final = Gauge("controller_open_sessions", "Agents that are connected, at the last tick")
UNANSWERED: Final = Gauge(
    "controller_unanswered_commands", "Commands that wait for an agent or its reply, at the last tick"
)
UNFINISHED: Final = Gauge(
    "controller_unfinished_dispatches", "Dispatches neither verified nor ended otherwise, at the last tick"
)
DISPATCHES: Final = Counter(
    "controller_dispatches_total",
    "Dispatches asked for, by outcome: accepted, or the reason of the refusal",
    ["outcome"],
)
PUBLISHED: Final = Counter("controller_commands_published_total", "Commands sent to Kafka, repeats included")
REPLIES: Final = Counter(
    "controller_replies_total", "New words on commands, by state and who said it", ["state", "by"]
)
OPENED: Final = Counter("controller_sessions_opened_total", "Sessions opened, or reopened by a reconnect")
CLOSED: Final = Counter("controller_sessions_closed_total", "Sessions closed, by reason", ["reason"])
UNUSABLE: Final = Counter(
    "controller_unusable_messages_total",
    "Messages that were put aside since they say nothing usable",
    ["topic"],
)
