"""Files are read again exactly when somebody may have touched them."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from spineps.cohort import files
from spineps.cohort.files import KnownFiles, identity_of, read_json, sha256_of

OLD, NEW = b"old content", b"new content"


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are hashed, in order; hashing itself goes on."""
    seen: list[str] = []

    def counted(path: Path) -> str | None:
        seen.append(path.name)
        return sha256_of(path)

    monkeypatch.setattr(files, "sha256_of", counted)
    return seen


def known(folder: Path, **options: bool) -> KnownFiles:
    return KnownFiles(folder / "known.json", **options)


def test_an_untouched_file_is_read_once(tmp_path: Path, reads: list[str]) -> None:
    (tmp_path / "a").write_bytes(OLD)
    first = known(tmp_path)
    assert first.sha256("input", tmp_path / "a") == hashlib.sha256(OLD).hexdigest()
    first.save()
    assert known(tmp_path).sha256("input", tmp_path / "a") == hashlib.sha256(OLD).hexdigest()
    assert reads == ["a"]


def test_a_copied_dataset_is_read_once_more(tmp_path: Path, reads: list[str]) -> None:
    (tmp_path / "a").write_bytes(OLD)
    there = known(tmp_path)
    there.learn("input", tmp_path / "a", hashlib.sha256(OLD).hexdigest())
    there.save()
    (tmp_path / "b").write_bytes(OLD)
    (tmp_path / "b").replace(tmp_path / "a")  # the same bytes in another inode
    for _ in range(2):
        again = known(tmp_path)
        again.sha256("input", tmp_path / "a")
        again.save()
    assert reads == ["a"]


def test_a_change_that_keeps_size_and_time_is_seen(tmp_path: Path) -> None:
    place = tmp_path / "a"
    place.write_bytes(OLD)
    first = known(tmp_path)
    first.sha256("input", place)
    first.save()
    before = place.stat()
    place.write_bytes(NEW)
    os.utime(place, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert known(tmp_path).sha256("input", place) == hashlib.sha256(NEW).hexdigest()


def test_verify_reads_what_is_known(tmp_path: Path, reads: list[str]) -> None:
    (tmp_path / "a").write_bytes(NEW)
    lying = known(tmp_path)
    lying.learn("input", tmp_path / "a", hashlib.sha256(OLD).hexdigest())
    lying.save()
    assert known(tmp_path).sha256("input", tmp_path / "a") == hashlib.sha256(OLD).hexdigest()
    assert known(tmp_path, trusted=False).sha256("input", tmp_path / "a") == hashlib.sha256(NEW).hexdigest()
    assert reads == ["a"]


def test_nothing_is_learnt_of_a_file_that_changed_meanwhile(tmp_path: Path, reads: list[str]) -> None:
    (tmp_path / "a").write_bytes(OLD)
    before = identity_of(tmp_path / "a")
    (tmp_path / "a").write_bytes(NEW + NEW)
    memory = known(tmp_path)
    memory.learn("input", tmp_path / "a", hashlib.sha256(OLD).hexdigest(), before)
    assert not memory.changed
    memory.sha256("input", tmp_path / "a")
    assert reads == ["a"]


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"format": 1}', b'{"format": 0, "files": {}}', b'{"format": 1, "files": {"a": 1}}']
)
def test_a_damaged_memory_knows_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "known.json").write_bytes(content)
    (tmp_path / "a").write_bytes(OLD)
    assert known(tmp_path).sha256("input", tmp_path / "a") == hashlib.sha256(OLD).hexdigest()


def test_a_memory_that_cannot_be_written_is_no_failure(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    memory = KnownFiles(tmp_path / "file" / "known.json")
    (tmp_path / "a").write_bytes(OLD)
    memory.sha256("input", tmp_path / "a")
    memory.save()
    assert memory.changed


def test_what_has_no_hash(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert sha256_of(tmp_path / "pipe") is None
    assert sha256_of(tmp_path) is None
    assert sha256_of(tmp_path / "none") is None
    assert known(tmp_path).sha256("input", tmp_path / "none") is None


@pytest.mark.parametrize("content", [b"", b"[1]", b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_json_object(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.json").write_bytes(content)
    assert read_json(tmp_path / "a.json") is None
