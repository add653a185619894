"""Tables of numbers of whole scans: VerSe in its modes with the ranking, and 2D masks."""

from __future__ import annotations

from spineps.evaluation.ranking import Challenge, challenge_metrics, challenge_points
from spineps.evaluation.scores import Key, Level, Metric, Results
from spineps.evaluation.tables import EMPTY, Table, mark_best, mean_and_sd, number
from spineps.evaluation.verse import Mode

_MODES = {
    Mode.PAPER.value: "the reference point nearest to a prediction is its own, among all of the reference, below 20 mm",
    Mode.COMPETING.value: "the prediction nearest to a reference point is its own, below 20 mm",
    Mode.OFFICIAL.value: "the published code: candidates are labels on both sides, up to and with 20, in voxels; Dice of the "
    "foreground whatever the labels; no d_mean, no HD",
    Mode.STRICT.value: "both readings without ties; extra vertebrae count as errors; missing ones at 1000 mm and 100 mm",
}


def scan_table(results: Results, name: str, title: str) -> Table:
    """Mean ± SD over scans of every number of whole scans, methods as columns."""
    rows = []
    for key in results.all_keys():
        if key.level is not Level.SCAN:
            continue
        summaries = [results.summary(method, key) for method in results.methods]
        cells = mark_best(
            [mean_and_sd(s) for s in summaries], [s.mean for s in summaries], lower_is_better=key.metric.lower_is_better
        )
        unit = f" ({key.metric.unit})" if key.metric.unit else ""
        rows.append((key.structure, f"{key.metric.arrow} {key.metric.value}{unit}", *cells))
    modes = tuple(f"{mode}: {text}." for mode, text in _MODES.items() if any(row[0] == mode for row in rows))
    notes = ("Mean ± sample standard deviation (n - 1) over scans; the best mean is marked with an asterisk.", *modes)
    return Table(name, title, ("Definition", "Metric", *results.methods), tuple(rows), notes)


def ranking_table(results: Results) -> Table | None:
    """Points of the VerSe challenges over the scans that all methods have, or None of a single method.

    The numbers are those of the paper for Dice and id.rate, and of the strict mode for HD and d_mean, in which missing
    vertebrae have 100 and 1000 mm.
    """
    if len(results.methods) < 2:
        return None
    points = {}
    scans = 0
    for challenge in Challenge:
        per_metric = {}
        for metric in challenge_metrics(challenge):
            mode = Mode.STRICT if metric in (Metric.HD, Metric.D_MEAN) else Mode.PAPER
            found = {m: results.values(m, Key(mode.value, Level.SCAN, metric)) for m in results.methods}
            common = [case for case in found[results.methods[0]] if all(case in values for values in found.values())]
            scans = max(scans, len(common))
            per_metric[metric] = {method: [values[case] for case in common] for method, values in found.items()}
        points[challenge] = challenge_points(per_metric, challenge)
    rows = [(m, *(number(points[c][m]) for c in Challenge)) for m in results.methods]
    rows.sort(key=lambda row: (-points[Challenge.VERSE_2020][row[0]], row[0]))
    note = f"One-sided Wilcoxon tests on {scans} scans, a point at p < 0.001, divided by the number of methods, weights of the"
    note += " challenge. Hidden and public sets are ranked separately and weighted 2/3 and 1/3 (final_points)."
    if scans < 10:
        note += f" {EMPTY} With fewer than 10 scans no test can reach p < 0.001."
    return Table("ranking", "VerSe ranking", ("Method", *(f"VerSe '{c.value[2:]}" for c in Challenge)), tuple(rows), (note,))
