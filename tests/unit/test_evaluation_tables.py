"""The tables of the papers: layout, marks, counts, and each form; the subject's numbers behind them."""

from __future__ import annotations

import numpy as np
import pytest
from evaluation_masks import box_spine

from spineps.errors import InputError, UsageError
from spineps.evaluation.cervical import LEVELS, level_range, mann_whitney_table, read_groups, vertebra_table
from spineps.evaluation.compare import case_differences, compare, comparison_table, worst_table
from spineps.evaluation.masks import Masks, pair_masks
from spineps.evaluation.page import render_page
from spineps.evaluation.paper_tables import canal_of, complete_table, table_2, table_3, table_5, wilcoxon_table
from spineps.evaluation.plots import agreement, plots
from spineps.evaluation.regions import region_codes
from spineps.evaluation.scan_tables import ranking_table, scan_table
from spineps.evaluation.scores import CaseScores, Key, Level, Metric, Note, Results, Score
from spineps.evaluation.statistics import Correction
from spineps.evaluation.structures import CANAL, CANAL_WITH_CORD, owner, region_of
from spineps.evaluation.subject import PanopticSettings, measure_subject, swap_remarks
from spineps.evaluation.tables import Form, Section, Table
from spineps.io.atomic import write_text

SPINE = (18, 19, 20, 21)  # T11 T12 L1 L2


@pytest.fixture(scope="module")
def results():
    """Two methods on three subjects: one perfect, one moved, with a vertebra left out of the second subject."""
    cases = []
    for case, left_out in (("a", ()), ("b", (20,)), ("c", ())):
        reference = box_spine(SPINE)
        for method, prediction in (("moved", box_spine(SPINE, shift=1, left_out=left_out)), ("ours", box_spine(SPINE))):
            scores = measure_subject(pair_masks(reference, prediction), PanopticSettings(regions=True))
            cases.append(CaseScores(case, method, scores))
    return Results(cases)


def test_a_moved_spine_by_hand(results):
    # Bodies of 6x4x4 and arches of 4x4x4 voxels moved by one: 5/6 and 3/4 shared. Dice (80 + 48) / 160 = 0.8, IoU 128/192.
    values = {
        m: results.values("moved", Key("vertebra", Level.INSTANCE, m)) for m in (Metric.DSC, Metric.RQ, Metric.SQ, Metric.PQ)
    }
    assert values[Metric.DSC]["a"] == pytest.approx(0.8)
    assert values[Metric.SQ]["a"] == pytest.approx(2 / 3)
    assert (values[Metric.RQ]["a"], values[Metric.PQ]["a"]) == (1, pytest.approx(2 / 3))
    # One of four left out: RQ = 3 / (3 + 1/2), the others as before.
    assert values[Metric.RQ]["b"] == pytest.approx(6 / 7)
    assert values[Metric.DSC]["b"] == pytest.approx(0.8)
    # Globally 3 * 128 of 4 * 160 and 3 * 160 voxels.
    assert results.values("moved", Key("vertebra", Level.GLOBAL, Metric.DSC))["b"] == pytest.approx(2 * 384 / (640 + 480))
    # A body's volume: 96 voxels of 6 mm3 each, four bodies.
    assert results.values("ours", Key("corpus", Level.GLOBAL, Metric.VOLUME_REFERENCE))["a"] == pytest.approx(4 * 96 * 6 / 1000)


def test_regions_by_hand(results):
    def value(region, metric, case="b"):
        return results.values("moved", Key("vertebra", Level.INSTANCE, metric, region)).get(case)

    assert value("thoracic", Metric.RQ) == 1  # T11 and T12
    assert value("lumbar", Metric.RQ) == pytest.approx(2 / 3)  # L1 left out: 1 / (1 + 1/2)
    assert value("cervical", Metric.RQ) is None
    assert results.values("ours", Key("vertebra", Level.GLOBAL, Metric.DSC, "lumbar")) == {"a": 1, "b": 1, "c": 1}
    assert results.values("ours", Key("canal", Level.GLOBAL, Metric.DSC, "thoracic"))["a"] == 1


