"""`make bench-messages`: messages a second of simple devices, one sample each, as JSON of 3 and of 6 metrics.

Every device has a connection of its own and publishes with QoS 1; the gateway acknowledges to the broker when
Kafka has it. Samples that are not stored yet are bounded, so what is measured is a pace that holds.
"""

import os
from dataclasses import dataclass

from scripts.bench_fill import TENANT, register, simple_of
from scripts.bench_run import STORAGE, a_platform, keep, load, options, plan_of
from scripts.bench_stack import report, run
from scripts.load.shapes import SHAPES, with_step

STEP_US = 50_000
"""Below the time between two messages of a device: the second load never meets times of the first."""


@dataclass(frozen=True, slots=True)
class Result:
    """By number of metrics in a message."""

    messages_per_s: dict[str, float]
    points_per_s: dict[str, float]
    cpu_cores: dict[str, dict[str, float]]
    seconds: float
    devices: int
    storage: str
    cores: int
    load_1m_before: float

    def line(self) -> str:
        """For people."""
        rates = ", ".join(
            f"{rate:,.0f} messages/s with {metrics} metrics" for metrics, rate in self.messages_per_s.items()
        )
        cpu = ", ".join(f"{name} {cores:.2f}" for name, cores in self.cpu_cores["6"].items())
        return (
            f"{rates} ({self.devices:,} devices); CPU cores with 6: {cpu}; load before {self.load_1m_before}"
        )


def main() -> None:
    """Run it."""
    parser = options(__doc__)
    parser.add_argument("--devices", type=int, default=4_000)
    parser.add_argument("--seconds", type=float, default=30, help="measured with each (30)")
    wanted = parser.parse_args()
    load_before = os.getloadavg()[0]
    # Quotas count as always, but a rejected sample would never be stored and so be waited for.
    quotas = {"INGEST_DEVICE_RATE": "1000", "INGEST_DEVICE_BURST": "1000"}
    with a_platform(lambda stack: register(stack, simple=wanted.devices), quotas) as (stack, _):
        windows = {
            str(SHAPES[name].points): load(
                stack,
                plan_of(stack, tenant=TENANT, shape=with_step(SHAPES[name], STEP_US), ahead_rows=40_000),
                simple_of(wanted.devices),
                warm_up_s=wanted.warm_up,
                seconds=wanted.seconds,
            )
            for name in ("json3", "json6")
        }
    result = Result(
        messages_per_s={name: round(window.rows_per_s) for name, window in windows.items()},
        points_per_s={name: round(window.points_per_s) for name, window in windows.items()},
        cpu_cores={name: window.cpu_cores() for name, window in windows.items()},
        seconds=wanted.seconds,
        devices=wanted.devices,
        storage=STORAGE,
        cores=os.cpu_count() or 0,
        load_1m_before=round(load_before, 2),
    )
    if wanted.keep:
        keep("bench-messages", result, windows["6"])
    report(result)


if __name__ == "__main__":
    run(main)
