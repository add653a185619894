"""Row 72 of the table of faults: weights that are no safetensors, or not those of their network, under a card that vouches.

Each attack writes the hash of its own bytes on the card, so that the hash is not what refuses it.
"""

from __future__ import annotations

import hashlib
import json
import struct
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from spineps.errors import ErrorCode, ModelError
from spineps.networks.unet import InstanceUNet
from spineps.zoo.export import export_model
from spineps.zoo.store import CARD, WEIGHTS, load_model, read_card

FACTS = {
    "name": "tiny",
    "kind": "instance",
    "version": "1",
    "network": "InstanceUNet",
    "network_settings": {"channels": 13, "widths": [8, 8, 16]},
    "spacing_mm": (2, 2, 2),
    "patch_size": (16, 24, 8),
    "labels": (0, 1, 2, 3),
}
TensorDict = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("sound") / "tiny"
    export_model(folder, InstanceUNet(13, (8, 8, 16)), FACTS)
    return folder


@pytest.fixture
def folder(sound: Path, tmp_path: Path) -> Path:
    made = tmp_path / "tiny"
    made.mkdir()
    for name in (CARD, WEIGHTS):
        (made / name).write_bytes((sound / name).read_bytes())
    return made


def put(folder: Path, weights: bytes, **changes: Any) -> None:
    """Other weights, and a card that says they are the right ones."""
    card = json.loads((folder / CARD).read_text(encoding="utf-8"))
    card |= {"weights_sha256": hashlib.sha256(weights).hexdigest(), **changes}
    (folder / WEIGHTS).write_bytes(weights)
    (folder / CARD).write_text(json.dumps(card), encoding="utf-8")


def refused(folder: Path) -> str:
    with pytest.raises(ModelError) as caught:
        load_model(folder)
    assert caught.value.code is ErrorCode.MODEL_CORRUPT
    assert caught.value.exit_code == 5
    assert str(folder) not in str(caught.value)
    return caught.value.message