def test_a_shifted_labelling_keeps_its_regions():
    # Everything called one level lower: T11 to L2 become T12 to L3. Regions follow the reference's vertebrae.
    pair = pair_masks(box_spine(SPINE), box_spine((19, 20, 21, 22)))
    one, two = region_codes(pair)
    assert np.array_equal(one, two)
    assert set(np.unique(one)) == {0, 2, 3}


def test_ids_that_are_no_levels_are_refused():
    reference = box_spine((2, 3, 4))
    labels = reference.instance.labels.copy()
    labels[labels == 4] = 26
    unnamed = Masks(
        reference.semantic, type(reference.instance)(labels, reference.instance.geometry, reference.instance.scheme)
    )
    with pytest.raises(InputError, match="level names"):
        region_codes(pair_masks(unnamed, unnamed))
    with pytest.raises(InputError, match="instance masks"):
        region_codes(pair_masks(Masks(reference.semantic), Masks(reference.semantic)))


def test_levels_and_their_regions():
    assert [str(region_of(i).value) for i in (1, 7, 8, 19, 28, 20, 25)] == ["cervical"] * 2 + ["thoracic"] * 3 + ["lumbar"] * 2
    assert region_of(26) is None
    assert [owner(i) for i in (5, 105, 205, 26, 126)] == [5, 5, 5, 0, 0]


def test_table_2_has_the_papers_rows(results):
    table = table_2(results)
    assert table.header == ("Structure", "Metric", "moved", "ours")
    names = [row.title if isinstance(row, Section) else f"{row[0]} {row[1]}" for row in table.rows]
    instance = [f"{s} {m}" for s in ("Vertebra", "IVD") for m in ("↑ DSC", "↑ RQ", "↑ SQ", "↑ PQ", "↓ ASSD")]
    assert names == ["Global structure-wise", "Vertebra ↑ DSC", "IVD ↑ DSC", "Spinal Canal ↑ DSC", "Instance-wise", *instance]
    rq = next(row for row in table.rows if not isinstance(row, Section) and row[:2] == ("Vertebra", "↑ RQ"))
    assert rq[2:] == ("0.952 ± 0.082", "1.000 ± 0.000*")  # mean of 1, 6/7, 1 and its sample deviation


def test_tables_3_and_5_have_the_papers_rows(results):
    names = [row.title if isinstance(row, Section) else row[0] for row in table_3(results).rows]
    parts = (
        "Arcus Vertebra",
        "Spinous process",
        "Articularis inferior",
        "Articularis superior",
        "Costal process",
        "Vertebra corpus",
    )
    assert names == [
        "Global structure-wise",
        "Vertebra",
        "IVD",
        "Spinal Canal",
        "Spinal Cord",
        "Vertebra substructures",
        *(part for part in parts for _ in range(2)),
    ]
    table = table_5(results, "ours")
    assert table.header == ("Structure", "Metric", "Cervical region", "Thoracic region", "Lumbar region")
    assert [row.title if isinstance(row, Section) else row[0] for row in table.rows] == names
    assert table.rows[1][2:] == ("–", "1.000 ± 0.000", "1.000 ± 0.000")


def test_structures_missed_and_invented_are_counted_below_the_table():
    reference = box_spine(SPINE)
    no_cord = box_spine(SPINE)
    labels = np.where(no_cord.semantic.labels == 60, 61, no_cord.semantic.labels).astype(np.uint8)
    without = Masks(type(no_cord.semantic)(labels, no_cord.semantic.geometry, no_cord.semantic.scheme), no_cord.instance)
    missed = Results([CaseScores("a", "m", measure_subject(pair_masks(reference, without)))])
    assert any("Spinal Cord (m, global): in 1 of 1 the prediction has none" in note for note in table_3(missed).notes)
    assert missed.scores("m", Key("cord", Level.GLOBAL, Metric.ASSD))["a"].value is None
    assert canal_of(missed) is CANAL
    invented = Results([CaseScores("a", "m", measure_subject(pair_masks(without, reference)))])
    assert invented.summary("m", Key("cord", Level.GLOBAL, Metric.DSC)).extra == 1
    assert canal_of(invented) is CANAL_WITH_CORD  # the reference does not separate the two


