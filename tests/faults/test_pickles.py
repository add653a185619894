"""Rows 71 and 73 of the table of faults: checkpoints and plans that name what they should not.

Every attack runs in a process of its own in which an audit hook ends whatever Python's own unpickler, a shell or a new process
is asked for; and each would leave a file behind if it came through.
"""

from __future__ import annotations

import io
import json
import pickle
import shutil
import struct
import subprocess
import sys
import zipfile
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from published_models import instance_folder, semantic_folder

from spineps.errors import ErrorCode, ModelError
from spineps.zoo.published import import_folder

GUARD = """
import json, sys
from pathlib import Path
import torch, numpy, spineps.zoo.published.convert
from spineps.errors import ModelError
from spineps.zoo.published import import_folder
from spineps.zoo.published.checkpoint import read_checkpoint

CALLS = ("pickle.find_class", "os.system", "os.exec", "os.posix_spawn", "subprocess.Popen")

def hook(event, arguments):
    if event in CALLS or (event == "import" and arguments[0].split(".")[0] in ("my_networks", "antigravity")):
        raise BaseException(f"attack came through: {event} {arguments}")

sys.addaudithook(hook)
sys.setrecursionlimit(1000)
answers = {}
for path in sorted(Path(sys.argv[1]).iterdir()):
    try:
        import_folder(path, cache=Path(sys.argv[2])) if path.is_dir() else read_checkpoint(path)
        answers[path.name] = ["read", ""]
    except ModelError as error:
        answers[path.name] = [str(error.code), str(error)]
print(json.dumps(answers))
"""


PICKLE = "archive/data.pkl"


class Calls:
    """Pickles as a call."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self._call = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self._call


def in_zip(
    content: bytes, *, name: str = "archive/data.pkl", method: int = zipfile.ZIP_STORED, more: tuple[str, ...] = ()
) -> bytes:
    """A file as ``torch.save`` lays it out, with a pickle of one's own."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        archive.writestr(name, content)
        archive.writestr("archive/version", b"3\n")
        archive.writestr("archive/byteorder", b"little")
        for other in more:
            archive.writestr(other, content)
    return file.getvalue()


def named(module: str, name: str, argument: str) -> bytes:
    """A pickle that calls ``module.name(argument)``."""
    return (
        b"\x80\x02c" + f"{module}\n{name}\n".encode() + b"X" + struct.pack("<I", len(argument)) + argument.encode() + b"\x85R."
    )


