"""Let actors of Ray answer a large file, and kill one of them.

``python -m scripts.soak_ray BUNDLE``: 100,000 texts are answered in this process, by two actors,
and by two actors of which one is killed. All three files must hold the same answers in the
same order. The throughput of each is printed, and what that of the actors is of that of as many
threads here; machines that do other work should set ``RAY_worker_niceness=0``.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.parquet as pq

from bert_export.bulk import answer_file
from scripts.soak import random_texts

__all__ = ["main"]


class Pace:
    """Rows a second between the first part and the last, so that starting up does not count."""

    def __init__(self) -> None:
        self._heard: list[tuple[float, int]] = []

    def __call__(self, done: int, _total: int) -> None:
        """Hear how many rows are done."""
        self._heard.append((time.monotonic(), done))

    @property
    def rows_a_second(self) -> float:
        """Between the first part that was done and the last."""
        (begin, first), (end, last) = self._heard[1], self._heard[-1]
        return (last - first) / (end - begin)


class Killer:
    """Kills one actor once a tenth of the rows is done."""

    def __init__(self) -> None:
        self.killed: int | None = None

    def __call__(self, done: int, total: int) -> None:
        """Hear how many rows are done."""
        if self.killed is None and done >= total / 10:
            actors = own_actors()
            if actors:
                self.killed = actors[0]
                os.kill(self.killed, signal.SIGKILL)


def own_actors() -> list[int]:
    """Processes of actors of Ray below this process."""
    parents, names = {}, {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                status = (folder / "stat").read_text(encoding="utf-8", errors="replace")
                names[int(folder.name)] = (folder / "cmdline").read_bytes()
            except OSError:  # it has ended meanwhile
                continue
            parents[int(folder.name)] = int(status.rpartition(")")[2].split()[1])
    found = []
    for process, name in names.items():
        above = process
        while above in parents and above != os.getpid():
            above = parents[above]
        if above == os.getpid() and b"MapWorker" in name:
            found.append(process)
    return sorted(found)


def main() -> None:
    """Answer three times; leaves with 1 where answers differ or no actor was killed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    with TemporaryDirectory() as name:
        folder, killer = Path(name), Killer()
        source = folder / "texts.parquet"
        texts = random_texts(options.rows, longest=12)
        pq.write_table(pa.table({"id": range(options.rows), "text": texts}), source)
        serial, actors = Pace(), Pace()
        answer_file(
            source, folder / "serial.parquet", options.bundle, threads=options.workers,
            advance=serial,
        )  # fmt: skip
        for kind, advance in (("actors", actors), ("killed", killer)):
            answer_file(
                source, folder / f"{kind}.parquet", options.bundle, threads=1, engine="ray",
                workers=options.workers, advance=advance,
            )  # fmt: skip
        tables = [
            pq.read_table(folder / f"{kind}.parquet") for kind in ("serial", "actors", "killed")
        ]
        same = [table.equals(tables[0]) for table in tables[1:]]
        share = actors.rows_a_second / serial.rows_a_second
        print(
            f"{options.rows:,} rows: {serial.rows_a_second:.0f} a second in this process with "
            f"{options.workers} threads, {actors.rows_a_second:.0f} by {options.workers} actors "
            f"({share:.0%}); same answers: {same[0]}; "
            f"after actor {killer.killed} was killed: {same[1]}"
        )
        sys.exit(not all(same) or killer.killed is None)


if __name__ == "__main__":
    main()
