"""The index of a cohort: worst first, nothing of others taken over, verdicts read, foreign files left alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from spineps.errors import ErrorCode, InputError, OutputError
from spineps.page.collect import DAMAGED, collect
from spineps.page.index import index_page, write_index
from spineps.page.verdicts import COLUMNS, Verdict, read_verdicts

THUMBNAIL = "data:image/webp;base64,AAAA"


def add(folder: Path, scan: str, *, page: str | None = None, **record: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{scan}_run.json").write_text(json.dumps({"status": "DONE", "vertebrae": [], "findings": [], **record}))
    if page is not None:
        (folder / f"{scan}_report.html").write_text(page)


def card(identity: str = "ab12", thumbnail: str = THUMBNAIL) -> str:
    block = json.dumps({"format": 1, "id": identity, "thumbnail": thumbnail})
    return f'<html><head><script type="application/json" id="card">{block}</script></head></html>'


def test_worst_come_first(tmp_path: Path) -> None:
    add(tmp_path / "a", "good", score=0.99)
    add(tmp_path / "b", "bad", score=0.1)
    add(tmp_path, "unknown")
    add(tmp_path, "failed", status="NO_SPINE", message="nothing.")
    (tmp_path / "broken_run.json").write_text("{")
    (tmp_path / ".spineps").mkdir()
    add(tmp_path / ".spineps", "hidden")
    scans = collect(tmp_path)
    assert [scan.scan for scan in scans] == ["broken", "failed", "unknown", "bad", "good"]
    assert scans[0].status == DAMAGED
    assert [scan.folder for scan in scans] == ["", "", "", "b", "a"]


def test_pages_are_linked_with_their_pictures(tmp_path: Path) -> None:
    add(tmp_path / "sub 1#", "sub-1_mod-T2w", page=card())
    place, (scan,) = write_index(tmp_path)
    assert (scan.page, scan.result, scan.thumbnail) == ("sub 1#/sub-1_mod-T2w_report.html", "ab12", THUMBNAIL)
    text = place.read_text()
    assert '"page":"sub%201%23/sub-1_mod-T2w_report.html"' in text
    assert f'src="{THUMBNAIL}"' in text


@pytest.mark.parametrize(
    "page",
    ["<html></html>", card(identity='"><script>'), card(thumbnail="http://example.org/x.png"), "{", '<script id="card">1'],
)
def test_what_a_foreign_page_says_does_not_enter_the_index(tmp_path: Path, page: str) -> None:
    add(tmp_path, "sub-1", page=page)
    text = write_index(tmp_path)[0].read_text()
    assert "example.org" not in text
    assert '"><script>' not in text


def test_records_of_others_cannot_write_html(tmp_path: Path) -> None:
    nasty = "<img src=x onerror=alert(1)>"
    add(tmp_path, "sub-1", status=nasty, message=nasty)
    add(
        tmp_path,
        "sub-2",
        score=0.5,
        vertebrae=[{"name": nasty, "mask_confidence": 0.1}],
        findings=[{"code": nasty, "message": nasty}],
        levels={"level_status": nasty},
    )
    text = write_index(tmp_path)[0].read_text()
    assert "<img src=x" not in text


@pytest.mark.parametrize("score", ["x", True, None, float("nan"), [1]])
def test_a_score_that_is_no_number_is_none(tmp_path: Path, score: Any) -> None:
    add(tmp_path, "sub-1", score=score)
    assert collect(tmp_path)[0].score is None


def test_doubts_and_findings_are_named(tmp_path: Path) -> None:
    vertebrae = [
        {"label": 23, "name": "L4", "mask_confidence": 0.95, "name_confidence": 0.6, "partial": False},
        {"label": 24, "name": "L5", "mask_confidence": 0.97, "name_confidence": 0.99, "partial": True},
    ]
    findings = [{"code": "THICK_SLICES", "message": "Slices of 5 mm."}]
    add(tmp_path, "sub-1", score=0.8, vertebrae=vertebrae, findings=findings, levels={"level_status": "ambiguous"})
    text = write_index(tmp_path)[0].read_text()
    for shown in ("L4 name 60 %", "2 vertebrae, L4 to L5", "levels ambiguous", 'title="Slices of 5 mm."', "THICK_SLICES"):
        assert shown in text
    assert "L5 mask" not in text


def test_an_index_of_five_hundred_scans_stays_small(tmp_path: Path) -> None:
    vertebrae = [{"label": k, "name": f"L{k}", "mask_confidence": 0.9, "name_confidence": 0.9} for k in range(1, 6)]
    for number in range(500):
        add(tmp_path, f"sub-{number:03}", page=card(f"{number:x}", THUMBNAIL + "A" * 4000), score=0.5, vertebrae=vertebrae)
    text = index_page(collect(tmp_path))
    assert len(text) < 4_000_000
    assert text.count("<li ") == 500


def test_a_folder_without_results_is_refused(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(InputError) as caught:
            write_index(folder)
        assert caught.value.code is ErrorCode.INPUT_NOT_FOUND


def test_somebody_elses_index_is_left_alone_and_ours_replaced(tmp_path: Path) -> None:
    add(tmp_path, "sub-1")
    place = tmp_path / "index.html"
    place.write_text("<html>mine</html>")
    with pytest.raises(OutputError) as caught:
        write_index(tmp_path)
    assert caught.value.code is ErrorCode.OUTPUT_NAME
    assert place.read_text() == "<html>mine</html>"
    place.unlink()
    write_index(tmp_path)
    write_index(tmp_path)


# ---- verdicts


def table(path: Path, *rows: tuple[str, ...]) -> Path:
    path.write_text("\n".join("\t".join(row) for row in (COLUMNS, *rows)) + "\n")
    return path


def test_verdicts_are_read_and_taken_over(tmp_path: Path) -> None:
    add(tmp_path, "sub-1", page=card())
    table(tmp_path / "verdicts.tsv", ("sub-1", "", "fail", 'L5 "cut', "0.1", "2026-01-01T10:00:00Z", "ab12"))
    (row,) = read_verdicts(tmp_path / "verdicts.tsv")
    assert (row.scan, row.verdict, row.note, row.result) == ("sub-1", Verdict.FAIL, 'L5 "cut', "ab12")
    assert '"verdict":"fail"' in write_index(tmp_path)[0].read_text()


def test_a_note_without_a_verdict_is_kept(tmp_path: Path) -> None:
    (row,) = read_verdicts(table(tmp_path / "v.tsv", ("sub-1", "", "", "look again", "", "", "")))
    assert row.verdict is None


@pytest.mark.parametrize("content", [b"a\tb\n", b"scan\tverdict\nsub-1\tperhaps\n", b"\xff\xfe\x00", b""])
def test_what_is_no_table_of_verdicts_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "v.tsv").write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_verdicts(tmp_path / "v.tsv")
    assert caught.value.code is ErrorCode.INPUT_FORMAT


def test_a_table_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read_verdicts(tmp_path / "v.tsv")
    assert caught.value.code is ErrorCode.INPUT_NOT_FOUND
