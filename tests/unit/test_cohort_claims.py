"""Claims: one owner at a time, dead owners are followed, living ones respected, whatever the clocks say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from spineps.cohort.claims import STALE_S, Claims
from spineps.errors import OutputError

DEAD_PID_CODE = """
import sys
from pathlib import Path
from spineps.cohort.claims import Claims
assert Claims(Path(sys.argv[1])).take("case")
"""


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def owner_file(folder: Path, name: str = "case") -> Path:
    (file,) = (folder / f"{name}.claim").iterdir()
    return file


def change_owner(folder: Path, **changes: str) -> None:
    """Make the claim one that another process left."""
    file = owner_file(folder)
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def elsewhere(folder: Path) -> None:
    """Make the claim one of another machine."""
    change_owner(folder, host="another", token="theirs")  # noqa: S106  (no password)
    owner_file(folder).rename(folder / "case.claim" / "owner-theirs.json")


def test_one_owner_at_a_time(tmp_path: Path) -> None:
    with Claims(tmp_path) as first, Claims(tmp_path) as second:
        assert first.take("case")
        assert not second.take("case")
        assert second.take("other")
        first.release("case")
        assert second.take("case")
    assert list(tmp_path.iterdir()) == []


def test_a_claim_holds_nothing_of_the_scan(tmp_path: Path) -> None:
    with Claims(tmp_path) as claims:
        claims.take("case")
        assert json.loads(owner_file(tmp_path).read_text()).keys() == {"host", "boot", "space", "pid", "born", "token"}


def test_a_dead_owner_of_this_machine_is_followed_at_once(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", DEAD_PID_CODE, str(tmp_path)], check=True)
    assert owner_file(tmp_path).is_file()
    with Claims(tmp_path) as claims:
        assert claims.take("case")


def test_another_process_under_the_owners_number_is_not_the_owner(tmp_path: Path) -> None:
    Claims(tmp_path).take("case")
    change_owner(tmp_path, born="1")
    assert Claims(tmp_path).take("case")


def test_an_owner_before_the_last_start_of_the_machine_is_followed(tmp_path: Path) -> None:
    Claims(tmp_path).take("case")
    change_owner(tmp_path, boot="before")
    assert Claims(tmp_path).take("case")


@pytest.mark.parametrize("skew_s", [-1e6, 0, 1e6])
def test_a_silent_owner_elsewhere_is_followed_after_a_while_whatever_its_clock_says(tmp_path: Path, skew_s: float) -> None:
    Claims(tmp_path).take("case")
    elsewhere(tmp_path)
    touched = owner_file(tmp_path).stat().st_mtime + skew_s
    os.utime(owner_file(tmp_path), (touched, touched))
    clock = Clock()
    watcher = Claims(tmp_path, clock=clock)
    assert not watcher.take("case")
    clock.now += STALE_S - 1
    assert not watcher.take("case")
    clock.now += 2
    assert watcher.take("case")


def test_a_touched_claim_stays(tmp_path: Path) -> None:
    Claims(tmp_path).take("case")
    elsewhere(tmp_path)
    clock = Clock()
    watcher = Claims(tmp_path, clock=clock)
    for beat in range(5):
        os.utime(owner_file(tmp_path), (beat, beat))
        assert not watcher.take("case")
        clock.now += STALE_S - 1


def test_an_owner_that_died_while_letting_go(tmp_path: Path) -> None:
    (tmp_path / "case.claim").mkdir()
    assert Claims(tmp_path).take("case")


def test_a_follower_that_has_not_signed_yet_is_not_taken_for_the_dead_owner(tmp_path: Path) -> None:
    Claims(tmp_path).take("case")
    change_owner(tmp_path, boot="before")
    owner_file(tmp_path).rename(tmp_path / "case.claim" / "owner-follower.json")
    assert not Claims(tmp_path).take("case")


def test_one_of_many_followers_succeeds(tmp_path: Path) -> None:
    for _ in range(100):
        subject = Claims(tmp_path)
        subject.take("case")
        change_owner(tmp_path, boot="before")
        followers = [Claims(tmp_path) for _ in range(6)]
        barrier, won = threading.Barrier(len(followers)), []

        def follow(claims: Claims, barrier: threading.Barrier = barrier, won: list[Claims] = won) -> None:
            barrier.wait()
            if claims.take("case"):
                won.append(claims)

        threads = [threading.Thread(target=follow, args=(claims,)) for claims in followers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 1
        won[0].release("case")
        assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_was_putting_together_is_taken_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as killed:
        killed.setattr(Path, "rename", lambda *_: None)
        killed.setattr("spineps.cohort.claims.shutil.rmtree", lambda *_, **__: None)
        killed.setattr("spineps.cohort.claims._born", lambda _pid: "1")  # as one of that number that ran before
        Claims(tmp_path).take("theirs")
    with Claims(tmp_path) as claims:
        claims.take("ours")
        (tmp_path / f"next.new-{claims._maker}-0").mkdir()
        assert len(list(tmp_path.iterdir())) == 3
        assert claims.names() == ("ours",)
        assert sorted(place.name[:5] for place in tmp_path.iterdir()) == ["next.", "ours."]


def test_a_claim_does_not_wait_for_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spineps.io.atomic.os.fsync", lambda _handle: pytest.fail("a claim need not outlive a loss of power"))
    with Claims(tmp_path) as claims:
        assert claims.take("case")


def test_a_claim_that_was_taken_over_is_left_to_its_new_owner(tmp_path: Path) -> None:
    first = Claims(tmp_path)
    first.take("case")
    elsewhere(tmp_path)
    first.release("case")
    assert owner_file(tmp_path).is_file()


def test_the_heart_beats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spineps.cohort.claims.HEARTBEAT_S", 0.01)
    with Claims(tmp_path) as claims:
        claims.take("case")
        os.utime(owner_file(tmp_path), (1, 1))
        for _ in range(500):
            if owner_file(tmp_path).stat().st_mtime > 1:
                break
            threading.Event().wait(0.01)
        assert owner_file(tmp_path).stat().st_mtime > 1


def test_where_claims_cannot_be_written_the_run_ends(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError):
        Claims(tmp_path / "file").take("case")
