"""Try hostile input by the thousand.

    python -m tests.fuzz texts|bundles|checkpoints|kills [--count N] [--seed S] [--first N]
    python -m tests.fuzz checkpoints --part FORMAT ...

Leaves with 1 where a case did anything but answer or refuse in one line.
"""

from __future__ import annotations

import argparse
import sys

from tests.fuzz.frame import run
from tests.fuzz.kinds import KINDS


def main() -> None:
    """Run one kind of cases, and say what came of them."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--part", help="The only part that is tried, such as a format.")
    parser.add_argument("--count", type=int, default=1000, help="How many cases.")
    parser.add_argument("--seed", type=int, default=0, help="What makes them these cases.")
    parser.add_argument("--first", type=int, default=0, help="Number of the first case.")
    parser.add_argument("--ways", action="store_true", help="List the ways of refusal too.")
    given = parser.parse_args()
    kind, name = KINDS[given.kind](), given.kind
    if given.part is not None:
        if given.part not in kind.parts:
            parser.error(f"--part of {name} is one of {', '.join(kind.parts) or 'none'}")
        kind.part, name = given.part, f"{name} {given.part}"
    tally = run(name, kind, count=given.count, seed=given.seed, first=given.first)
    for finding in tally.findings[:50]:
        print(f"--- {finding}")
    if given.ways:
        for way, times in tally.refused.most_common():
            print(f"{times:>8} {way}")
    print(tally)
    sys.exit(bool(tally.findings))


if __name__ == "__main__":
    main()
