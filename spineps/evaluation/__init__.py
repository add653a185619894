"""Evaluation: the numbers of the papers, computed the way the papers say.

The names below are imported where they are first used, so that one of them does not cost what all of them do.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spineps.evaluation.cohort import EvaluationSettings, Protocol, evaluate_case, evaluate_cohort
    from spineps.evaluation.folds import Folds, make_folds
    from spineps.evaluation.masks import Masks, pair_masks, read_pair
    from spineps.evaluation.pairs import pair_folders, read_pairs
    from spineps.evaluation.panoptic import Matcher, panoptic_quality
    from spineps.evaluation.paper_tables import table_2, table_3, table_5, wilcoxon_table
    from spineps.evaluation.planar import measure_planar
    from spineps.evaluation.report import ReportOptions, write_report
    from spineps.evaluation.scores import Results, Score
    from spineps.evaluation.statistics import bootstrap_interval, mann_whitney, wilcoxon
    from spineps.evaluation.subject import PanopticSettings, measure_subject
    from spineps.evaluation.surface import surface_distances
    from spineps.evaluation.verse import Mode, identify, measure_verse

_HOME = {
    "EvaluationSettings": "cohort",
    "Folds": "folds",
    "Masks": "masks",
    "Matcher": "panoptic",
    "Mode": "verse",
    "PanopticSettings": "subject",
    "Protocol": "cohort",
    "ReportOptions": "report",
    "Results": "scores",
    "Score": "scores",
    "bootstrap_interval": "statistics",
    "evaluate_case": "cohort",
    "evaluate_cohort": "cohort",
    "identify": "verse",
    "make_folds": "folds",
    "mann_whitney": "statistics",
    "measure_planar": "planar",
    "measure_subject": "subject",
    "measure_verse": "verse",
    "pair_folders": "pairs",
    "pair_masks": "masks",
    "panoptic_quality": "panoptic",
    "read_pair": "masks",
    "read_pairs": "pairs",
    "surface_distances": "surface",
    "table_2": "paper_tables",
    "table_3": "paper_tables",
    "table_5": "paper_tables",
    "wilcoxon": "statistics",
    "wilcoxon_table": "paper_tables",
    "write_report": "report",
}

__all__ = [
    "EvaluationSettings",
    "Folds",
    "Masks",
    "Matcher",
    "Mode",
    "PanopticSettings",
    "Protocol",
    "ReportOptions",
    "Results",
    "Score",
    "bootstrap_interval",
    "evaluate_case",
    "evaluate_cohort",
    "identify",
    "make_folds",
    "mann_whitney",
    "measure_planar",
    "measure_subject",
    "measure_verse",
    "pair_folders",
    "pair_masks",
    "panoptic_quality",
    "read_pair",
    "read_pairs",
    "surface_distances",
    "table_2",
    "table_3",
    "table_5",
    "wilcoxon",
    "wilcoxon_table",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
