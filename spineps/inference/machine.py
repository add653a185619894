"""Which engine runs the networks: by a fixed table, never by a timing, and without importing PyTorch."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from spineps.config import ComputeConfig, Device, EngineName, Precision
from spineps.errors import ErrorCode, UsageError

if TYPE_CHECKING:
    import torch

BF16_FLAGS: Final = frozenset({"amx_bf16", "avx512_bf16"})
"""CPU features with which bf16 convolutions are several times faster than fp32; without them they are slower."""
_X86_64: Final = frozenset({"x86_64", "AMD64"})
_NVIDIA: Final = ("/dev/nvidiactl", "/dev/dxg")
"""Without one of these Linux shows no NVIDIA GPU to a process: the driver's own device, or that of Windows below WSL."""


@dataclass(frozen=True, slots=True)
class Engine:
    """Where and how networks run.

    Parameters
    ----------
    runs_on : EngineName
        OpenVINO or PyTorch.
    place : Device
        CPU or CUDA.
    precision : Precision
        FP32 or BF16.
    """

    runs_on: EngineName
    place: Device
    precision: Precision

    @property
    def name(self) -> str:
        """For the record of the run, for example ``openvino-cpu-bf16``."""
        return f"{self.runs_on.value}-{self.place.value}-{self.precision.value}"

    @property
    def device(self) -> torch.device:
        """PyTorch's name of the place."""
        import torch

        return torch.device(self.place.value)

    @property
    def dtype(self) -> torch.dtype:
        """PyTorch's name of the number format."""
        import torch

        return torch.bfloat16 if self.precision is Precision.BF16 else torch.float32


def choose_engine(config: ComputeConfig) -> Engine:
    """Choose engine, device and precision from what was asked for and what the machine has.

    | machine | engine | precision |
    |---|---|---|
    | CUDA with bf16 | PyTorch | bf16 |
    | CUDA without | PyTorch | fp32 |
    | x86-64 CPU with ``amx_bf16`` or ``avx512_bf16`` | OpenVINO, or PyTorch where that is not installed | bf16 |
    | x86-64 CPU without | OpenVINO, or PyTorch | fp32 |
    | any other CPU | PyTorch | fp32 |

    OpenVINO knows bf16 only where the CPU does: bf16 on another CPU is PyTorch's.

    Raises
    ------
    UsageError
        Where something is asked for that this machine does not have.
    """
    cuda = _cuda_device(config)
    fast_bf16 = _cuda_bf16() if cuda else bool(BF16_FLAGS & cpu_flags())
    wanted = config.precision if config.precision is not Precision.AUTO else None
    precision = wanted or (Precision.BF16 if fast_bf16 else Precision.FP32)
    suits = not cuda and (fast_bf16 or precision is Precision.FP32)
    if config.engine is EngineName.OPENVINO:
        _check_openvino(suits=suits)
        return Engine(EngineName.OPENVINO, Device.CPU, precision)
    openvino = config.engine is EngineName.AUTO and suits and platform.machine() in _X86_64 and has_openvino()
    return Engine(EngineName.OPENVINO if openvino else EngineName.TORCH, Device.CUDA if cuda else Device.CPU, precision)


def has_openvino() -> bool:
    """Whether OpenVINO is installed."""
    return find_spec("openvino") is not None


def cpu_flags() -> frozenset[str]:
    """Feature flags of this machine's CPU, as Linux names them; empty where they are not known."""
    if platform.system() != "Linux":
        return frozenset()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="ignore").splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), []))


def thread_count(config: ComputeConfig) -> int:
    """Threads to run networks with: what was asked for, or every core that this process may use."""
    if config.threads > 0:
        return config.threads
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cuda_device(config: ComputeConfig) -> bool:
    """Whether the networks run on a GPU; PyTorch is asked only where there may be one."""
    if config.device is Device.CPU or (config.device is Device.AUTO and config.engine is EngineName.OPENVINO):
        return False
    found = _may_have_cuda() and _torch_finds_cuda()
    if config.device is Device.CUDA and not found:
        raise UsageError(ErrorCode.USAGE, "no CUDA device was found.", remedy="Use --device cpu or --device auto.")
    return found


def _may_have_cuda() -> bool:
    return platform.system() != "Linux" or any(Path(place).exists() for place in _NVIDIA)


def _torch_finds_cuda() -> bool:
    import torch

    return bool(torch.cuda.is_available())


def _cuda_bf16() -> bool:
    import torch

    return bool(torch.cuda.is_bf16_supported())


def _check_openvino(*, suits: bool) -> None:
    if not has_openvino():
        raise UsageError(
            ErrorCode.USAGE, "OpenVINO is not installed.", remedy="Run 'pip install spineps[openvino]', or use --engine torch."
        )
    if not suits:
        raise UsageError(
            ErrorCode.USAGE,
            "OpenVINO runs the networks on the CPU, with bf16 only where the CPU has it.",
            remedy="Use --engine torch, or --device cpu with --precision auto.",
        )
