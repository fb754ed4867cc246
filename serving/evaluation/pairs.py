"""Lists of pairs: LFW's pairs.txt, a CSV of paths, and pairs drawn from a folder of people."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from serving.errors import EvaluationDataError
from serving.evaluation.people_folder import number_people
from serving.evaluation.resampling import SEED
from serving.evaluation.scores import Integers

DRAWN_PAIRS_PER_FOLD = 300
"""Pairs of either kind in a fold that is drawn, as in LFW's own list."""

_HEADER = ("path1", "path2", "same")
_TRUE, _FALSE = frozenset({"1", "true", "yes"}), frozenset({"0", "false", "no"})


@dataclass(frozen=True)
class PairList:
    """Pairs of pictures as positions in a list of pictures.

    first, second: int64 [n]. same: bool [n], whether it is one person. fold: int64 [n] from 0.
    """

    first: Integers
    second: Integers
    same: NDArray[np.bool_]
    fold: Integers

    def __len__(self) -> int:
        return len(self.same)

    def keep(self, usable: NDArray[np.bool_]) -> PairList:
        """The pairs whose pictures are both usable, in positions among the usable ones: bool [pictures]."""
        place = np.cumsum(usable) - 1
        both = usable[self.first] & usable[self.second]
        return PairList(place[self.first[both]], place[self.second[both]], self.same[both], self.fold[both])

    def fold_of_people(self, people: Integers) -> Integers:
        """For each person of people, int64 [pictures], the last fold that names them, -1 for none."""
        folds = np.full(int(people.max()) + 1 if len(people) else 0, -1, np.int64)
        for column in (self.first, self.second):
            np.maximum.at(folds, people[column], self.fold)
        return folds


def read_lfw_pairs(path: Path, pictures: Sequence[tuple[str, Path]]) -> PairList:
    """Read LFW's pairs.txt: `folds pairs`, then per fold that many genuine and as many impostor pairs.

    Args:
        pictures: (person, picture); the n-th picture of a person has a name that ends in _n.

    Raises:
        EvaluationDataError: the file is not in that format, or names a picture that is not there.
    """
    place: dict[tuple[str, int], int] = {}
    for position, (person, file) in enumerate(pictures):
        suffix = file.stem.rpartition("_")[2]
        if suffix.isdecimal():
            place[(person, int(suffix))] = position
    rows: list[tuple[int, int, bool, int]] = []
    try:
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        header = lines[0].split()
        # View 1 of LFW ("pairsDevTrain.txt") has one number only: a single fold.
        per_fold = 2 * int(header[-1])
        for number, line in enumerate(lines[1:]):
            cells = line.rstrip().split("\t")
            same = len(cells) == 3
            names = (cells[0], cells[0] if same else cells[2])
            numbers = (int(cells[1]), int(cells[-1]))
            missing = [key for key in zip(names, numbers, strict=True) if key not in place]
            if missing:
                raise EvaluationDataError(f"{path}, line {number + 2}: there is no picture {missing[0]}")
            first, second = (place[key] for key in zip(names, numbers, strict=True))
            rows.append((first, second, same, number // per_fold))
    except (OSError, ValueError, IndexError, ZeroDivisionError) as error:
        raise EvaluationDataError(f"{path} is not in the format of LFW's pairs.txt: {error}") from error
    return _assemble(rows, path)


def read_csv_pairs(path: Path, base: Path | None = None) -> tuple[PairList, list[Path]]:
    """Read a CSV with the header `path1,path2,same` (same: 1 or 0), and return it with its pictures.

    Paths are relative to base, or to the folder of the CSV. A fourth column, `fold`, may number folds.

    Raises:
        EvaluationDataError: the header or a row is wrong, or a picture is not there.
    """
    root = base or path.parent
    files: dict[Path, int] = {}
    rows: list[tuple[int, int, bool, int]] = []
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            table = csv.DictReader(stream)
            if tuple(table.fieldnames or ())[:3] != _HEADER:
                raise EvaluationDataError(f"{path} does not begin with {','.join(_HEADER)}")
            for row in table:
                word = (row["same"] or "").strip().lower()
                if word not in _TRUE | _FALSE:
                    raise EvaluationDataError(f"{path}, line {table.line_num}: same is 1 or 0, not {word!r}")
                ends = [root / (row[name] or "").strip() for name in _HEADER[:2]]
                for end in ends:
                    if not end.is_file():
                        raise EvaluationDataError(f"{path}, line {table.line_num}: there is no picture {end}")
                first, second = (files.setdefault(end, len(files)) for end in ends)
                rows.append((first, second, word in _TRUE, int(row.get("fold") or 0)))
    except (OSError, ValueError, csv.Error) as error:
        raise EvaluationDataError(f"{path} is not a CSV of pairs: {error}") from error
    return _assemble(rows, path), list(files)


def people_of_pairs(pairs: PairList, pictures: int) -> Integers:
    """Who is who as far as the pairs say it: pictures linked by pairs of one person are one person's."""
    parent = list(range(pictures))

    def find_root(member: int) -> int:
        while parent[member] != member:
            parent[member] = parent[parent[member]]
            member = parent[member]
        return member

    for first, second in zip(pairs.first[pairs.same], pairs.second[pairs.same], strict=True):
        parent[find_root(int(first))] = find_root(int(second))
    return number_people([str(find_root(member)) for member in range(pictures)])


def draw_pairs(people: Integers, folds: int, seed: int = SEED) -> PairList:
    """Draw pairs as LFW's authors did: each person in one fold only, as many genuine as impostor pairs.

    A fold has at most `DRAWN_PAIRS_PER_FOLD` of either kind; the same seed draws the same pairs.
    """
    rng = np.random.default_rng(seed)
    names = np.unique(people)
    fold_of = {int(person): place % folds for place, person in enumerate(rng.permutation(names))}
    fold_of_picture = np.array([fold_of[int(person)] for person in people])
    rows: list[tuple[int, int, bool, int]] = []
    for fold in range(folds):
        members = np.nonzero(fold_of_picture == fold)[0]
        first, second = np.triu_indices(len(members), 1)
        same = people[members[first]] == people[members[second]]
        count = min(DRAWN_PAIRS_PER_FOLD, int(same.sum()), int((~same).sum()))
        for kind in (True, False):
            for place in rng.choice(np.nonzero(same == kind)[0], count, replace=False):
                rows.append((int(members[first[place]]), int(members[second[place]]), kind, fold))
    return _assemble(rows, None)


def _assemble(rows: list[tuple[int, int, bool, int]], path: Path | None) -> PairList:
    if not rows and path is not None:
        raise EvaluationDataError(f"{path} names no pairs")
    table = np.array(rows, np.int64).reshape(-1, 4)
    return PairList(table[:, 0], table[:, 1], table[:, 2].astype(bool), table[:, 3])