def test_exchanged_labels_are_told():
    masks = box_spine(SPINE)
    table = np.arange(256, dtype=np.uint8)
    table[[60, 61]] = 61, 60
    other = Masks(type(masks.semantic)(table[masks.semantic.labels], masks.semantic.geometry, masks.semantic.scheme))
    (remark,) = swap_remarks(pair_masks(Masks(masks.semantic), other))
    assert remark.startswith("spinal cord (60) and spinal canal (61) look exchanged")
    assert swap_remarks(pair_masks(masks, masks)) == ()


def test_wilcoxon_table_tests_dice_and_rq_alone(results):
    rows = wilcoxon_table(results, correction=Correction.HOLM).rows
    assert {row[3] for row in rows} == {"DSC", "RQ"}
    assert all(row[0] == "moved vs ours" and row[4] == "3" for row in rows)
    assert complete_table(results).rows


def test_the_three_forms():
    table = Table("t", "Title", ("A", "B"), (Section("Part"), ("x_1", "1 ± 2*"), ("x_1", "a|b")), ("Note 5 %.",), grouped=True)
    assert table.render(Form.MARKDOWN).splitlines()[2:7] == [
        "| A | B |",
        "| --- | --- |",
        "| **Part** |  |",
        "| x_1 | 1 ± 2* |",
        "|  | a\\|b |",
    ]
    latex = table.render("tex")
    assert r"x\_1 & 1 $\pm$ 2* \\" in latex
    assert r"\caption{Title. Note 5 \%.}" in latex
    assert table.render(Form.TSV) == "Section\tA\tB\nPart\tx_1\t1 ± 2*\nPart\tx_1\ta|b\n"
    with pytest.raises(ValueError, match="2 cells"):
        Table("t", "T", ("A", "B"), (("x",),))


def test_two_methods_side_by_side(results):
    key = Key("vertebra", Level.INSTANCE, Metric.RQ)
    found = next(c for c in compare(results, "moved", "ours") if c.key == key)
    assert found.difference == pytest.approx(1 / 7 / 3)
    assert found.interval is not None
    assert found.interval[0] <= found.difference <= found.interval[1]
    # Worst first for the second method: with the methods exchanged, the subject with the missing vertebra.
    assert [d.case for d in case_differences(results, "ours", "moved", key)] == ["b", "a", "c"]
    distance = Key("vertebra", Level.INSTANCE, Metric.ASSD)
    assert case_differences(results, "ours", "moved", distance)[0].difference > 0  # of distances the largest gain is worst
    assert worst_table(results, "ours", "moved").rows[0][0] in ("a", "b", "c")
    assert comparison_table(results, "moved", "ours").rows


def test_plots_and_page_stand_alone(results):
    pictures = plots(results)
    names = {p.name for p in pictures}
    assert {"global_DSC", "instance_RQ", "bland-altman_moved", "bland-altman_ours"} <= names
    assert all(p.png.startswith(b"\x89PNG") for p in pictures)
    page = render_page("A <b>", ["x & y"], [table_2(results)], pictures, ["remark"])
    assert "A &lt;b&gt;" in page
    assert "http:" not in page
    assert "https:" not in page
    assert "default-src 'none'" in page
    assert "<script" not in page
    assert page.count("data:image/png;base64,") == len(pictures)


def test_limits_of_agreement_by_hand():
    # Differences 1 and 3: bias 2, sample deviation sqrt(2).
    bias, low, high = agreement([(10, 11), (10, 13)])
    assert (bias, low, high) == (2, pytest.approx(2 - 1.96 * 2**0.5), pytest.approx(2 + 1.96 * 2**0.5))


