"""Downloads from a server that cuts, stalls, lies and serves web pages."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from servers import Behaviour, Served, serving

from spineps.errors import ErrorCode, ModelError
from spineps.zoo import fetch
from spineps.zoo.fetch import Limits, download

DATA = b"PK\x03\x04" + os.urandom(700_000)
QUICK = Limits(silence_seconds=0.3, window_seconds=0.5, window_bytes=1 << 14, attempts=3, pause_seconds=0.01)


def got(served: Served, folder: Path, **changes: Any) -> bytes:
    """The file, downloaded; nothing is left beside it."""
    path = download(served.url, folder / "m.zip", limits=QUICK, **changes)
    assert [file.name for file in folder.iterdir()] == ["m.zip"]
    return path.read_bytes()


def refused(served: Served, folder: Path, limits: Limits = QUICK) -> str:
    """The message; nothing is under the final name."""
    with pytest.raises(ModelError) as caught:
        download(served.url, folder / "m.zip", limits=limits)
    assert caught.value.code is ErrorCode.MODEL_DOWNLOAD
    assert not (folder / "m.zip").exists()
    return caught.value.message


@pytest.mark.parametrize("length", [None, -1])
def test_a_file_comes_whole(tmp_path: Path, length: int | None) -> None:
    seen: list[tuple[int, int]] = []
    with serving(Behaviour(DATA, length=length)) as served:
        assert got(served, tmp_path, progress=lambda done, total: seen.append((done, total))) == DATA
    assert seen[-1] == (len(DATA), len(DATA) if length is None else 0)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_a_cut_stream_is_taken_up_where_it_ended(tmp_path: Path) -> None:
    with serving(Behaviour(DATA, cut_after={1: 300_000, 2: 200_000})) as served:
        assert got(served, tmp_path) == DATA
    assert [request.get("Range") for request in served.requests] == [None, "bytes=300000-", "bytes=500000-"]
    assert served.requests[1]["If-Range"] == '"one"'


def test_many_cuts_are_survived_while_it_gets_further(tmp_path: Path) -> None:
    cuts = dict.fromkeys(range(1, 40), 30_000)
    with serving(Behaviour(DATA, cut_after=cuts)) as served:
        assert got(served, tmp_path) == DATA
    assert len(served.requests) > QUICK.attempts


@pytest.mark.parametrize("behaviour", [{"ranges": False}, {"etag": ""}, {"etag": 'W/"weak"'}])
def test_a_server_without_ranges_or_a_strong_tag_sends_all_of_it_again(tmp_path: Path, behaviour: dict[str, Any]) -> None:
    with serving(Behaviour(DATA, cut_after={1: 300_000}, **behaviour)) as served:
        assert got(served, tmp_path) == DATA


def test_a_server_without_ranges_that_always_cuts_is_given_up(tmp_path: Path) -> None:
    with serving(Behaviour(DATA, ranges=False, cut_after=dict.fromkeys(range(1, 99), 300_000))) as served:
        assert "400004 of 700004 bytes are missing" in refused(served, tmp_path)
    assert len(served.requests) <= 2 * QUICK.attempts


def test_a_later_call_goes_on_and_a_changed_file_begins_anew(tmp_path: Path) -> None:
    with serving(Behaviour(DATA, cut_after={1: 300_000}, status={2: 500, 3: 500, 4: 500})) as served:
        refused(served, tmp_path)
        served.requests.clear()
        served.behaviour = Behaviour(DATA)
        assert got(served, tmp_path) == DATA
        assert served.requests[0]["Range"] == "bytes=300000-"

        (tmp_path / "m.zip").unlink()
        served.behaviour = Behaviour(DATA, cut_after={2: 300_000}, status={3: 500, 4: 500, 5: 500})
        refused(served, tmp_path)
        other = b"PK\x03\x04" + os.urandom(1000)
        served.behaviour = Behaviour(other, etag='"two"')
        assert got(served, tmp_path) == other


def test_another_address_never_goes_on_with_the_first_ones_bytes(tmp_path: Path) -> None:
    with serving(Behaviour(DATA, cut_after={1: 300_000}, status={2: 500, 3: 500, 4: 500})) as first:
        refused(first, tmp_path)
    with serving(Behaviour(DATA)) as second:
        assert got(second, tmp_path) == DATA
    assert "Range" not in second.requests[0]


def test_a_whole_partial_file_is_not_sent_again(tmp_path: Path) -> None:
    with serving(Behaviour(DATA)) as served:
        got(served, tmp_path)
        (tmp_path / "m.zip").rename(tmp_path / "m.zip.partial")
        notes = f'{{"url": "{served.url}", "validator": "\\"one\\"", "size": {len(DATA)}}}'
        (tmp_path / "m.zip.partial.json").write_text(notes)
        assert got(served, tmp_path) == DATA
    assert served.requests[1]["Range"] == f"bytes={len(DATA)}-"


def test_damaged_notes_begin_anew(tmp_path: Path) -> None:
    (tmp_path / "m.zip.partial").write_bytes(b"garbage")
    (tmp_path / "m.zip.partial.json").write_text("[")
    with serving(Behaviour(DATA)) as served:
        assert got(served, tmp_path) == DATA
    assert "Range" not in served.requests[0]


def test_a_stall_is_noticed_and_taken_up(tmp_path: Path) -> None:
    with serving(Behaviour(DATA, stall_after={1: 100_000})) as served:
        assert got(served, tmp_path) == DATA
        assert served.requests[1]["Range"] == "bytes=100000-"
    with serving(Behaviour(DATA, stall_after=dict.fromkeys(range(1, 9), 0))) as served:
        (tmp_path / "m.zip").unlink()
        assert "nothing came for 0.3 s" in refused(served, tmp_path)


def test_a_stream_that_drips_is_given_up(tmp_path: Path) -> None:
    with serving(Behaviour(DATA, drip=(8, 0.02))) as served:
        assert "bytes came in" in refused(served, tmp_path)


def test_a_server_that_answers_nothing(tmp_path: Path) -> None:
    with serving(Behaviour(DATA)) as served:
        pass
    assert "cannot be reached" in refused(served, tmp_path)


@pytest.mark.parametrize(
    ("claimed", "answer"), [(len(DATA) + 5000, "5000 of 705004 bytes are missing"), (9 << 40, "announces")]
)
def test_a_size_that_is_too_large(tmp_path: Path, claimed: int, answer: str) -> None:
    with serving(Behaviour(DATA, length=claimed, ranges=False)) as served:
        assert answer in refused(served, tmp_path)


def test_an_endless_stream_is_stopped(tmp_path: Path) -> None:
    with serving(Behaviour(DATA, length=-1)) as served:
        limits = Limits(max_bytes=200_000, attempts=1)
        assert "more came than any model has" in refused(served, tmp_path, limits)
    assert not list(tmp_path.iterdir())


def test_no_room_on_the_disk_is_found_out_first(tmp_path: Path) -> None:
    with serving(Behaviour(DATA)) as served:
        assert "GB are free" in refused(served, tmp_path, Limits(free_share=1e12))


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_args: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(fetch._Transfer, "_stored", full)
    with serving(Behaviour(DATA)) as served:
        assert "no space left" in refused(served, tmp_path)
    assert len(served.requests) == 1


@pytest.mark.parametrize(
    "behaviour",
    [
        {"data": b"<html>Log in</html>", "kind": "text/html; charset=utf-8"},
        {"data": b"<!doctype html><p>Log in</p>"},
        {"data": b"version https://git-lfs.github.com/spec/v1"},
    ],
)
def test_web_pages_and_pointers_are_no_models(tmp_path: Path, behaviour: dict[str, Any]) -> None:
    with serving(Behaviour(**behaviour)) as served:
        message = refused(served, tmp_path)
    assert "web page" in message or "no zip" in message
    assert len(served.requests) == 1


def test_compressed_on_the_way(tmp_path: Path) -> None:
    with serving(Behaviour(DATA, headers={"Content-Encoding": "gzip"})) as served:
        assert "compressed" in refused(served, tmp_path)
    assert served.requests[0]["Accept-Encoding"] == "identity"


@pytest.mark.parametrize("status", [404, 403, 451])
def test_a_refusal_is_final(tmp_path: Path, status: int) -> None:
    with serving(Behaviour(DATA, status={1: status})) as served:
        assert f"answered {status}" in refused(served, tmp_path)
    assert len(served.requests) == 1


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_server_is_asked_again(tmp_path: Path, status: int) -> None:
    with serving(Behaviour(DATA, status={1: status, 2: status})) as served:
        assert got(served, tmp_path) == DATA


@pytest.mark.parametrize(
    "url", ["http://example.org/m.zip", "ftp://example.org/m.zip", "file:///etc/passwd", "m.zip", "", "http://[a"]
)
def test_addresses_that_are_not_trusted(tmp_path: Path, url: str) -> None:
    with pytest.raises(ModelError, match="https"):
        download(url, tmp_path / "m.zip")


@pytest.mark.parametrize("place", ["http://example.org/m.zip", "file:///etc/passwd", "ftp://127.0.0.1/m.zip"])
def test_a_redirect_leads_to_no_address_that_is_not_trusted(tmp_path: Path, place: str) -> None:
    with serving(Behaviour(status={1: 302}, headers={"Location": place})) as served:
        refused(served, tmp_path)
    assert len(served.requests) == 1


def test_a_redirect_is_followed_and_a_circle_is_not(tmp_path: Path) -> None:
    with serving(Behaviour(DATA)) as there, serving(Behaviour(status={1: 302}, headers={"Location": there.url})) as here:
        assert got(here, tmp_path) == DATA
    (tmp_path / "m.zip").unlink()
    with serving(Behaviour(status=dict.fromkeys(range(1, 99), 302), headers={"Location": "/again"})) as served:
        assert "answered 302" in refused(served, tmp_path)


def test_proxies_of_the_environment_are_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(Behaviour(DATA)) as proxy, serving(Behaviour(DATA)) as served:
        monkeypatch.setenv("http_proxy", proxy.url.removesuffix("/model.zip"))
        monkeypatch.setenv("no_proxy", "")
        assert got(served, tmp_path) == DATA
        assert proxy.paths == [served.url]
        assert not served.requests

        (tmp_path / "m.zip").unlink()
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        assert got(served, tmp_path) == DATA
        assert len(served.requests) == 1
