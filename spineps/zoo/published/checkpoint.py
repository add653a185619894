"""Reading of PyTorch checkpoints: tensors and plain settings come out, nothing is executed.

A checkpoint is a zip file with a pickle in it. The pickle is looked through first, operation by operation, without being
run: every name that it refers to must be one of a short list. Then it is read by PyTorch's restricted unpickler
(``weights_only=True``), in which the classes of settings are replaced by containers of our own. There is no other way of
reading: what the restricted unpickler refuses stays refused.
"""

from __future__ import annotations

import pickletools
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from spineps.errors import ErrorCode, ModelError
from spineps.io.shown import shown_name

if TYPE_CHECKING:
    import torch

_STORAGES: Final = ("Float", "Double", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool")
_TENSORS: Final = frozenset(
    {
        "collections.OrderedDict",
        "torch._utils._rebuild_tensor_v2",
        "torch._utils._rebuild_parameter",
        "torch.Size",
        "torch.device",
        "torch.storage.UntypedStorage",
        *(f"torch.{kind}Storage" for kind in _STORAGES),
    }
)
"""What PyTorch itself makes of these names is trusted: tensors and containers."""
_SETTINGS: Final = (
    "argparse.Namespace",
    "spineps.architectures.pl_densenet.ARGS_MODEL",
)
"""Classes of settings in published checkpoints; a plain container takes their place."""
_IGNORED: Final = (
    "pathlib.Path",
    "pathlib.PosixPath",
    "pathlib.PurePosixPath",
    "pathlib.WindowsPath",
    "pathlib.PureWindowsPath",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
    "numpy.core.multiarray._reconstruct",
    "numpy._core.multiarray._reconstruct",
    "numpy.ndarray",
    "numpy.dtype",
    "numpy.dtypes.Float64DType",
    "numpy.dtypes.Float32DType",
    "numpy.dtypes.Int64DType",
    "_codecs.encode",
)
"""Names in the logs and settings of a training. Nothing of it is needed, so that nothing of NumPy is called for it."""
_NAMING: Final = frozenset({"GLOBAL"})
_OTHER_NAMING: Final = frozenset({"STACK_GLOBAL", "INST", "OBJ", "EXT1", "EXT2", "EXT4", "NEXT_BUFFER", "READONLY_BUFFER"})
"""Operations that reach a class in a way that PyTorch never writes."""
_STORED: Final = zipfile.ZIP_STORED

_REMEDY: Final = "Take the checkpoint from where it was published; do not open it with other programs."


class _Settings:
    """Takes the place of a class of settings: keeps its attributes and nothing else."""

    def __init__(self, *_: object, **__: object) -> None:
        self.values: dict[str, Any] = {}

    def __setstate__(self, state: object) -> None:
        self.values = dict(state) if isinstance(state, dict) else {}


class _Nothing:
    """Takes the place of what is not needed."""

    def __init__(self, *_: object, **__: object) -> None:
        return

    def __setstate__(self, state: object) -> None:
        return


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Tensors and plain settings of a PyTorch checkpoint.

    Parameters
    ----------
    path : Path
        A file that ``torch.save`` wrote (PyTorch 1.6 or newer).

    Returns
    -------
    dict
        What was saved; instances of ``argparse.Namespace`` and of the published classes of settings are plain dictionaries.

    Raises
    ------
    ModelError
        MODEL_UNSAFE where the pickle refers to anything else than tensors and settings, with the name that it refers to;
        MODEL_CORRUPT where the file is no checkpoint or is damaged; MODEL_MISSING where it cannot be read.
    """
    import pickle  # noqa: TID251 - for the name of its error

    import torch

    try:
        _check_pickle(path)
        with torch.serialization.safe_globals([*_stand_ins(_SETTINGS, _Settings), *_stand_ins(_IGNORED, _Nothing)]):
            read = torch.load(path, map_location="cpu", weights_only=True)  # noqa: TID251 - the importer of checkpoints
        plain: Any = _plain(read)
    except OSError as error:
        raise ModelError(
            ErrorCode.MODEL_MISSING, f"the checkpoint {shown_name(path.name)} cannot be read.", remedy="Check the file."
        ) from error
    except pickle.UnpicklingError as error:
        raise _unsafe(path, "something that PyTorch's restricted reader refuses") from error
    except RecursionError as error:
        raise _corrupt(path, "is nested without end") from error
    except (zipfile.BadZipFile, RuntimeError, ValueError, EOFError, LookupError, TypeError, AttributeError) as error:
        raise _corrupt(path, "is damaged or was not written by torch.save") from error
    if not isinstance(plain, dict):
        raise _corrupt(path, "holds no dictionary")
    return plain


def tensors_of(state: object, path: Path) -> dict[str, torch.Tensor]:
    """Check a state dict: names to finite tensors.

    Raises
    ------
    ModelError
        MODEL_CORRUPT where it is something else.
    """
    import torch

    if not isinstance(state, dict) or not state:
        raise _corrupt(path, "holds no weights")
    for name, tensor in state.items():
        if not isinstance(name, str) or not isinstance(tensor, torch.Tensor):
            raise _corrupt(path, "holds weights that are no tensors")
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise _corrupt(path, f"holds values that are not finite, in {shown_name(name)}")
    return state


def _check_pickle(path: Path) -> None:
    """Look through the pickle of a checkpoint for names that have no business there; none of it is run."""
    with zipfile.ZipFile(path) as opened:
        members = opened.infolist()
        pickles = [info for info in members if info.filename.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise _corrupt(path, "is not a single checkpoint of torch.save")
        if any(info.compress_type != _STORED for info in members):
            raise _corrupt(path, "is compressed, which torch.save never does")
        if any("/code/" in info.filename or info.filename.endswith("/constants.pkl") for info in members):
            raise _unsafe(path, "TorchScript code")
        content = opened.read(pickles[0])
    for name in _names(content):
        if name not in _ALLOWED:
            raise _unsafe(path, shown_name(name))


_ALLOWED: Final = _TENSORS | frozenset(_SETTINGS) | frozenset(_IGNORED)


def _names(content: bytes) -> Iterator[str]:
    """Every name that a pickle refers to; of one reached in another way, the last words before it, which no list allows."""
    words: list[str] = []
    for operation, argument, _ in pickletools.genops(content):
        if operation.name in _NAMING:
            yield ".".join(str(argument).split(" ", 1))
        elif operation.name in _OTHER_NAMING:
            said = str(argument) if operation.name == "INST" else " ".join(words[-2:])
            yield f"{'.'.join(said.split(' ', 1))} by way of {operation.name}"
        elif isinstance(argument, str):
            words = [*words[-1:], argument]


def _stand_ins(names: tuple[str, ...], base: type) -> list[type]:
    """Classes of our own that the restricted unpickler takes for those of the given names."""
    made = []
    for name in names:
        module, _, own = name.rpartition(".")
        made.append(type(own, (base,), {"__module__": module, "__qualname__": own}))
    return made


def _plain(value: Any) -> Any:
    """The same with dictionaries in the place of settings and None in the place of what is not needed."""
    if isinstance(value, _Settings):
        return {name: _plain(inner) for name, inner in value.values.items()}
    if isinstance(value, _Nothing):
        return None
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_plain(inner) for inner in value) if type(value) in (list, tuple) else list(value)
    return value


def _unsafe(path: Path, what: str) -> ModelError:
    return ModelError(
        ErrorCode.MODEL_UNSAFE,
        f"the checkpoint {shown_name(path.name)} refers to {what}, which is no part of a model; nothing of it was executed.",
        remedy=_REMEDY,
    )


def _corrupt(path: Path, why: str) -> ModelError:
    return ModelError(ErrorCode.MODEL_CORRUPT, f"the checkpoint {shown_name(path.name)} {why}.", remedy=_REMEDY)
