"""Settings of the published ``segment``, and all published switches of the steps as one value."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any


@dataclass
class SemanticConfig:
    """Settings of the semantic phase."""

    crop_input: bool = True
    n4_bias_correction: bool = True
    remove_inferior_beyond_canal: bool = False
    clean_beyond_largest_bounding_box: bool = True
    clean_small_cc_artifacts: bool = True
    step_size: float | None = None

    def to_kwargs(self) -> dict[str, Any]:
        """The same as arguments of ``segment_image``."""
        return {f"proc_sem_{name}": value for name, value in asdict(self).items()}


@dataclass
class InstanceConfig:
    """Settings of the instance phase."""

    corpus_clean: bool = True
    clean_small_cc_artifacts: bool = True
    largest_k_cc: int = 0
    detect_and_solve_merged_corpi: bool = True
    batch_size: int = 4
    amp: bool = False
    labeling_offset: int = 2

    def to_kwargs(self) -> dict[str, Any]:
        """The same as arguments of ``segment_image``."""
        values = asdict(self)
        offset = values.pop("labeling_offset")
        return {**{f"proc_inst_{name}": value for name, value in values.items()}, "vertebra_instance_labeling_offset": offset}


@dataclass
class LabelingConfig:
    """Settings of the naming of levels."""

    force_no_tl_anomaly: bool = False

    def to_kwargs(self) -> dict[str, Any]:
        """The same as arguments of ``segment_image``."""
        return {f"proc_lab_{name}": value for name, value in asdict(self).items()}


@dataclass
class PostConfig:
    """Settings of post-processing."""

    fill_3d_holes: bool = True
    assign_missing_cc: bool = True
    assign_missing_cc_fast: bool = False
    clean_inst_by_sem: bool = True
    vertebra_inconsistency: bool = True

    def to_kwargs(self) -> dict[str, Any]:
        """The same as arguments of ``segment_image``."""
        return {f"proc_{name}": value for name, value in asdict(self).items()}


@dataclass(frozen=True, slots=True)
class Switches:
    """The published ``proc_`` arguments, with the published defaults; what each does here is in ``docs/compatibility.md``."""

    sem_crop_input: bool = True
    sem_n4_bias_correction: bool = True
    sem_remove_inferior_beyond_canal: bool = False
    sem_clean_beyond_largest_bounding_box: bool = True
    sem_clean_small_cc_artifacts: bool = True
    sem_step_size: float | None = None
    inst_corpus_clean: bool = True
    inst_clean_small_cc_artifacts: bool = True
    inst_largest_k_cc: int = 0
    inst_detect_and_solve_merged_corpi: bool = True
    inst_batch_size: int = 4
    inst_amp: bool = False
    lab_force_no_tl_anomaly: bool = False
    fill_3d_holes: bool = True
    assign_missing_cc: bool = True
    assign_missing_cc_fast: bool = False
    clean_inst_by_sem: bool = True
    vertebra_inconsistency: bool = True
    merge_vertebra: bool = True
    assign_posterior: bool = True

    @classmethod
    def of(cls, arguments: dict[str, Any]) -> Switches:
        """Those among the arguments of a published function, ``proc_`` left out of their names."""
        names = {field.name for field in fields(cls)}
        given = {name.removeprefix("proc_"): value for name, value in arguments.items() if name.startswith("proc_")}
        return cls(**{name: value for name, value in given.items() if name in names})
