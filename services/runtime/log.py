"""Logs: one JSON object a line on standard output, with secrets and personal values taken out (C-043)."""

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, Final

import structlog

SECRET_KEYS: Final = re.compile(r"passw|secret|token|authori[sz]ation|api_?key|admin_?key|cookie", re.I)
HIDDEN: Final = "***"
_PATTERNS: Final = (
    (re.compile(r"(?<=://)([^/\s:@]+):[^@/\s]+(?=@)"), r"\1:***"),
    (re.compile(r"\b[\w.+-]+@[\w-]+\.[\w.-]+\b"), "<e-mail>"),
    (re.compile(r"(?<![\w.:+-])\+\d[\d ()-]{7,}\d"), "<phone>"),
    (re.compile(r"\beyJ[\w-]{8,}\.[\w-]+\.[\w-]+"), "<token>"),
    (re.compile(r"\bwhsec_[\w+/=]+"), "<secret>"),
)


def redact(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """structlog processor: hide values of secret keys, and what looks personal or secret in any text."""
    for key, value in event.items():
        event[key] = _clean(key, value)
    return event


def _clean(key: str, value: Any) -> Any:
    if SECRET_KEYS.search(key) and isinstance(value, str | bytes):
        return HIDDEN
    if isinstance(value, str):
        for pattern, replacement in _PATTERNS:
            value = pattern.sub(replacement, value)
        return value
    if isinstance(value, dict):
        return {name: _clean(str(name), part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_clean("", part) for part in value]
    return value


def setup_logging(service: str, level: str = "info") -> None:
    """Send structlog and the standard library's logging to standard output as JSON."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        structlog.processors.format_exc_info,
        redact,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    logging.getLogger("aiokafka").setLevel(logging.ERROR)
    logging.getLogger("uvicorn.access").setLevel(logging.WARNING)
    structlog.contextvars.bind_contextvars(service=service)


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """A logger; pass `__name__`, so that its name is a path in the repository."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger
