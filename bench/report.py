"""The bench's JSON as Markdown tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Outcome = Mapping[str, Any]
SCRIPT_COLUMNS = ("dice", "found", "rq", "sq", "pq", "inst_dice", "labelled", "extra", "small_extra")
RUN_COLUMNS = ("scan", "s", "peak GB", "vertebrae", "levels", "away ml")


def as_markdown(bench: Mapping[str, Any]) -> str:
    """All outcomes: the run of each scan, the scores of each group, and how the refused files ended."""
    outcomes: Sequence[Outcome] = bench["outcomes"]
    parts = [f"Machine: {bench['machine']}. Arguments: `{' '.join(bench['arguments']) or 'none'}`."]
    runs = [o for o in outcomes if o["kind"] != "refused"]
    if runs:
        rows = [[o["name"], o["seconds"], o["peak_gb"], o["vertebrae"], o["levels"], o["away_ml"], _ending(o)] for o in runs]
        parts += ["### Runs", table([*RUN_COLUMNS, "ended with"], rows)]
    for kind, title in (("bodies", "Vertebral bodies"), ("discs", "Discs")):
        scored = [o for o in outcomes if o["kind"] == kind and o["scores"]]
        if scored:
            parts += [f"### {title}", _script_table(scored)]
        if kind == "bodies" and scored:
            rows = [[o["name"], o["scores"]["levels"], o["scores"]["named_right"], _wrong(o["scores"])] for o in scored]
            parts += ["### Names of the bodies", table(["scan", "bodies", "named right", "named wrong"], rows)]
    for outcome in (o for o in outcomes if o["kind"] == "crop" and o["scores"]):
        parts += [f"### All structures: {outcome['name']}", *_crop_tables(outcome["scores"])]
    cords = [[o["name"], o["scores"]["cord"]] for o in outcomes if o["kind"] == "cord" and o["scores"]]
    if cords:
        parts += ["### Cord", table(["scan", "Dice"], cords)]
    refused = [[o["name"], _ending(o), "yes" if o["as_expected"] else "NO"] for o in outcomes if o["kind"] == "refused"]
    if refused:
        parts += ["### Files that must be refused or marked", table(["file", "ended with", "as it must"], refused)]
    return "\n\n".join(parts) + "\n"


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table; numbers are rounded to three decimals."""
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    lines += ["| " + " | ".join(_cell(value) for value in row) + " |" for row in rows]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def _ending(outcome: Outcome) -> str:
    if outcome["exit_code"]:
        return f"{outcome['error'] or 'no code'} (exit {outcome['exit_code']})"
    return ", ".join(outcome["findings"]) or "done"


def _script_table(outcomes: Sequence[Outcome]) -> str:
    rows = [[o["name"], *(o["scores"][column] for column in SCRIPT_COLUMNS)] for o in outcomes]
    for name, part in _groups_by_contrast(outcomes).items():
        means = [sum(o["scores"][column] for o in part) / len(part) for column in SCRIPT_COLUMNS]
        rows.append([f"**mean of {len(part)} {name}**", *means])
    return table(["scan", *SCRIPT_COLUMNS], rows)


def _wrong(scores: Mapping[str, Any]) -> str:
    return ", ".join(f"{true} as {name}" for true, name in scores["wrong_names"].items()) or "-"


def _groups_by_contrast(outcomes: Sequence[Outcome]) -> dict[str, list[Outcome]]:
    groups: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault(outcome["name"].rpartition("_")[2], []).append(outcome)
    return groups


def _crop_tables(scores: Mapping[str, Any]) -> list[str]:
    parts = [
        table(["structure", "Dice"], scores["structures"].items()),
        table(["together", "Dice"], scores["unions"].items()),
        table(["vertebra", "Dice"], scores["instances"].items()),
    ]
    return [*parts, "Left and right are exchanged."] if scores["sides_swapped"] else parts