def saved(value: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    torch.save(value, file, **options)
    return file.getvalue()


def attacks(marker: Path) -> dict[str, bytes]:
    """Files that would touch ``marker``, or bring a reader down."""
    touch, code = f"touch {marker}", f"open({str(marker)!r}, 'w')"
    system = Calls(__import__("os").system, touch)
    evil = {
        "plain": saved({"network_weights": system}),
        "in settings": saved({"hyper_parameters": {"opt": Namespace(lr=system)}, "state_dict": {}}),
        "in a list": saved([[[system]]]),
        "beside a tensor": saved({"a": [torch.zeros(1), system]}),
        "legacy format": saved({"network_weights": system}, _use_new_zipfile_serialization=False),
        **{f"bare pickle {protocol}": pickle.dumps({"a": system}, protocol) for protocol in range(6)},
        **{f"pickle {protocol} in a zip": in_zip(pickle.dumps({"a": system}, protocol)) for protocol in range(6)},
        "compressed": in_zip(named("posix", "system", touch), method=zipfile.ZIP_DEFLATED),
        "two pickles": in_zip(pickle.dumps({}, 2), more=("other/data.pkl",)),
        "another name": in_zip(named("posix", "system", touch), name="archive/data.PKL"),
        "no zip": b"PK\x03\x04" + bytes(100),
        "nothing": b"",
        "code": in_zip(pickle.dumps({}, 2), more=("archive/code/__torch__.py",)),
        "constants": in_zip(pickle.dumps({}, 2), more=("archive/constants.pkl",)),
        "cut": saved({"a": torch.zeros(10)})[:-200],
        "extension": in_zip(b"\x80\x02\x82\x01."),
        "instance": in_zip(b"(S'x'\niposix\nsystem\n."),
        "object": in_zip(b"(cposix\nsystem\nS'x'\no."),
        "persistent": in_zip(b"\x80\x02X\x01\x00\x00\x00aQ."),
        "deep": in_zip(b"\x80\x02" + b"]" * 5000 + b"a" * 4999 + b"."),
        "endless": in_zip(b"\x80\x02]q\x00h\x00a."),
        "endless dictionary": in_zip(b"\x80\x02}q\x00X\x01\x00\x00\x00ah\x00s."),
        "long": in_zip(b"\x80\x04\x8e" + struct.pack("<Q", 1 << 60) + b"."),
        "no end": in_zip(b"\x80\x02}"),
        "empty pickle": in_zip(b""),
        "no memory": in_zip(b"\x80\x02h\x07."),
        "no dictionary": saved([torch.zeros(2)]),
    }
    for module, name, argument in (
        ("builtins", "eval", code),
        ("builtins", "exec", code),
        ("builtins", "getattr", code),
        ("__builtin__", "eval", code),
        ("os", "system", touch),
        ("posix", "system", touch),
        ("nt", "system", touch),
        ("subprocess", "getoutput", touch),
        ("runpy", "run_path", code),
        ("importlib", "import_module", "antigravity"),
        ("torch", "load", str(marker)),
        ("torch.hub", "load", str(marker)),
        ("torch.serialization", "load", str(marker)),
        ("torch.jit", "load", str(marker)),
        ("numpy", "load", str(marker)),
        ("numpy", "save", str(marker)),
        ("pathlib", "PosixPath.touch", str(marker)),
        ("argparse", "Namespace.__init__", code),
        ("argparse", "_sys.modules", code),
        ("collections", "OrderedDict.fromkeys", code),
        ("spineps.architectures.pl_densenet", "os.system", touch),
        ("spineps.cli", "main", "version"),
        ("_codecs", "decode", code),
        ("functools", "partial", code),
        ("operator", "methodcaller", code),
        ("pickle", "loads", code),
    ):
        evil[f"{module}.{name}"] = in_zip(named(module, name, argument))
    return evil


def guarded(folder: Path, cache: Path) -> dict[str, list[str]]:
    """What became of each checkpoint and each model folder in a folder, by its name."""
    command = [sys.executable, "-c", GUARD, str(folder), str(cache)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder.parent)
    assert done.returncode == 0, done.stderr
    given: dict[str, list[str]] = json.loads(done.stdout)
    return given


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    root = tmp_path_factory.mktemp("attacks")
    marker, folder = root / "marker", root / "files"
    folder.mkdir()
    for number, content in enumerate(attacks(marker).values()):
        (folder / f"{number:03}.pth").write_bytes(content)
    (folder / "good.pth").write_bytes(
        saved({"hyper_parameters": {"opt": Namespace(lr=1.0)}, "state_dict": {"a": torch.ones(2)}})
    )
    given = guarded(folder, root / "cache")
    assert not marker.exists()
    return {**dict(zip(attacks(marker), list(given.values())[:-1], strict=True)), "good": given["good.pth"]}


NAMES = tuple(attacks(Path("marker")))
UNSAFE = (
    *(name for name in NAMES if "." in name or name.startswith(("plain", "in ", "beside", "pickle"))),
    "code",
    "constants",
    "extension",
    "instance",
    "object",
)


@pytest.mark.parametrize("name", NAMES)
def test_71_no_checkpoint_executes_anything(answers: dict[str, list[str]], name: str) -> None:
    code, message = answers[name]
    assert code in ("MODEL_UNSAFE", "MODEL_CORRUPT")
    assert "marker" not in message


@pytest.mark.parametrize("name", UNSAFE)
def test_71_what_is_named_is_told(answers: dict[str, list[str]], name: str) -> None:
    code, message = answers[name]
    assert code == "MODEL_UNSAFE"
    if "." in name:
        assert name in message


def test_the_guard_lets_a_good_checkpoint_through(answers: dict[str, list[str]]) -> None:
    assert answers["good"][0] == "read"


def test_71_an_attack_in_a_model_folder_leaves_no_model(tmp_path: Path) -> None:
    folder = instance_folder(tmp_path / "model")
    (checkpoint,) = folder.rglob("*.ckpt")
    checkpoint.write_bytes(in_zip(named("posix", "system", f"touch {tmp_path / 'marker'}")))
    with pytest.raises(ModelError, match=r"posix\.system") as caught:
        import_folder(folder, cache=tmp_path / "cache")
    assert (caught.value.code, caught.value.exit_code) == (ErrorCode.MODEL_UNSAFE, 5)
    assert not (tmp_path / "marker").exists()
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


# ---- row 73


def _architecture(**changes: Any) -> Callable[[dict[str, Any]], None]:
    def edit(plans: dict[str, Any]) -> None:
        plans["configurations"]["3d_fullres"]["architecture"] |= changes

    return edit


def _argument(**changes: Any) -> Callable[[dict[str, Any]], None]:
    def edit(plans: dict[str, Any]) -> None:
        plans["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"] |= changes

    return edit


def _configuration(**changes: Any) -> Callable[[dict[str, Any]], None]:
    def edit(plans: dict[str, Any]) -> None:
        plans["configurations"]["3d_fullres"] |= changes

    return edit


UNSAFE_PLANS = {
    "os.system as the network": _architecture(network_class_name="os.system"),
    "a module of the user": _architecture(network_class_name="my_networks.Network"),
    "a prefix that is none": _architecture(network_class_name="dynamic_network_architectures.architectures.unet.os"),
    "a step up": _architecture(network_class_name="dynamic_network_architectures.../os.system"),
    "an operation": _argument(conv_op="os.system"),
    "a norm": _argument(norm_op="subprocess.Popen"),
    "a nonlinearity": _argument(nonlin="builtins.eval"),
    "a dropout": _argument(dropout_op="os.system"),
    "an unknown argument": _argument(hook="os.system"),
}
REFUSED_PLANS = {
    **UNSAFE_PLANS,
    "no stages": _argument(n_stages=0),
    "a million stages": _argument(n_stages=10**6),
    "features beyond memory": _argument(features_per_stage=[10**9, 10**9]),
    "a network that is a number": _architecture(network_class_name=7),
    "arguments that are a list": _architecture(arch_kwargs=[1]),
    "a normalisation": _configuration(normalization_schemes=["os.system"]),
    "no configurations": lambda plans: plans.pop("configurations"),
}


@pytest.fixture(scope="module")
def semantic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return semantic_folder(tmp_path_factory.mktemp("semantic") / "T2w_semantic_v1.0.9")


def with_plans(source: Path, edit: Callable[[dict[str, Any]], object], folder: Path) -> Path:
    """A copy of a model folder with other plans."""
    shutil.copytree(source, folder)
    plans = json.loads((folder / "plans.json").read_text(encoding="utf-8"))
    edit(plans)
    (folder / "plans.json").write_text(json.dumps(plans), encoding="utf-8")
    return folder


def import_with(source: Path, edit: Callable[[dict[str, Any]], object], tmp_path: Path) -> ModelError:
    """The error of importing a folder with other plans."""
    folder = with_plans(source, edit, tmp_path / "model")
    with pytest.raises(ModelError) as caught:
        import_folder(folder, cache=tmp_path / "cache")
    assert caught.value.exit_code == 5
    assert not list((tmp_path / "cache").rglob("card.json"))
    return caught.value


@pytest.mark.parametrize("name", REFUSED_PLANS)
def test_73_plans_that_name_another_class(semantic: Path, tmp_path: Path, name: str) -> None:
    error = import_with(semantic, REFUSED_PLANS[name], tmp_path)
    assert error.code is (ErrorCode.MODEL_UNSAFE if name in UNSAFE_PLANS else error.code)
    assert error.code in (ErrorCode.MODEL_UNSAFE, ErrorCode.MODEL_CORRUPT)


def test_71_73_nothing_is_called_or_imported_for_a_folder(semantic: Path, tmp_path: Path) -> None:
    """The same under the audit hook, with a module of the user's in reach and with checkpoints that attack."""
    folders, marker = tmp_path / "folders", tmp_path / "marker"
    folders.mkdir()
    for number, edit in enumerate(UNSAFE_PLANS.values()):
        with_plans(semantic, edit, folders / f"{number:02} plans")
    attack = in_zip(named("posix", "system", f"touch {marker}"))
    for made in (shutil.copytree(semantic, folders / "semantic"), instance_folder(folders / "instance")):
        (checkpoint,) = (path for path in made.rglob("*") if path.suffix in (".pth", ".ckpt"))
        checkpoint.write_bytes(attack)
    shutil.copytree(semantic, folders / "sound")
    (tmp_path / "my_networks.py").write_text(f"open({str(marker)!r}, 'w')", encoding="utf-8")
    given = guarded(folders, tmp_path / "cache")
    assert given.pop("sound")[0] == "read"
    assert {code for code, _ in given.values()} == {"MODEL_UNSAFE"}
    assert not marker.exists()
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_73_the_folder_without_an_attack_is_imported(semantic: Path, tmp_path: Path) -> None:
    assert (import_folder(semantic, cache=tmp_path / "cache") / "card.json").is_file()