def vertebra_results():
    """Two methods, cases in two folds, internal and external, one vertebra."""
    values = {"a1": 0.9, "a2": 0.8, "b1": 0.6, "i1": 0.7, "i2": 0.9, "e1": 0.5, "e2": 0.5}
    cases = []
    for method, gain in (("cervical", 0.0), ("whole", 0.05)):
        for case, dice in values.items():
            scores = (
                Score("C3", Level.VERTEBRA, Metric.DSC, dice + gain),
                Score(
                    "C3",
                    Level.VERTEBRA,
                    Metric.HD95,
                    None if case == "i1" else 2.0,
                    note=Note.MISSED if case == "i1" else Note.NONE,
                ),
            )
            cases.append(CaseScores(case, method, scores))
    groups = {
        "a1": "fold-0",
        "a2": "fold-0",
        "b1": "fold-1",
        "i1": "internal",
        "i2": "internal",
        "e1": "external",
        "e2": "external",
    }
    return Results(cases), groups


def test_cervical_table_by_hand():
    results, groups = vertebra_results()
    table = vertebra_table(results, "cervical", groups, levels=("C3",), literature=True)
    # Folds' means 0.85 and 0.6; internal 0.7 and 0.9: mean 0.8, deviation 0.1414.
    assert table.rows[0][1:4] == ("[0.600, 0.850]", "0.800 ± 0.141", "0.500 ± 0.000")
    assert table.rows[0][4:7] == ("[2.00, 2.00]", "2.00", "2.00 ± 0.00")
    assert table.rows[0][7] == "0.934 / 8.73"  # the poster's literature column
    assert table.rows[1][0] == "[C3, C3]"
    assert vertebra_table(results, "cervical", groups).rows[-1][0] == "[C1, T1]"


def test_mann_whitney_table_is_scipys():
    from scipy import stats

    results, groups = vertebra_results()
    table = mann_whitney_table(results, groups, levels=("C3",))
    expected = stats.mannwhitneyu([0.7, 0.9], [0.75, 0.95], alternative="two-sided").pvalue
    assert table.rows[0][2] == f"{expected:.3f}"
    assert len(mann_whitney_table(results, groups, correction=Correction.FDR).rows) == len(LEVELS) + 1


def test_ranges_of_levels_and_groups(tmp_path):
    assert level_range("C1-T1") == LEVELS
    assert level_range("T12-L1") == ("T12", "T13", "L1")
    assert level_range("L6") == ("L6",)
    for wrong in ("T1-C1", "X1", "C1-"[:-1] + "-Q"):
        with pytest.raises(UsageError):
            level_range(wrong)
    write_text(tmp_path / "g.tsv", "case\tgroup\na\tfold-0\nb\texternal\n")
    assert read_groups(tmp_path / "g.tsv") == {"a": "fold-0", "b": "external"}
    write_text(tmp_path / "g.tsv", "case\tgroup\na\ttrain\n")
    with pytest.raises(InputError, match="fold-0"):
        read_groups(tmp_path / "g.tsv")


def test_scan_tables_and_ranking():
    cases = []
    for method, gain in (("worse", 0.0), ("better", 0.1)):
        for i in range(10):
            scores = [
                Score(
                    mode,
                    Level.SCAN,
                    metric,
                    (0.5 + i / 100 + gain) * (-1 if metric.lower_is_better else 1) + (9 if metric.lower_is_better else 0),
                )
                for mode in ("paper", "strict")
                for metric in (Metric.ID_RATE, Metric.D_MEAN, Metric.DSC, Metric.HD)
            ]
            cases.append(CaseScores(str(i), method, tuple(scores)))
    results = Results(cases)
    ranked = ranking_table(results)
    assert ranked is not None
    assert ranked.rows == (("better", "0.500", "0.500"), ("worse", "0.000", "0.000"))
    assert "10 scans" in ranked.notes[0]
    assert scan_table(results, "verse", "VerSe").rows[0][:2] == ("paper", "↑ id.rate")
    assert ranking_table(Results(cases[:10])) is None
