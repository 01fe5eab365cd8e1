"""`python -m scripts.chaos.skewed SECONDS`: an agent on a box whose clock is off by so much."""

import runpy
import sys
import time


def main() -> None:
    """Shift wall time before anything of the agent is imported; monotonic time stays."""
    off_s = float(sys.argv.pop(1))
    real, real_ns = time.time, time.time_ns
    time.time = lambda: real() + off_s
    time.time_ns = lambda: real_ns() + int(off_s * 1e9)
    runpy.run_module("edge_agent", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
