"""The report's sections below its curves, each from one section of the result's document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree.ElementTree import Element

from serving.evaluation.markup import Child, element, table
from serving.evaluation.wording import show_interval, show_rate, show_share, unsupported

Document = Mapping[str, Any]
Row = list[Any]

_SOURCES = (
    "FMR, FNMR, FTA, FTE: ISO/IEC 19795-1. APCER, BPCER: ISO/IEC 30107-3.",
    "Accuracy over folds: Huang et al., Labeled Faces in the Wild, UMass TR 07-49, 2007.",
    "FNIR, FPIR: Grother et al., Face Recognition Technology Evaluation part 2, NIST.",
    "No rate is stated where fewer than 30 errors are expected: Doddington et al., Speech Communication 31, "
    "2000.",
    "Intervals draw whole people with replacement, because pairs of one picture are dependent: Bolle et al., "
    "Computer Vision and Image Understanding 93, 2004. Shares of pictures: Wilson's interval, 1927.",
    "DET axes: Martin et al., Eurospeech 1997.",
)


def add_calibration(packs: Sequence[Document]) -> Element | None:
    """Predicted against measured false match rates."""
    rows: list[Row] = []
    for pack in packs:
        for check in (pack["calibration"] or {"checks": []})["checks"]:
            ratio = f"{check['ratio']:.2f}" if check["supported"] else unsupported()
            rows.append(
                [
                    pack["pack"],
                    f"{check['threshold']:.4f}",
                    show_share(check["predicted"]),
                    show_rate(check["measured"]),
                    ratio,
                    show_rate(check["false_non_match_rate"]),
                ]
            )
    held: list[Row] = []
    for pack in packs:
        ratios = [row["ratio"] for row in pack["held_out"]]
        if ratios:
            folds = len({row["fold"] for row in pack["held_out"]})
            held.append([pack["pack"], str(folds), f"{min(ratios):.2f}", f"{max(ratios):.2f}"])
    if not rows and not held:
        return None
    parts: list[Child] = [element("h2", "Does the calibration keep its word?")]
    if rows:
        told = {f"{p['pack']}: {p['calibration']['data']}" for p in packs if p["calibration"]}
        parts.append(element("p", "Fitted on: " + "; ".join(sorted(told)) + ".", class_="soft"))
        headers = ["pack", "cosine", "FMR predicted", "FMR measured", "measured / predicted", "FNMR measured"]
        parts.append(table(headers, rows, "The pack's calibration on these pictures; 1 is perfect."))
    if held:
        headers = ["pack", "folds", "smallest ratio", "largest ratio"]
        words = "Fitted anew without the people of one fold and measured on them, at FMR 1 % and 0.1 %."
        parts.append(table(headers, held, words))
    return element("section", parts)


def add_identification(packs: Sequence[Document]) -> Element | None:
    """Searching a gallery, measured and projected."""
    rows: list[Row] = []
    for pack in packs:
        found = pack["identification"]
        if found:
            default = found["at_default_threshold"]
            rows.append(
                [
                    pack["pack"],
                    f"{found['gallery']:,}",
                    show_share(found["rank_1_rate"]),
                    show_rate(found["false_negative_rate"]),
                    show_share(default["false_negative_rate"]) if default else "-",
                    show_share(default["false_positive_rate"]) if default else "-",
                    show_share(default["false_positive_rate_if_independent"]) if default else "-",
                ]
            )
    if not rows:
        return None
    first = next(pack["identification"] for pack in packs if pack["identification"])
    words = (
        f"{first['splits']} random halves of the people, one picture of each enrolled; about "
        f"{first['mated_searches']:,} searches of enrolled people and {first['stranger_searches']:,} of "
        "strangers."
    )
    headers = ["pack", "enrolled", "rank 1", "FNIR at FPIR 1 %"]
    headers += ["FNIR at default", "FPIR at default", "FPIR if independent"]
    projected = [
        [
            pack["pack"],
            f"{row['gallery']:,}",
            f"{row['false_match_rate']:.2g}",
            f"{row['threshold']:.4f}" if row["supported"] else "-",
            show_share(row["false_negative_rate"]) if row["supported"] else unsupported(),
        ]
        for pack in packs
        if pack["identification"]
        for row in pack["identification"]["projected"]
    ]
    return element(
        "section",
        element("h2", "Who is it, if anybody?"),
        table(headers, rows, words),
        table(
            ["pack", "enrolled", "FMR needed", "cosine", "FNIR at FPIR 1 %"],
            projected,
            "Projected to other galleries, as if comparisons were independent; not measured.",
        ),
    )


def add_fusion(packs: Sequence[Document]) -> Element | None:
    """Several pictures of one person at once."""
    rows = [
        [
            pack["pack"],
            str(row["pictures"]),
            f"{row['threshold']:.4f}",
            show_share(row["predicted_false_match_rate"]),
            show_share(row["false_match_rate"]) if row["supported"] else unsupported(),
            [show_share(row["false_non_match_rate"]), _small(row["false_non_match_interval"])],
        ]
        for pack in packs
        for row in pack["fusion"]
    ]
    if not rows:
        return None
    people = next(pack["fusion"][0]["people"] for pack in packs if pack["fusion"])
    headers = ["pack", "pictures", "cosine", "FMR of one picture", "FMR measured", "FNMR measured"]
    words = f"The mean cosine of several pictures against thresholds for one; {people:,} people."
    return element("section", element("h2", "Several pictures at once"), table(headers, rows, words))


def add_groups(packs: Sequence[Document]) -> Element | None:
    """Rates by group."""
    rows = [
        [
            pack["pack"],
            row["group"],
            f"{row['people']:,}",
            f"{row['pictures']:,}",
            show_rate(row["false_match_rate"]) if row["false_match_rate"] else "-",
            show_rate(row["false_non_match_rate"]) if row["false_non_match_rate"] else "-",
        ]
        for pack in packs
        if pack["groups"]
        for row in pack["groups"]["groups"]
    ]
    if not rows:
        return None
    headers = ["pack", "group", "people", "pictures", "FMR within", "FNMR"]
    words = "At the default threshold; strangers of the same group are compared."
    return element("section", element("h2", "By group"), table(headers, rows, words))


def add_acquisition(packs: Sequence[Document]) -> Element:
    """What is lost before any comparison, detection, and time."""
    rows: list[Row] = []
    for pack in packs:
        found = pack["acquisition"]
        reasons = ", ".join(f"{name}: {count}" for name, count in found["reasons"].items()) or "none"
        rows.append([pack["pack"], "cannot be used", _share(found["failed_to_acquire"]), "-", reasons])
        for level in found["levels"]:
            reasons = ", ".join(f"{name}: {count}" for name, count in level["reasons"].items()) or "none"
            people = level.get("people_failed_to_enrol")
            rows.append(
                [
                    pack["pack"],
                    f"cannot be enrolled, level {level['level']}",
                    _share(level["failed_to_enrol"]),
                    _share(people) if people else "-",
                    reasons,
                ]
            )
    parts: list[Child] = [
        element("h2", "Before any comparison"),
        table(
            ["pack", "what", "pictures", "people", "reasons"],
            rows,
            "Enrolling asks for exactly one face without a fault; a person fails when all pictures do.",
        ),
    ]
    detected = [(pack["pack"], pack["detection"]) for pack in packs if pack["detection"]]
    if detected:
        sizes = [f"recall, {row['min_px']} px and more" for row in detected[0][1]["recall"]]
        first = detected[0][1]
        words = f"{first['pictures']:,} pictures with marked faces, overlap (IoU) of {first['iou']:g}."
        parts.append(
            table(
                ["pack", *sizes, "false detections"],
                [
                    [name, *(_share(row) for row in found["recall"]), str(found["false_detections"])]
                    for name, found in detected
                ],
                words,
            )
        )
    stages = ("find_ms_per_picture", "embed_ms_per_face")
    times = [
        [
            pack["pack"],
            *(_time(pack["speed"][stage]) for stage in stages),
            f"{pack['speed']['faces_per_picture']:g}",
        ]
        for pack in packs
    ]
    headers = ["pack", "decode a picture and find its faces", "embed a face", "faces per picture"]
    parts.append(table(headers, times, "CPU milliseconds on one core, median; small: nine in ten are below."))
    return element("section", parts)


def add_attacks(found: Document | None) -> Element | None:
    """Presentation attacks."""
    if found is None:
        return None
    rows = [
        [row["kind"], f"{row['of']:,}", str(row["no_face"]), "APCER", [_share(row)]] for row in found["apcer"]
    ]
    live = found["bpcer"]
    rows.append(["living faces", f"{live['of']:,}", str(live["no_face"]), "BPCER", [_share(live)]])
    words = (
        f"APCER: share of attacks that pass as living. BPCER: share of living faces refused. Threshold "
        f"{found['threshold']:g}; the worst kind is {found['worst_apcer']['kind']}."
    )
    headers = ["pictures of", "count", "without a face", "rate", "value"]
    return element("section", element("h2", "Presentation attacks"), table(headers, rows, words))


def add_method(document: Document) -> Element:
    """How it was measured, and with what."""
    statistics, machine = document["statistics"], document["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in document["versions"].items())
    models = [
        element("li", element("code", f"{name} {digest}"))
        for pack in document["packs"]
        for name, digest in pack["models"].items()
    ]
    unique = {"".join(item.itertext()): item for item in models}
    facts = (
        f"Intervals: {statistics['confidence']:.0%}, {statistics['method']}, {statistics['replicates']:,} "
        f"draws, seed {statistics['seed']}. Machine: {machine['processor']}, {machine['cores']} cores, "
        f"{machine['system']}. Versions: {versions}."
    )
    command = element("p", "Command: ", element("code", document["command"])) if document["command"] else None
    return element(
        "section",
        element("h2", "How it was measured"),
        element("ul", (element("li", source) for source in _SOURCES)),
        element("p", facts),
        command,
        element("details", element("summary", "SHA-256 of the models"), element("ul", unique.values())),
    )


def _share(found: Document) -> list[Child]:
    return [show_share(found["value"]), _small(found["interval"])]


def _small(interval: Mapping[str, float] | None) -> Element | None:
    text = show_interval(interval)
    return element("small", text) if text else None


def _time(found: Document | None) -> list[Child]:
    if found is None:
        return ["-"]
    return [f"{found['median']:.2f}", element("small", f"{found['p90']:.2f}")]
