#!/usr/bin/env python3
"""Writes the data files of the examples from the original files.

    python3 scripts/data/split.py ORIGINALS

ORIGINALS holds `breast_cancer.csv`, `german_credit.csv`, `wine_quality_red.csv` and `austen/*.txt`; their
provenance is in `examples/*/data/LICENCE.md`. The novels are copied as they are. The rows of a table are
dealt in turn to its files, separately per value of the target column, so that each file has the same share
of every class. Lines are copied byte for byte, and every row ends up in exactly one file.

The script needs Python 3.9 and its standard library alone. The output is committed; running it again gives
the same bytes.
"""

import pathlib
import sys

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "examples"

TABLES = [
    ("breast_cancer.csv", "diagnosis", "hospital", ["north.csv", "south.csv"]),
    ("german_credit.csv", "Class", "bank", ["branch-a.csv", "branch-b.csv"]),
    ("wine_quality_red.csv", "quality", "factory", ["line-a.csv", "line-b.csv", "public.csv"]),
]


def split(source: pathlib.Path, target: str, folder: pathlib.Path, names: list[str]) -> None:
    header, *rows = source.read_bytes().replace(b"\r\n", b"\n").rstrip(b"\n").split(b"\n")
    # None of the originals quotes a field, so a comma always separates two fields.
    assert b'"' not in header + b"".join(rows)
    column = header.split(b",").index(target.encode())
    files: list[list[bytes]] = [[] for _ in names]
    seen: dict[bytes, int] = {}
    # Classes begin at different files, so that file sizes differ by as little as possible.
    for row in rows:
        label = row.split(b",")[column]
        turn = seen.setdefault(label, len(seen))
        files[turn % len(files)].append(row)
        seen[label] = turn + 1
    assert sum(map(len, files)) == len(rows)
    for name, lines in zip(names, files):
        (folder / name).write_bytes(b"\n".join([header, *lines]) + b"\n")
        print(f"{folder.parent.name}/data/{name}: {len(lines)} rows")


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    originals = pathlib.Path(sys.argv[1])
    for file, target, example, names in TABLES:
        folder = EXAMPLES / example / "data"
        folder.mkdir(parents=True, exist_ok=True)
        split(originals / file, target, folder, names)
    novels = EXAMPLES / "gpt" / "data"
    novels.mkdir(parents=True, exist_ok=True)
    for novel in sorted((originals / "austen").glob("*.txt")):
        (novels / novel.name).write_bytes(novel.read_bytes())
        print(f"gpt/data/{novel.name}: {novel.stat().st_size} bytes")


if __name__ == "__main__":
    main()
