"""The pages in a browser: they open quickly, ask for nothing, their keys work, and verdicts come out as a table."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from browser import Tab, browser_program, tab
from PIL import Image

from spineps.api import save
from spineps.evaluation.page import render_page
from spineps.evaluation.plots import plots
from spineps.evaluation.scores import CaseScores, Level, Metric, Results, Score
from spineps.evaluation.tables import Table
from spineps.page.index import write_index
from spineps.page.verdicts import Verdict, read_verdicts
from spineps.volume import Result
from tests.unit.handmade import made_result
from tests.unit.test_page_scan import with_discs

COUNT = 24
SCANS = 500
SECONDS = 1.0

pytestmark = pytest.mark.skipif(
    browser_program() is None, reason="no Chromium here: install Debian's package chromium or name one in SPINEPS_BROWSER"
)


def result() -> Result:
    made = with_discs(made_result(COUNT, names=True))
    sure = tuple(replace(v, mask_confidence=0.5 + 0.02 * k, name_confidence=0.9) for k, v in enumerate(made.vertebrae))
    return replace(made, vertebrae=sure, score=0.4)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five hundred scans, three of them with a page."""
    folder = tmp_path_factory.mktemp("cohort")
    page = save(result(), folder / "sub-000", prefix="sub-000_mod-T2w").page
    text, record = page.read_text(), json.loads(page.with_name("sub-000_mod-T2w_run.json").read_text())
    own = re.search(r'data-result="([0-9a-f]+)"', text)[1]
    for number in range(1, SCANS):
        place = folder / f"sub-{number:03}"
        place.mkdir()
        (place / f"sub-{number:03}_mod-T2w_run.json").write_text(json.dumps({**record, "score": 0.4 + number / 1000}))
        if number < 3:
            (place / f"sub-{number:03}_mod-T2w_report.html").write_text(text.replace(own, f"{number:016x}"))
    (folder / "sub-bad_run.json").write_text(json.dumps({"status": "NO_SPINE", "message": "nothing was found."}))
    write_index(folder)
    return folder


@pytest.fixture(scope="module")
def page(cohort: Path) -> Path:
    return cohort / "sub-000" / "sub-000_mod-T2w_report.html"


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Tab]:
    with tab(browser_program() or "", tmp_path / "profile") as opened:
        opened.downloads_to(tmp_path)
        yield opened


def seconds_of_work(browser: Tab) -> float:
    """What the page cost on the processor, however busy the machine is."""
    metrics = {item["name"]: item["value"] for item in browser.send("Performance.getMetrics")["metrics"]}
    return float(metrics["ProcessTime"])


def saved(folder: Path, name: str) -> Path:
    end = time.monotonic() + 20
    while not (folder / name).exists():
        assert time.monotonic() < end, f"{name} was not saved"
        time.sleep(0.05)
    return folder / name


def checked(browser: Tab) -> str | None:
    found: str | None = browser.ask("document.querySelector('[role=radio][aria-checked=true]')?.dataset.value ?? null")
    return found


def test_a_page_opens_at_once_and_asks_for_nothing(browser: Tab, page: Path, tmp_path: Path) -> None:
    browser.send("Performance.enable")
    browser.open(page)
    assert seconds_of_work(browser) < SECONDS
    assert browser.requests() == [page.as_uri()]
    assert browser.complaints() == []
    assert browser.ask("document.title") == "sub-000_mod-T2w"
    assert page.stat().st_size < 3_000_000
    browser.photograph(tmp_path / "page.png")
    seen = np.asarray(Image.open(tmp_path / "page.png").convert("RGB"), int)
    assert np.count_nonzero(np.bincount((seen @ (65536, 256, 1)).ravel())) > 1000  # colours
    assert browser.ask("document.documentElement.scrollWidth <= innerWidth")
    inside = "(e => e.getBoundingClientRect().bottom <= innerHeight + 1)(document.querySelector('#sagittal .stack'))"
    assert browser.ask(inside)  # the whole spine is seen without scrolling


