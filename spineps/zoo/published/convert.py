"""From a folder made elsewhere to one of ours: card and safetensors, under a name that follows from the content."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from spineps.errors import ErrorCode, ModelError, UsageError
from spineps.io.shown import shown_name
from spineps.zoo.archive import is_zip, unpack
from spineps.zoo.card import ModelCard
from spineps.zoo.places import models_cache
from spineps.zoo.published import describe, lightning, nnunet
from spineps.zoo.published.config import CONFIG, InferenceConfig, corrupt, invalid, read_config
from spineps.zoo.store import CARD

if TYPE_CHECKING:
    import torch

IMPORTER: Final = 1
"""Raised whenever the same folder is imported to something else than before; older imports are then left aside."""
_READ_BYTES: Final = 1 << 22
_NAME_CHARACTERS: Final = 48


@dataclass(frozen=True, slots=True)
class PlainNnunet:
    """What a plain nnU-Net folder does not say itself.

    Parameters
    ----------
    label_map : mapping of int to int
        From its labels to ids of :class:`spineps.labels.Structure`; 0 leaves one out.
    orientation : str
        Axis codes of the images that it was trained on, in the order of the NIfTI file's axes.
    """

    label_map: Mapping[int, int] = field(default_factory=dict)
    orientation: str = "PIR"


def import_folder(source: Path, plain: PlainNnunet | None = None, *, cache: Path | None = None) -> Path:
    """Convert a folder or a zip file, unless the same content was converted before.

    Parameters
    ----------
    source : Path
        See :func:`spineps.zoo.published.import_model`.
    plain : PlainNnunet, optional
        For a plain nnU-Net folder.
    cache : Path, optional
        Where the new folder is made.

    Returns
    -------
    Path
        Folder with a card and weights.
    """
    cache = models_cache() if cache is None else cache
    with _as_folder(source, cache) as folder:
        found = _find(folder, plain)
        target = cache / f"{_slug(found.name or source.stem)}-{found.digest[:16]}"
        if not (target / CARD).is_file():
            _write(found, target, plain)
        return target


def convert(source: Path, target: Path, plain: PlainNnunet | None = None) -> ModelCard:
    """Convert a folder or a zip file to a given folder, which must not exist.

    Raises
    ------
    ModelError
        As :func:`spineps.zoo.published.import_model`.
    """
    with _as_folder(source, target.parent) as folder:
        return _write(_find(folder, plain), target, plain)


def is_published(path: Path) -> bool:
    """Tell whether a path may be a model made elsewhere: a zip file, or a folder without a card of ours."""
    if path.is_file():
        return is_zip(path)
    return path.is_dir() and not (path / CARD).is_file()


@dataclass(frozen=True, slots=True)
class _Source:
    """A model folder, the files of it that are used, and their hash."""

    folder: Path
    config: InferenceConfig | None
    name: str
    digest: str


@contextmanager
def _as_folder(source: Path, beside: Path) -> Iterator[Path]:
    """The folder itself, or a zip file unpacked to a hidden folder that goes away afterwards."""
    if source.is_dir():
        yield source
        return
    if not source.is_file():
        raise ModelError(
            ErrorCode.MODEL_MISSING, f"{shown_name(source.name)} is neither a folder nor a file.", remedy="Check the path."
        )
    staging = beside / f".import-{uuid.uuid4().hex}"
    try:
        unpack(source, staging)
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _find(folder: Path, plain: PlainNnunet | None) -> _Source:
    """The one model in a folder or below it."""
    configs = [folder / CONFIG] if (folder / CONFIG).is_file() else sorted(folder.rglob(CONFIG))
    if len(configs) > 1:
        raise corrupt(f"the folder holds {len(configs)} models; give the folder of one")
    if configs:
        config = read_config(configs[0])
        return _Source(configs[0].parent, config, config.log_name, _digest(_files(configs[0].parent, config), config, None))
    roots = [path.parent for path in sorted(folder.rglob(nnunet.PLANS)) if (path.parent / nnunet.DATASET).is_file()]
    if len(roots) != 1:
        raise ModelError(
            ErrorCode.MODEL_MISSING,
            f"{shown_name(folder.name)} holds no {CONFIG} and {len(roots)} nnU-Net result folders.",
            remedy="Give the folder of one model.",
        )
    if plain is None or not plain.label_map:
        raise UsageError(
            ErrorCode.USAGE,
            f"{shown_name(folder.name)} is a plain nnU-Net folder, and no label map says what its labels mean.",
            remedy="Say so once: 'spineps models import FOLDER --label-map labels.json', with labels.json such as "
            '{"1": 49, "2": 100}; from then on its name is enough.',
        )
    return _Source(roots[0], None, roots[0].name, _digest(_files(roots[0], None), None, plain))


def _files(folder: Path, config: InferenceConfig | None) -> list[Path]:
    """The files that an import reads."""
    if config is not None and config.modeltype == "unet":
        return [folder / CONFIG, lightning.instance_checkpoint(folder)]
    if config is not None and config.modeltype == "classifier":
        return [folder / CONFIG, lightning.labeling_checkpoint(folder)]
    if config is not None and config.modeltype != "nnunet":
        raise corrupt(f"its type {shown_name(config.modeltype)} is none of nnunet, unet and classifier")
    own = [folder / name for name in (nnunet.PLANS, nnunet.DATASET) if (folder / name).is_file()]
    own += [] if config is None else [folder / CONFIG]
    return [*own, *(nnunet.checkpoint_of(folder, fold) for fold in folds_of(folder, config))]


def folds_of(folder: Path, config: InferenceConfig | None) -> tuple[str, ...]:
    """Folds to average: those that the configuration names or, as published, fold ``all`` where they are not there.

    Of a plain nnU-Net folder all numbered folds, or ``all`` where there is none.
    """
    there = {path.name.removeprefix("fold_") for path in folder.glob("fold_*") if path.is_dir()}
    numbered = tuple(sorted((name for name in there if name.isdigit()), key=int))
    wanted = config.folds if config is not None else numbered or ("all",)
    if not set(wanted) <= there and "all" in there:
        return ("all",)
    if not wanted:
        raise corrupt("it names no fold")
    return wanted


def _digest(files: Iterable[Path], config: InferenceConfig | None, plain: PlainNnunet | None) -> str:
    """Hash of everything that the imported model depends on."""
    total = hashlib.sha256(json.dumps([IMPORTER, config is None, _said(plain)], sort_keys=True).encode())
    for path in files:
        total.update(path.name.encode())
        total.update(_hash_of(path))
    return total.hexdigest()


def _hash_of(path: Path) -> bytes:
    own = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(_READ_BYTES):
                own.update(block)
    except OSError as error:
        raise ModelError(
            ErrorCode.MODEL_MISSING, f"the model folder has no readable {shown_name(path.name)}.", remedy="Check the folder."
        ) from error
    return own.digest()


def _said(plain: PlainNnunet | None) -> Any:
    return None if plain is None else [sorted((int(k), int(v)) for k, v in plain.label_map.items()), plain.orientation]


def _write(found: _Source, target: Path, plain: PlainNnunet | None) -> ModelCard:
    """Convert, and move the result into place at once; where another process was quicker, its result stays."""
    staging = target.parent / f".import-{uuid.uuid4().hex}"
    try:
        card = _write_to(staging, *_convert(found, plain))
        with suppress(FileExistsError, OSError):
            staging.rename(target)
    except ValidationError as error:
        raise invalid(error, "its description") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    if not (target / CARD).is_file():
        raise ModelError(
            ErrorCode.MODEL_CORRUPT, f"{shown_name(target.name)} cannot be put in place.", remedy="Remove what lies there."
        )
    return card


def _convert(found: _Source, plain: PlainNnunet | None) -> tuple[dict[str, torch.Tensor], describe.Facts]:
    if found.config is None:
        return _nnunet(found, None, plain)
    if found.config.modeltype == "unet":
        read = lightning.read_instance(lightning.instance_checkpoint(found.folder))
        return read.tensors, describe.instance(found.config, read, found.digest)
    if found.config.modeltype == "classifier":
        read = lightning.read_labeling(lightning.labeling_checkpoint(found.folder))
        return read.tensors, describe.labeling(found.config, read, found.digest)
    return _nnunet(found, found.config, plain)


def _nnunet(
    found: _Source, config: InferenceConfig | None, plain: PlainNnunet | None
) -> tuple[dict[str, torch.Tensor], describe.Facts]:
    """The folds of an nnU-Net under one another, each tensor once."""
    names = folds_of(found.folder, config)
    folds = [nnunet.read_fold(nnunet.checkpoint_of(found.folder, name)) for name in names]
    plans = nnunet.read_plans(found.folder, folds[0].configuration)
    if config is not None:
        facts = describe.semantic(config, plans, folds[0].mirror_axes, len(folds), found.digest)
    else:
        facts = describe.plain(plain or PlainNnunet(), found.name, plans, folds[0].mirror_axes, len(folds), found.digest)
    return {f"folds.{k}.{name}": tensor for k, fold in enumerate(folds) for name, tensor in fold.tensors.items()}, facts


def _write_to(staging: Path, tensors: dict[str, torch.Tensor], facts: describe.Facts) -> ModelCard:
    """Build the network, load the weights into it, and write what it gives for the golden input with them."""
    import torch
    from safetensors.torch import save

    from spineps.networks.published import PUBLISHED_NETWORKS, PublishedNetwork
    from spineps.zoo.export import write_model
    from spineps.zoo.golden import make_golden

    def build() -> PublishedNetwork:
        return PUBLISHED_NETWORKS[facts.network](**facts.network_settings)

    try:
        with torch.device("meta"):  # shapes without memory: a network that is not that of the checkpoint is never made
            own = own_tensors(build(), tensors)
        network = build()
    except (TypeError, ValueError, KeyError, RuntimeError, AssertionError) as error:
        raise corrupt("its plans do not describe a network that can be built") from error
    network.load_state_dict(own, strict=False)
    network.eval()
    data = save({name: tensor.contiguous() for name, tensor in own.items()})
    golden = make_golden(network, network.input_channels, network.golden_shape)
    card = ModelCard(**facts.fields(), weights_sha256=hashlib.sha256(data).hexdigest(), golden=golden)
    write_model(staging, data, card)
    return card


def own_tensors(network: torch.nn.Module, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors of a checkpoint under the names of a network, each once.

    nnU-Net writes most tensors under several names, for several modules hold them.

    Raises
    ------
    ModelError
        MODEL_CORRUPT where a tensor is missing, too many, of another shape, or not the same under two names.
    """
    import torch

    from spineps.networks.tensors import aliases, tensor_names

    known = aliases(network)
    shapes = {name: tensor.shape for name, tensor in network.state_dict().items()}
    own: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        first = known.get(name) or known.get(name.replace("decoder.encoder.", "encoder."))
        if first is None:
            raise corrupt(f"its checkpoint holds {shown_name(name)}, which its network does not have")
        if tensor.shape != shapes[first]:
            raise corrupt(f"{shown_name(name)} has the shape {tuple(tensor.shape)}, expected {tuple(shapes[first])}")
        value = tensor.float() if tensor.is_floating_point() else tensor
        if first in own and not torch.equal(own[first], value):
            raise corrupt(f"its checkpoint gives {shown_name(first)} twice, differently")
        own[first] = value
    missing = tensor_names(network) - set(own)
    if missing:
        raise corrupt(f"its checkpoint lacks {shown_name(min(missing))} and {len(missing) - 1} more")
    return own


def _slug(name: str) -> str:
    text = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    return text[:_NAME_CHARACTERS].rstrip("-") or "model"
