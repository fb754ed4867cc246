"""Pairs, folders, boxes, attacks and accuracy over folds: formats, and arithmetic by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from serving.errors import EvaluationDataError
from serving.evaluation.acquisition import (
    MarkedPicture,
    count_failures,
    intersection_over_union,
    measure_detection,
    read_boxes,
)
from serving.evaluation.evaluation import read_groups, read_subjects
from serving.evaluation.pairs import PairList, draw_pairs, people_of_pairs, read_csv_pairs, read_lfw_pairs
from serving.evaluation.presentation_attacks import list_presentations, measure_attacks
from serving.evaluation.result_store import PictureFacts
from serving.evaluation.verification import choose_threshold, measure_accuracy
from tests.unit.evaluation.known_scores import draw_people

PICTURES = [
    (name, Path(f"{name}/{name}_{number:04d}.jpg")) for name in ("Ann", "Bea", "Cy") for number in (1, 2)
]
GOOD = {
    "face_px": 100.0, "detection_score": 0.95, "sharpness": 1.0, "brightness": 120.0, "contrast": 100.0,
    "yaw_degrees": 0.0, "pitch_degrees": 0.0, "roll_degrees": 0.0, "cut_fraction": 0.0,
}  # fmt: skip
FACE = (10.0, 10.0, 50.0, 50.0, 0.9)


def test_lfw_pairs_are_read(tmp_path: Path) -> None:
    file = tmp_path / "pairs.txt"
    file.write_text("2\t1\nAnn\t1\t2\nAnn\t1\tBea\t2\nBea\t1\t2\nBea\t1\tCy\t1\n")
    pairs = read_lfw_pairs(file, PICTURES)
    assert pairs.first.tolist() == [0, 0, 2, 2]
    assert pairs.second.tolist() == [1, 3, 3, 4]
    assert pairs.same.tolist() == [True, False, True, False]
    assert pairs.fold.tolist() == [0, 0, 1, 1]
    usable = np.array([True, True, True, False, True, True])
    kept = pairs.keep(usable)
    assert (kept.first.tolist(), kept.second.tolist()) == ([0, 2], [1, 3])


@pytest.mark.parametrize(
    "text", ["", "2\t1\nAnn\t1\n", "x\ny\tz\n", "1\t1\nDee\t1\t2\n", "0\t0\nAnn\t1\t2\n"]
)
def test_damaged_lfw_pairs_are_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "pairs.txt"
    file.write_text(text)
    with pytest.raises(EvaluationDataError):
        read_lfw_pairs(file, PICTURES)


def test_csv_pairs_say_who_is_who(tmp_path: Path) -> None:
    for name in "abcd":
        (tmp_path / f"{name}.jpg").touch()
    file = tmp_path / "pairs.csv"
    file.write_text("path1,path2,same\na.jpg,b.jpg,1\nb.jpg,c.jpg,yes\na.jpg,d.jpg,0\n")
    pairs, pictures = read_csv_pairs(file)
    assert [path.name for path in pictures] == ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]
    assert people_of_pairs(pairs, 4).tolist() == [0, 0, 0, 1]
    assert read_subjects(None, file).all_pairs is False


@pytest.mark.parametrize("row", ["a.jpg,b.jpg,maybe", "a.jpg,nobody.jpg,1", "a.jpg,b.jpg"])
def test_damaged_csv_pairs_are_refused(tmp_path: Path, row: str) -> None:
    for name in "ab":
        (tmp_path / f"{name}.jpg").touch()
    file = tmp_path / "pairs.csv"
    file.write_text(f"path1,path2,same\n{row}\n")
    with pytest.raises(EvaluationDataError):
        read_csv_pairs(file)
    file.write_text(row)
    with pytest.raises(EvaluationDataError):
        read_csv_pairs(file)


def test_drawn_pairs_keep_each_person_in_one_fold() -> None:
    people = np.repeat(np.arange(60), 3)
    pairs = draw_pairs(people, 10)
    assert pairs.same.sum() == (~pairs.same).sum() == 60 * 3
    assert ((people[pairs.first] == people[pairs.second]) == pairs.same).all()
    folds: dict[int, set[int]] = {}
    for column in (pairs.first, pairs.second):
        for person, fold in zip(people[column], pairs.fold, strict=True):
            folds.setdefault(int(person), set()).add(int(fold))
    assert all(len(each) == 1 for each in folds.values())
    np.testing.assert_array_equal(pairs.first, draw_pairs(people, 10).first)


def test_accuracy_by_hand() -> None:
    """Ten folds of one pair of each kind; the best threshold is right about 19 of 20 pairs."""
    assert choose_threshold(
        np.array([0.1, 0.2, 0.7, 0.9]), np.array([False, False, True, True])
    ) == pytest.approx(0.45)
    genuine, impostor = [0.9] * 9 + [0.2], [0.1] * 10
    angles = np.arccos(np.array([*genuine, *impostor]))
    vectors = np.concatenate([[[1.0, 0.0]], np.column_stack([np.cos(angles), np.sin(angles)])]).astype(
        np.float32
    )
    fold = np.tile(np.arange(10), 2)
    pairs = PairList(np.zeros(20, int), np.arange(1, 21), np.arange(20) < 10, fold)
    found = measure_accuracy(pairs, vectors)
    # The odd pair lies above all impostors; only its own fold, which chooses 0.5 without it, misses it.
    assert found.mean == pytest.approx(0.95)
    assert found.standard_error == pytest.approx(np.std([0.5] + [1.0] * 9, ddof=1) / np.sqrt(10))
    assert (found.folds, found.pairs) == (10, 20)


def test_three_folds_are_cut_into_ten_parts() -> None:
    people, vectors = draw_people(90, 3, 0.2)
    pairs = draw_pairs(people, 3)
    assert measure_accuracy(pairs, vectors).folds == 10
    assert measure_accuracy(draw_pairs(people, 12), vectors).folds == 12


def test_failures_have_their_reasons() -> None:
    facts = [
        PictureFacts("truncated_picture"),
        PictureFacts(None, 100, 100),
        PictureFacts(None, 100, 100, (FACE, FACE), 0, GOOD),
        PictureFacts(None, 100, 100, (FACE,), 0, GOOD | {"sharpness": 0.55}),
        PictureFacts(None, 100, 100, (FACE,), 0, GOOD),
    ]
    found = count_failures(facts, np.array([0, 0, 1, 2, 2]))
    assert found["failed_to_acquire"]["count"] == 2
    assert found["reasons"] == {"no_face": 1, "truncated_picture": 1}
    off, standard, strict = found["levels"]
    assert [level["failed_to_enrol"]["count"] for level in (off, standard, strict)] == [3, 3, 4]
    assert strict["reasons"] == {"blurred": 1, "no_face": 1, "several_faces": 1, "truncated_picture": 1}
    assert off["people_failed_to_enrol"]["count"] == 2


def test_boxes_and_recall_by_hand(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / "images" / name).touch()
    file = tmp_path / "boxes.txt"
    file.write_text(
        "folder/a.jpg\n2\n0 0 40 40 0 0 0 0 0 0\n100 100 20 20 0 0 0 1 0 0\nb.jpg\n0\n0 0 0 0 0 0 0 0 0 0\n"
    )
    marked = read_boxes(file, tmp_path / "images")
    assert [len(each.boxes) for each in marked] == [2, 0]
    assert marked[0].counted.tolist() == [True, False]
    found = measure_detection(
        marked,
        [
            PictureFacts(
                None, 200, 200, ((0, 0, 40, 30, 0.9), (1, 1, 40, 30, 0.8), (100, 100, 20, 20, 0.7)), 0
            ),
            PictureFacts(None, 200, 200, ((5, 5, 30, 30, 0.6),), 0),
        ],
    )
    assert found["faces"] == 1
    assert [row["count"] for row in found["recall"]] == [1, 1, 0]
    assert found["false_detections"] == 1
    assert intersection_over_union(np.array([[0.0, 0, 2, 2]]), np.array([[1.0, 0, 2, 2]]))[
        0, 0
    ] == pytest.approx(1 / 3)
    for text in ("c.jpg\n0\n", "a.jpg\n-2\n", "a.jpg\n4\n" + "1 2 3\n" * 4):
        file.write_text(text)
        with pytest.raises(EvaluationDataError):
            read_boxes(file, tmp_path / "images")
    assert isinstance(marked[0], MarkedPicture)


def test_attack_rates_by_hand(tmp_path: Path) -> None:
    """30107-3: of prints one of four passes, of replays both; of the living one of five is refused."""
    found = measure_attacks(
        [0.9, 0.8, 0.95, 0.4, 0.7], {"print": [0.1, 0.6, 0.2, None], "replay": [0.5, 0.9]}, threshold=0.5
    )
    assert {row["kind"]: row["value"] for row in found["apcer"]} == {"print": 0.25, "replay": 1.0}
    assert found["apcer"][0]["no_face"] == 1
    assert found["worst_apcer"] == {"kind": "replay", "value": 1.0}
    assert found["bpcer"]["value"] == 0.2
    assert found["acer"] == 0.6
    for name in ("live/x.jpg", "attacks/print/y.png", "attacks/empty/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    live, kinds = list_presentations(tmp_path)
    assert ([path.name for path in live], list(kinds)) == (["x.jpg"], ["print"])
    with pytest.raises(EvaluationDataError):
        list_presentations(tmp_path / "live")


def test_groups_are_read(tmp_path: Path) -> None:
    file = tmp_path / "groups.csv"
    file.write_text("person,group\nAnn,one\nBea,two\n")
    assert read_groups(file, ["Ann"]) == {"Ann": "one", "Bea": "two"}
    with pytest.raises(EvaluationDataError):
        read_groups(file, ["Dee"])
    file.write_text("name,group\nAnn,one\n")
    with pytest.raises(EvaluationDataError):
        read_groups(file, ["Ann"])