def test_keys_judge_and_the_browser_keeps_it(browser: Tab, page: Path, tmp_path: Path) -> None:
    browser.open(page)
    assert checked(browser) is None
    for key, verdict in (("1", "pass"), ("2", "needs-work"), ("0", None), ("3", "fail")):
        browser.press(key)
        assert checked(browser) == verdict
    browser.press("n")
    browser.write("L5 is cut 1")
    browser.press("Enter")
    browser.press("s")
    (row,) = read_verdicts(saved(tmp_path, "sub-000_mod-T2w_verdict.tsv"))
    assert (row.scan, row.verdict, row.note) == ("sub-000_mod-T2w", Verdict.FAIL, "L5 is cut 1")
    browser.open(page)
    assert checked(browser) == "fail"
    assert browser.ask("document.querySelector('#note').value") == "L5 is cut 1"


def test_keys_switch_masks_planes_and_discs(browser: Tab, page: Path) -> None:
    def shown(kind: str) -> bool:
        return bool(browser.ask(f"getComputedStyle(document.querySelector('#sagittal .mask.{kind}')).display !== 'none'"))

    browser.open(page)
    assert (shown("vertebrae"), shown("structures")) == (True, False)
    browser.press("m")
    assert (shown("vertebrae"), shown("structures")) == (False, True)
    browser.press("m")
    assert (shown("vertebrae"), shown("structures")) == (False, False)
    caption = "document.querySelector('#{} figcaption').textContent"
    browser.press("ArrowRight")
    assert browser.ask(caption.format("sagittal")) == "Sagittal, 8 mm right"
    for _ in range(9):
        browser.press("ArrowLeft")
    assert browser.ask(caption.format("sagittal")) == "Sagittal, 16 mm left"
    last = browser.ask(caption.format("axial"))
    browser.press("ArrowUp")
    assert browser.ask(caption.format("axial")) != last
    browser.ask("document.querySelector('tr[data-vertebra=\"2\"] .pick').click()")
    assert browser.ask(caption.format("axial")) == "Disc L1-L2"
    assert browser.ask("document.querySelectorAll('.lines line.on').length") == 1
    browser.press("l")
    assert browser.ask("[...document.querySelectorAll('.name')].every(name => getComputedStyle(name).display === 'none')")
    assert browser.complaints() == []


def test_keys_can_be_turned_off_and_letters_belong_to_the_note(browser: Tab, page: Path) -> None:
    browser.open(page)
    browser.press("n")
    browser.press("3")
    assert checked(browser) is None
    browser.press("Escape")
    browser.ask("document.querySelector('#keys').checked = false")
    browser.press("3")
    assert checked(browser) is None


def test_everything_that_can_be_pressed_has_a_name(browser: Tab, page: Path) -> None:
    browser.open(page)
    tree = browser.send("Accessibility.getFullAXTree")["nodes"]
    roles = ("button", "radio", "slider", "textbox", "checkbox")
    acting = [node for node in tree if node.get("role", {}).get("value") in roles and not node.get("ignored")]
    assert len(acting) > COUNT
    assert not [node for node in acting if not node.get("name", {}).get("value")]


def test_an_index_of_many_scans_is_usable(browser: Tab, cohort: Path, tmp_path: Path) -> None:
    index = cohort / "index.html"
    browser.send("Performance.enable")
    browser.open(index)
    assert seconds_of_work(browser) < 2 * SECONDS
    assert browser.ask("document.querySelectorAll('#rows li').length") == SCANS + 1
    browser.ask("(f => { f.value = 'sub-49'; f.dispatchEvent(new Event('input')) })(document.querySelector('#filter'))")
    assert browser.ask("document.querySelectorAll('#rows li:not([hidden])').length") == 10
    browser.ask("(f => { f.value = ''; f.dispatchEvent(new Event('input')) })(document.querySelector('#filter'))")
    browser.photograph(tmp_path / "index.png")
    assert browser.complaints() == []
    assert browser.requests() == [index.as_uri()]


