"""Write a table of random numbers, a text of which hardly anything can be learned or counted.

    python experiments/measurements/random_table.py table.csv --rows 20000 --seed 1

The gate of the memory is fitted on one, too (experiments/MEMORY.md): there it must not believe counts.
"""

import argparse
import csv
from pathlib import Path

import numpy as np

COLUMNS = ("station", "day", "count", "temperature", "pressure", "share")


def write_table(path: Path, rows: int, seed: int) -> None:
    """Write a CSV file with a row of numbers of several kinds for each of ``rows``."""
    draw = np.random.default_rng(seed)
    columns = (
        draw.integers(1, 40, rows),
        draw.integers(1, 366, rows),
        draw.poisson(300, rows),
        draw.normal(11, 8, rows).round(1),
        draw.normal(1_013, 9, rows).round(2),
        draw.random(rows).round(5),
    )
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(zip(*columns, strict=True))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", type=Path)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    typed = parser.parse_args()
    write_table(typed.path, typed.rows, typed.seed)
