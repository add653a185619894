"""Settings of a run: frozen dataclasses, one for each stage, with the values of the paper as defaults."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from enum import Enum
from typing import Any


class EndplateLabels(str, Enum):
    """How endplates are written into the semantic mask."""

    SPLIT = "split"
    MERGED = "merged"


class EndplateOwner(str, Enum):
    """Whose number an endplate carries in the instance mask."""

    DISC = "disc"
    VERTEBRA = "vertebra"


class Labeling(str, Enum):
    """How vertebrae get their names."""

    AUTO = "auto"
    """From the masks, and with the labeling network where there is one."""
    MASKS = "masks"
    """From the masks alone."""
    NONE = "none"
    """Not at all: they are numbered from the top."""


class Ambiguous(str, Enum):
    """What is done with a scan whose levels are not certain."""

    KEEP = "keep"
    """It keeps its most probable names, and says so."""
    NUMBER = "number"
    """Its vertebrae are numbered from the top."""
    FAIL = "fail"
    """It fails."""


class Device(str, Enum):
    """Where networks run."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class EngineName(str, Enum):
    """What runs the networks; ``auto`` follows from the machine by a fixed table."""

    AUTO = "auto"
    OPENVINO = "openvino"
    TORCH = "torch"


class Precision(str, Enum):
    """Number format of the networks; ``auto`` follows from the machine by a fixed table."""

    AUTO = "auto"
    FP32 = "fp32"
    BF16 = "bf16"


class Step(str, Enum):
    """A step that the published tool can leave out, and ours too."""

    BODY_EROSION = "body erosion"
    """Bodies are eroded, so that those that touch fall apart."""
    INSTANCE_SPECKS = "instance specks"
    """Small components of the merged instances are removed."""
    HOLES = "holes"
    """Holes of structures and vertebrae are filled."""
    CLIP = "clip"
    """Instances are cut to the semantic vertebrae."""
    ARTICULAR = "articular"
    """Articular processes go to the instance that holds most of them."""
    MISSING = "missing"
    """Vertebra without an instance is given to one."""
    SPLIT_TOP = "split top"
    """A topmost vertebra in two parts is joined."""
    POSTERIOR = "posterior"
    """Loose fragments of arches go to the vertebra that they touch."""


@dataclass(frozen=True, slots=True)
class ComputeConfig:
    """Device, precision, threads and engine of the networks (``threads`` 0: all cores that the process may use); ``amp`` runs
    the instance network in half precision. ``max_memory_gb`` is what the process may hold, in 10^9 bytes (0: what the machine
    has left); no mask depends on it.
    """

    device: Device = Device.AUTO
    precision: Precision = Precision.AUTO
    threads: int = 0
    amp: bool = False
    engine: EngineName = EngineName.AUTO
    max_memory_gb: float = 0.0

    @property
    def of_instances(self) -> ComputeConfig:
        """For the instance network."""
        return replace(self, precision=Precision.BF16) if self.amp else self


@dataclass(frozen=True, slots=True)
class PreprocessConfig:
    """Before the semantic phase: N4 bias field correction, and cropping to the voxels that hold signal.

    ``n4=None`` does what the model was made for: published models for MRI were trained with it, the bundled ones without.
    """

    n4: bool | None = None
    crop: bool = True


@dataclass(frozen=True, slots=True)
class SemanticConfig:
    """Semantic phase. ``step_size`` is the tile step as a share of the patch and ``mirror`` the left-right test-time
    augmentation; None takes the model's default.
    """

    step_size: float | None = None
    mirror: bool | None = None


@dataclass(frozen=True, slots=True)
class InstanceConfig:
    """Instance phase (SPINEPS paper, section 2.2): splitting of merged bodies, cutouts a batch, steps that are left out."""

    split_merged: bool = True
    batch_size: int = 4
    without: tuple[Step, ...] = ()


@dataclass(frozen=True, slots=True)
class PostprocessConfig:
    """Post-processing (SPINEPS paper, section 2.4); ``enabled=False`` gives the raw masks for comparison, and ``clean=False``
    takes the semantic mask as it is, as one that was cleaned or corrected before. ``without`` are steps that are left out.
    """

    enabled: bool = True
    endplate_labels: EndplateLabels = EndplateLabels.SPLIT
    endplate_owner: EndplateOwner = EndplateOwner.DISC
    clean: bool = True
    without: tuple[Step, ...] = ()


@dataclass(frozen=True, slots=True)
class LabelingConfig:
    """Level names: where they come from, what is done where they are not certain, and whether there may be another number
    of thoracic vertebrae than twelve and of lumbar ones than five.
    """

    method: Labeling = Labeling.AUTO
    ambiguous: Ambiguous = Ambiguous.KEEP
    variants: bool = True


@dataclass(frozen=True, slots=True)
class MeasureConfig:
    """Measurements of bodies, discs, canal and curves; ``enabled=False`` leaves them out."""

    enabled: bool = True


@dataclass(frozen=True, slots=True)
class ExtraConfig:
    """What a run gives beside its masks, none of which changes a mask: the probability of every structure, an image of how
    uncertain each voxel is, the semantic mask on the network's own grid, and what each stage gave.
    """

    softmax: bool = False
    uncertainty: bool = False
    model_mask: bool = False
    stages: bool = False

    @property
    def wanted(self) -> bool:
        """Whether anything is asked for that is made of the semantic network's probabilities."""
        return self.softmax or self.uncertainty or self.model_mask


@dataclass(frozen=True, slots=True)
class PipelineConfig:
    """All settings of a run that can change its result."""

    preprocess: PreprocessConfig = field(default_factory=PreprocessConfig)
    semantic: SemanticConfig = field(default_factory=SemanticConfig)
    instance: InstanceConfig = field(default_factory=InstanceConfig)
    postprocess: PostprocessConfig = field(default_factory=PostprocessConfig)
    labeling: LabelingConfig = field(default_factory=LabelingConfig)
    measures: MeasureConfig = field(default_factory=MeasureConfig)
    extras: ExtraConfig = field(default_factory=ExtraConfig)
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    force: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain

    def sha256(self) -> str:
        """Hash of the settings; equal settings give equal hashes on every machine."""
        return hashlib.sha256(json.dumps(self.as_dict(), sort_keys=True).encode()).hexdigest()
