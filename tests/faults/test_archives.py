"""Row 70 of the table of faults: zip files that would write where they should not, or more than a disk holds."""

from __future__ import annotations

import io
import os
import stat
import struct
import zipfile
from pathlib import Path

import pytest

from spineps.errors import ErrorCode, ModelError
from spineps.zoo import archive


def make_zip(path: Path, members: list[tuple[zipfile.ZipInfo | str, bytes]], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as file:
        for name, data in members:
            file.writestr(name, data, compress_type=method)
    return path


def special(name: str, mode: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    return info


def refused(path: Path, tmp_path: Path) -> str:
    """The message with which it is refused, and nothing under the target or beside it."""
    target = tmp_path / "cache" / "staging"
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ModelError) as caught:
        archive.unpack(path, target)
    assert caught.value.code is ErrorCode.MODEL_ARCHIVE
    assert caught.value.exit_code == 5
    left = [found for found in sorted(tmp_path.rglob("*")) if found not in before]
    assert all(target in found.parents or found in (target, *target.parents) for found in left)
    return caught.value.message


def test_a_sound_archive_is_unpacked(tmp_path: Path) -> None:
    members = [("model/", b""), ("model/a.json", b"{}"), ("model/fold_0/w.pth", os.urandom(3 << 20)), ("model/empty", b"")]
    path = make_zip(tmp_path / "a.zip", members)
    assert archive.is_zip(path)
    written = archive.unpack(path, tmp_path / "out")
    assert {file.relative_to(tmp_path / "out").as_posix(): file.read_bytes() for file in written} == dict(members[1:])


@pytest.mark.parametrize(
    "name",
    [
        "../outside",
        "model/../../outside",
        "/etc/outside",
        "model//outside",
        "./outside",
        "..",
        "C:outside",
        "model\\..\\outside",
        "model/new\nline",
        "x" * 300,
    ],
)
def test_names_that_lead_elsewhere(name: str, tmp_path: Path) -> None:
    assert "name" in refused(make_zip(tmp_path / "a.zip", [("model/a", b"1"), (name, b"2")]), tmp_path)
    assert not list(tmp_path.rglob("outside"))


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFSOCK])
def test_links_and_devices(kind: int, tmp_path: Path) -> None:
    assert "link or device" in refused(
        make_zip(tmp_path / "a.zip", [(special("model/a", kind | 0o777), b"/etc/passwd")]), tmp_path
    )


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    "names", [("model/a", "model/a"), ("model/a", "model/A"), ("model", "model/a"), ("stra\u00dfe", "STRASSE")]
)
def test_two_files_of_one_name(names: tuple[str, str], tmp_path: Path) -> None:
    assert "two files of one name" in refused(make_zip(tmp_path / "a.zip", [(name, b"x") for name in names]), tmp_path)


def test_a_member_compressed_a_thousandfold(tmp_path: Path) -> None:
    assert "-fold" in refused(make_zip(tmp_path / "a.zip", [("model/weights", bytes(64 << 20))]), tmp_path)


def test_a_million_members_are_counted_not_read(tmp_path: Path) -> None:
    entry = struct.pack("<4s6H3L5H2L", b"PK\x01\x02", 20, 20, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"a"
    directory = entry * 1_000_000
    end64 = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 20, 20, 0, 0, 1_000_000, 1_000_000, len(directory), 0)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, len(directory), 1)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    (tmp_path / "a.zip").write_bytes(directory + end64 + locator + end)
    assert "1000000 files" in refused(tmp_path / "a.zip", tmp_path)


def test_a_directory_larger_than_it_says(tmp_path: Path) -> None:
    many = [(f"model/{number:05d}{'x' * 200}", b"") for number in range(archive.MAX_MEMBERS + 1)]
    data = bytearray(make_zip(tmp_path / "a.zip", many, zipfile.ZIP_STORED).read_bytes())
    at = data.rfind(b"PK\x05\x06")
    data[at + 8 : at + 12] = struct.pack("<2H", 3, 3)
    (tmp_path / "a.zip").write_bytes(data)
    assert "files" in refused(tmp_path / "a.zip", tmp_path)


def test_more_bytes_than_a_model_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_TOTAL_BYTES", 1000)
    assert "unpacks to" in refused(make_zip(tmp_path / "a.zip", [("a", os.urandom(600)), ("b", os.urandom(600))]), tmp_path)


def test_members_that_share_their_bytes(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a", os.urandom(1000))
        first = file.infolist()[0]
        second = zipfile.ZipInfo("b")
        for field in ("CRC", "compress_size", "file_size", "header_offset", "compress_type"):
            setattr(second, field, getattr(first, field))
        file.filelist.append(second)
    (tmp_path / "a.zip").write_bytes(buffer.getvalue())
    assert "share their bytes" in refused(tmp_path / "a.zip", tmp_path)


def test_a_member_longer_than_it_says(tmp_path: Path) -> None:
    data = bytearray(make_zip(tmp_path / "a.zip", [("a", b"x" * 5000)]).read_bytes())
    at = data.find(b"PK\x01\x02")
    data[at + 24 : at + 28] = struct.pack("<L", 100)
    (tmp_path / "a.zip").write_bytes(data)
    refused(tmp_path / "a.zip", tmp_path)


@pytest.mark.parametrize("cut", [1, 10, 30, 100])
def test_cut_off(cut: int, tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", [("model/a", os.urandom(5000))])
    path.write_bytes(path.read_bytes()[:-cut])
    refused(path, tmp_path)


def test_one_flipped_bit(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", [("model/a", os.urandom(5000))])
    data = bytearray(path.read_bytes())
    data[2000] ^= 1
    path.write_bytes(data)
    assert "damaged" in refused(path, tmp_path)


def test_encrypted(tmp_path: Path) -> None:
    data = bytearray(make_zip(tmp_path / "a.zip", [("a", b"x")]).read_bytes())
    for magic, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.find(magic) + offset] |= 1
    (tmp_path / "a.zip").write_bytes(data)
    assert "encrypted" in refused(tmp_path / "a.zip", tmp_path)


def test_no_zip_at_all(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"<!doctype html><title>Log in</title>" * 50)
    assert not archive.is_zip(tmp_path / "a.zip")
    refused(tmp_path / "a.zip", tmp_path)