def test_verdicts_of_an_index_come_out_as_one_table(browser: Tab, cohort: Path, tmp_path: Path) -> None:
    folder = tmp_path / "cohort"
    shutil.copytree(cohort, folder)
    browser.open(folder / "index.html")
    chosen = "document.querySelector('#rows li.chosen .scan').textContent"
    browser.press("j")
    assert "sub-bad" in browser.ask(chosen)
    assert "nothing was found" in browser.ask("document.querySelector('#nothing').textContent")
    browser.press("j")
    assert "sub-000" in browser.ask(chosen)
    browser.press("3")
    browser.press("j")
    browser.press("2")
    browser.wait("document.querySelectorAll('.said[data-verdict=\"needs-work\"]').length === 1")
    browser.press("s")
    rows = read_verdicts(saved(tmp_path, "verdicts.tsv"))
    assert [(row.scan, row.folder, row.verdict) for row in rows] == [
        ("sub-000_mod-T2w", "sub-000", Verdict.FAIL),
        ("sub-001_mod-T2w", "sub-001", Verdict.NEEDS_WORK),
    ]
    shutil.move(tmp_path / "verdicts.tsv", folder / "verdicts.tsv")
    browser.ask("localStorage.clear()")
    write_index(folder)
    browser.open(folder / "index.html")
    assert "2 of 501 looked at: 0 pass, 1 need work, 1 fail" in browser.ask("document.querySelector('#progress').textContent")


def test_a_verdict_in_the_frame_reaches_the_index(browser: Tab, cohort: Path) -> None:
    browser.open(cohort / "index.html")
    browser.ask("document.querySelectorAll('#rows li button')[1].click()")
    browser.wait("document.querySelector('#page').src.includes('sub-000')")
    time.sleep(0.5)
    box = browser.ask("(b => [b.left + 40, b.top + 400])(document.querySelector('#page').getBoundingClientRect())")
    for kind in ("mousePressed", "mouseReleased"):
        browser.send("Input.dispatchMouseEvent", type=kind, x=box[0], y=box[1], button="left", clickCount=1)
    browser.press("1")
    browser.wait("document.querySelector('li.chosen .said').dataset.verdict === 'pass'")
    browser.press("j")
    browser.wait("document.querySelector('li.chosen .scan').textContent.includes('sub-001')")


def test_names_stay_inside_a_narrow_picture(browser: Tab, page: Path) -> None:
    browser.open(page)
    inside = "(s => [...document.querySelectorAll('#sagittal .name')].every(n => n.getBoundingClientRect().left >= s.left - 4))"
    assert browser.ask(f"{inside}(document.querySelector('#sagittal .stack').getBoundingClientRect())")
    caption = "document.querySelector('#sagittal figcaption')"
    assert browser.ask(f"{caption}.scrollWidth <= {caption}.clientWidth")


def test_an_evaluation_page_stands_alone_and_follows_the_theme(browser: Tab, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    rows = tuple(("vertebra", "0.912 ± 0.03") for _ in range(40))
    shown = Table("long", "Long", ("Structure", "DSC"), rows)
    empty = Table("worst", "Worst", ("Case", "DSC"), (), ("None is worse.",))
    case = [CaseScores(f"{k}", "ours", (Score("vertebra", Level.GLOBAL, Metric.DSC, 0.9 + k / 100),)) for k in range(3)]
    page.write_text(render_page("Evaluation", ["3 cases"], [shown, empty], plots(Results(case)), []))
    browser.send("Emulation.setDeviceMetricsOverride", width=420, height=900, deviceScaleFactor=1, mobile=False)
    for theme, ground in (("light", "rgb(255, 255, 255)"), ("dark", "rgb(17, 18, 20)")):
        browser.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": theme}])
        browser.open(page)
        assert browser.ask("getComputedStyle(document.body).backgroundColor") == ground
    assert browser.ask("document.documentElement.scrollWidth <= innerWidth")
    assert browser.ask("[...document.images].length > 0 && [...document.images].every(i => i.naturalWidth > 0)")
    assert browser.ask("document.querySelectorAll('table').length") == 1  # a table without rows is its note
    assert browser.complaints() == []
    assert browser.requests() == [page.as_uri()]
