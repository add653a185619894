"""The page of a scan: complete, the same each time, of bearable size, and closed to the network and to text from outside."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from spineps.errors import Finding, FindingCode
from spineps.geometry import Axes
from spineps.labels import Structure
from spineps.outputs.record import run_record
from spineps.page.html import document, embedded
from spineps.page.scan import result_id, scan_page
from spineps.page.views import disc_titles
from spineps.volume import Centroid, LabelMap, Levels, LevelStatus, Result, StructureMeasures
from tests.unit.handmade import made_result

NASTY = "<script>alert(1)</script><img src=http://example.org/x onerror=alert(2)>"


class Elements(HTMLParser):
    """Every element of a page with its attributes, those in templates as well."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {key: value or "" for key, value in attrs}))

    def named(self, tag: str, **wanted: str) -> list[dict[str, str]]:
        return [own for name, own in self.found if name == tag and wanted.items() <= own.items()]


def page_of(result: Result) -> str:
    return scan_page(result, run_record(result, {}))


def with_discs(result: Result) -> Result:
    """The result with the centres of its discs."""
    labels = result.instance.labels
    centres = {100 + v.label: np.argwhere(labels == 100 + v.label).mean(axis=0) for v in result.vertebrae}
    discs = [Centroid(label, Structure.DISC, (float(a), float(b), float(c))) for label, (a, b, c) in centres.items()]
    return replace(result, centroids=(*result.centroids, *discs))


@pytest.fixture(scope="module")
def page() -> str:
    return page_of(with_discs(made_result(3, names=True)))


def test_same_result_same_page_without_the_name_of_the_scan(page: str) -> None:
    again = page_of(with_discs(made_result(3, names=True, prefix="sub-CANARY_mod-T2w")))
    assert again == page
    assert "CANARY" not in again


def test_nothing_is_fetched(page: str) -> None:
    elements = Elements(page)
    assert not elements.named("link")
    assert not elements.named("iframe")
    addresses = [own[key] for _, own in elements.found for key in ("src", "href", "srcset", "data") if key in own]
    assert addresses
    assert all(address.startswith("data:image/") for address in addresses)
    assert "url(" not in page


def test_the_policy_allows_this_script_and_no_other(page: str) -> None:
    policy = Elements(page).named("meta", **{"http-equiv": "Content-Security-Policy"})[0]["content"]
    script = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    assert len(script) == 1
    digest = base64.b64encode(hashlib.sha256(script[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy


def test_text_from_outside_stays_text() -> None:
    result = made_result(2, names=True)
    bad = replace(result.vertebrae[0], name=NASTY)
    measures = (StructureMeasures("vertebra", 2, NASTY, {"volume_ml": 1.0}, (NASTY,)),)
    findings = (Finding(FindingCode.THICK_SLICES, NASTY),)
    provenance = {**result.provenance, "models": {NASTY: {"name": NASTY}}}
    text = page_of(
        replace(result, vertebrae=(bad, result.vertebrae[1]), findings=findings, measures=measures, provenance=provenance)
    )
    assert "<script>alert" not in text
    assert "<img src=http" not in text
    assert len(Elements(text).named("script")) == 2  # the card and the script
    assert "&lt;script&gt;alert(1)" in text


def test_no_text_breaks_out_of_embedded_values() -> None:
    block = embedded("data", {"text": "</script><!-- \u2028 &"})
    assert block.count("</script>") == 1
    assert "<!--" not in block
    assert "\u2028" not in block


def test_a_page_without_a_script_allows_none() -> None:
    assert "script-src 'none'" in document("t<", style="", body="<body></body>")
    assert "<title>t&lt;</title>" in document("t<", style="", body="")


def test_every_picture_has_both_masks_as_layers_of_their_own(page: str) -> None:
    elements = Elements(page)
    stacks = elements.named("div", **{"class": "stack"})
    assert len(stacks) == 5 + 1 + 3  # sagittal within the 46 mm of the scan, coronal, a disc each
    for kind in ("vertebrae areas", "vertebrae outlines", "structures areas", "structures outlines"):
        assert len(elements.named("img", **{"class": f"mask {kind}"})) == len(stacks)
    assert len(elements.named("img", **{"class": "grey"})) == len(stacks)


def test_every_disc_can_be_chosen(page: str) -> None:
    keys = [own["data-key"] for own in Elements(page).named("template", **{"data-view": "axial"})]
    assert keys == ["102", "103", "104"]
    assert [own["data-disc"] for own in Elements(page).named("button") if "data-disc" in own] == keys
    assert disc_titles(made_result(3, names=True)) == {101: "above L1", 102: "L1-L2", 103: "L2-L3", 104: "below L3"}


def test_without_a_scan_the_masks_are_shown() -> None:
    elements = Elements(page_of(made_result(2, with_scan=False)))
    assert not elements.named("img", **{"class": "grey"})
    assert elements.named("img", **{"class": "mask vertebrae areas"})


def test_result_without_vertebrae_has_a_page() -> None:
    assert "0 vertebrae" in page_of(replace(made_result(), vertebrae=(), centroids=()))


@pytest.mark.parametrize("axes", [("R", "A", "S"), ("A", "S", "L")])
def test_orientation_of_the_file_does_not_matter(axes: Axes) -> None:
    def pictures(text: str) -> list[str]:
        return [own["src"] for own in Elements(text).named("img")]

    assert pictures(page_of(with_discs(made_result(2, axes=axes)))) == pictures(page_of(with_discs(made_result(2))))


def test_a_whole_spine_stays_below_three_megabytes() -> None:
    assert len(page_of(with_discs(made_result(24, names=True))).encode()) < 3_000_000


def test_names_come_with_their_confidence() -> None:
    result = made_result(3, names=True)
    sure, fair, doubtful = (replace(v, mask_confidence=c) for v, c in zip(result.vertebrae, (0.97, 0.8, 0.3), strict=True))
    text = page_of(replace(result, vertebrae=(sure, fair, doubtful), score=0.42))
    for shown in ('<span class="bar sure" style="--v:0.970">97 %', "fair", "doubtful", "42 %"):
        assert shown in text


def test_an_ambiguous_scan_says_so_with_its_runner_up() -> None:
    result = made_result(2, names=True)
    levels = Levels(
        LevelStatus.AMBIGUOUS,
        names={2: "L1", 3: "L2"},
        posteriors={2: {"L1": 0.7, "T12": 0.3}},
        best=("L1", "L2"),
        runner_up=("T12", "L1"),
        odds=2.4,
    )
    text = page_of(replace(result, levels=levels))
    assert "L1 to L2 is 2.4 times as probable as T12 to L1" in text
    assert "or T12 (30 %)" in text
    assert "Levels are not named" in page_of(result)


def test_measures_have_units_and_say_where_voxels_are_too_coarse() -> None:
    row = StructureMeasures("disc", 102, "L1-L2", {"height_mean_mm": 8.25, "area_mm2": 300.0}, ("cut",), ("height_mean_mm",))
    text = page_of(replace(made_result(1), measures=(row,)))
    for shown in ("height mean (mm)", "area (mm²)", "≈ 8.25", "300.00", "cut"):
        assert shown in text


def test_a_result_is_known_by_its_labels() -> None:
    result = made_result(2)
    wide = LabelMap(result.instance.labels.astype(np.uint16), result.instance.geometry, result.instance.scheme)
    changed = result.instance.labels.copy()
    changed[0, 0, 0] = 9
    other = replace(result, instance=replace(result.instance, labels=changed))
    assert result_id(replace(result, instance=wide)) == result_id(result)
    assert result_id(other) != result_id(result)