def raw(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    """A file as safetensors lays it out: length of the header, header, data."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def one(dtype: str, shape: list[int], span: list[int]) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": span}


ZEROS = bytes(64)
FILES = {
    "nothing": b"",
    "no header": b"\x08\0\0\0",
    "a header longer than the file": raw({}, length=10_000),
    "a header of a petabyte": raw({}, length=1 << 50),
    "a header of all bits": raw({}, length=(1 << 64) - 1),
    "a header that is no JSON": raw(b"{{{{{{{{"),
    "a header that is a list": raw([]),
    "deep nesting": raw(b"[" * 50_000),
    "two tensors on the same bytes": raw({"a": one("F32", [16], [0, 64]), "b": one("F32", [16], [0, 64])}, ZEROS),
    "two tensors that overlap": raw({"a": one("F32", [12], [0, 48]), "b": one("F32", [8], [32, 64])}, ZEROS),
    "a hole between tensors": raw({"a": one("F32", [4], [0, 16]), "b": one("F32", [4], [48, 64])}, ZEROS),
    "bytes after the last tensor": raw({"a": one("F32", [4], [0, 16])}, ZEROS),
    "a tensor beyond the file": raw({"a": one("F32", [1 << 40], [0, 1 << 42])}, ZEROS),
    "a negative offset": raw({"a": one("F32", [16], [-64, 0])}, ZEROS),
    "a shape that overflows": raw({"a": one("F32", [1 << 40, 1 << 40], [0, 64])}, ZEROS),
    "a shape that does not fit its bytes": raw({"a": one("F32", [17], [0, 64])}, ZEROS),
    "an unknown type": raw({"a": one("O", [8], [0, 64])}, ZEROS),
    "one name twice": raw(
        b'{"a":{"dtype":"F32","shape":[16],"data_offsets":[0,64]},"a":{"dtype":"F32","shape":[16],"data_offsets":[0,64]}}',
        ZEROS,
    ),
    "a pickle": b"\x80\x04cos\nsystem\n\x8c\x07touch x\x85R.",
    "a zip": b"PK\x03\x04" + ZEROS,
}


@pytest.mark.parametrize("name", FILES)
def test_files_that_are_no_safetensors(folder: Path, name: str) -> None:
    put(folder, FILES[name])
    refused(folder)


def _without_a_key(tensors: TensorDict) -> TensorDict:
    return dict(list(tensors.items())[1:])


def _with_another_key(tensors: TensorDict) -> TensorDict:
    return {**tensors, "extra.weight": torch.zeros(3)}


def _renamed(tensors: TensorDict) -> TensorDict:
    return {name.replace("weight", "weights"): tensor for name, tensor in tensors.items()}


def _of_another_shape(tensors: TensorDict) -> TensorDict:
    name, tensor = max(tensors.items(), key=lambda item: item[1].dim())
    return {**tensors, name: tensor.flatten()}


def _with_one(value: float) -> Callable[[TensorDict], TensorDict]:
    def edit(tensors: TensorDict) -> TensorDict:
        name, tensor = list(tensors.items())[-1]
        other = tensor.clone().flatten()
        other[0] = value
        return {**tensors, name: other.reshape(tensor.shape)}

    return edit


def _as_whole_numbers(tensors: TensorDict) -> TensorDict:
    return {name: (100 * tensor).to(torch.int64) for name, tensor in tensors.items()}


def _as_complex_numbers(tensors: TensorDict) -> TensorDict:
    return {name: 1j * tensor.to(torch.complex64) for name, tensor in tensors.items()}


def _zeros(tensors: TensorDict) -> TensorDict:
    return {name: torch.zeros_like(tensor) for name, tensor in tensors.items()}


def _none(tensors: TensorDict) -> TensorDict:
    return {}


EDITS = {
    "a missing key": _without_a_key,
    "an extra key": _with_another_key,
    "other names": _renamed,
    "another shape": _of_another_shape,
    "NaN": _with_one(float("nan")),
    "infinity": _with_one(float("inf")),
    "whole numbers": _as_whole_numbers,
    "complex numbers": _as_complex_numbers,
    "other values": _zeros,
    "no tensors": _none,
}


@pytest.mark.filterwarnings("ignore:Casting complex values")
@pytest.mark.parametrize("name", EDITS)
def test_tensors_that_are_not_those_of_the_network(folder: Path, name: str) -> None:
    edited = EDITS[name](load((folder / WEIGHTS).read_bytes()))
    put(folder, save({key: tensor.contiguous() for key, tensor in edited.items()}))
    refused(folder)


@pytest.mark.parametrize(
    "text",
    [b"", b"null", b"[]", b"\xff\xfe", b"[" * 100_000, b'{"name": NaN}', b'{"golden": ' * 2000],
    ids=["empty", "null", "list", "no text", "deep", "nan", "cut"],
)
def test_cards_that_are_none(folder: Path, text: bytes) -> None:
    (folder / CARD).write_bytes(text)
    with pytest.raises(ModelError) as caught:
        read_card(folder)
    assert caught.value.code is ErrorCode.MODEL_CORRUPT


@pytest.mark.parametrize("network", ["os.system", "torch.nn.Linear", "builtins.eval", "../InstanceUNet", "", "InstanceUNet\0"])
def test_a_network_that_is_none_of_ours(folder: Path, network: str) -> None:
    put(folder, (folder / WEIGHTS).read_bytes(), network=network)
    refused(folder)


def test_nothing_is_allocated_for_what_a_header_claims(folder: Path) -> None:
    """A few bytes that claim terabytes are refused in the memory that a small model needs anyway."""
    put(folder, FILES["a tensor beyond the file"])
    code = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "import torch, spineps.networks\n"
        "from spineps.errors import ModelError\n"
        "from spineps.zoo.store import load_model\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try:\n"
        "    load_model(Path(sys.argv[1]))\n"
        "except ModelError:\n"
        "    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 100_000  # kB


def test_random_damage_of_the_header(folder: Path) -> None:
    """A byte of the header changed, the hash on the card with it: nothing but a ModelError leaves."""
    sound = (folder / WEIGHTS).read_bytes()
    (header_bytes,) = struct.unpack("<Q", sound[:8])
    rng = np.random.default_rng(0)
    for position in rng.integers(0, 8 + header_bytes, 40):
        damaged = bytearray(sound)
        damaged[position] ^= int(rng.integers(1, 256))
        put(folder, bytes(damaged))
        with suppress(ModelError):
            load_model(folder)
