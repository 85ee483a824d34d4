"""The table of docs/how-to/queue.md, in virtual time: `python tests/benchmarks/queue_table.py`.

Prints each scenario's figures without a queue and with one, and what they must not exceed with one.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from core.queue_table import TABLE


def main() -> None:
    print("| scenario | figure | no queue | queue | at most |")
    print("|---|---|---:|---:|---:|")
    for row in TABLE:
        without, queued = row.play(False), row.play(True)
        for name, figure in queued.items():
            must = f"{row.must[name]:.2f}" if name in row.must else ""
            print(f"| {row.scenario} | {name} | {without[name]:.2f} | {figure:.2f} | {must} |", flush=True)


if __name__ == "__main__":
    main()
