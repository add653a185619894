"""The options of the published command line, both generations, and what they mean for our settings.

The newer generation has two dashes (``--model-semantic``), the older one has one (``-model_semantic``, which most scripts in
the wild use); the short forms (``-ms``) are the same. The older spellings are accepted and left out of the help. Options are
added to any parser in groups, and read back by functions that turn them into our settings. docs/compatibility.md lists every
difference.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from spineps.cli import options
from spineps.cli.quantities import positive, share
from spineps.config import ExtraConfig, InstanceConfig, PipelineConfig, PreprocessConfig, SemanticConfig
from spineps.errors import ErrorCode, UsageError

if TYPE_CHECKING:
    from spineps.zoo.choose import Asked, Chosen

DEFAULT_BATCH_SIZE: Final = 4
DEFAULT_DERIVATIVE: Final = "derivatives_seg"
PUBLISHED_DEFAULT: Final = "t2w"
"""The semantic model that the published command takes for a data set where none is named."""
DEFAULT_RAWDATA: Final = "rawdata"


@dataclass(frozen=True, slots=True)
class Overrides:
    """What is to be computed again although it is there (``-os -oi -opp -oc``)."""

    semantic: bool = False
    instance: bool = False
    postpair: bool = False
    centroids: bool = False

    @property
    def any_of_them(self) -> bool:
        """Whether anything is to be computed again."""
        return self.semantic or self.instance or self.postpair or self.centroids


def add_models(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose models; read back by :func:`asked_models`."""
    group = parser.add_argument_group("models", "an ID of 'spineps models list', a folder (with a slash), or auto")
    group.add_argument(
        "--model-semantic",
        "-ms",
        metavar="MODEL",
        help="model of the semantic phase; auto: the published one for the kind of scan, where fetched (default: bundled)",
    )
    group.add_argument(
        "--model-instance",
        "-mi",
        "-mv",
        metavar="MODEL",
        help="model of the instance phase (default: bundled; with a published semantic model, the published one)",
    )
    group.add_argument(
        "--model-labeling",
        "-ml",
        metavar="MODEL",
        help="model that names the levels; none leaves them unnamed (default: bundled; with a published semantic model, the "
        "published one where fetched)",
    )
    for name in ("model_semantic", "model_instance", "model_labeling"):
        _older(group, f"-{name}", dest=name)


def add_phases(parser: argparse.ArgumentParser) -> None:
    """Add the options of the phases; read back by :func:`config_of`."""
    group = parser.add_argument_group("semantic phase")
    _switch(group, "n4", "-non4", help="N4 bias field correction (default: if the semantic model expects it)", default=None)
    _switch(group, "crop", "-nocrop", "-nc", help="look only at the voxels that hold signal", default=True)
    group.add_argument(
        "--step-size", type=share, metavar="SHARE", help="step between tiles as a share of a tile (default: the model's)"
    )
    _switch(group, "tta", help="average with the prediction of the mirrored scan (default: the model's)", default=None)
    group = parser.add_argument_group("instance phase and levels")
    group.add_argument(
        "--batch-size", "-bs", type=positive, default=DEFAULT_BATCH_SIZE, metavar="N", help="cutouts at once (default: 4)"
    )
    group.add_argument(
        "--amp", action="store_true", help="instance network in half precision (default: bundled models where it is faster)"
    )
    _switch(
        group,
        "enforce-12-thoracic",
        help="name twelve thoracic and five lumbar vertebrae, whatever the scan shows",
        default=False,
    )
    for name in ("-no_tltv_labeling", "-ntl"):
        _older(group, name, dest="enforce_12_thoracic", action="store_true")
    parser.add_argument(
        "--force",
        "--ignore-inference-compatibility",
        "-iic",
        dest="force",
        action="store_true",
        help="segment a scan that the models were not made for",
    )
    _older(parser, "-ignore_inference_compatibility", dest="force", action="store_true")


def add_outputs(parser: argparse.ArgumentParser) -> None:
    """Add the options of what is written; read back by :func:`config_of`, :func:`output_folder_name`, :func:`overrides_of`."""
    group = parser.add_argument_group("output")
    group.add_argument(
        "--derivative-name",
        "-dn",
        default=DEFAULT_DERIVATIVE,
        metavar="NAME",
        help="name of the folder of the results, where --output does not say where (default: %(default)s)",
    )
    _older(group, "-der_name", dest="derivative_name")
    group.add_argument(
        "--save-softmax-logits",
        "-ssl",
        action="store_true",
        help="also write the probability of every structure and the image of uncertainty",
    )
    group.add_argument(
        "--uncertainty", action="store_true", help="also write how uncertain each voxel is: 0 sure, 1 all structures alike"
    )
    group.add_argument(
        "--save-modelres-mask", "-smrm", action="store_true", help="also write the semantic network's mask on its own grid"
    )
    group.add_argument("--save-debug", "-sd", action="store_true", help="also write what each stage gave")
    group.add_argument(
        "--run-cprofiler", "-rcp", action="store_true", help="also write where the time went, function by function"
    )
    for name in ("save_softmax_logits", "save_modelres_mask", "save_debug", "run_cprofiler"):
        _older(group, f"-{name}", dest=name, action="store_true")


def add_overrides(parser: argparse.ArgumentParser, *, note: str) -> None:
    """Add the options that ask for a part to be computed again; read back by :func:`overrides_of`."""
    group = parser.add_argument_group("computing again", note)
    for short, name, what in (
        ("-os", "override-semantic", "the semantic mask and all that follows"),
        ("-oi", "override-instance", "the instances and all that follows"),
        ("-opp", "override-postpair", "the final masks and the centroids"),
        ("-oc", "override-ctd", "the centroids"),
    ):
        group.add_argument(f"--{name}", short, action="store_true", help=what)
        _older(group, f"-{name.replace('-', '_')}", dest=name.replace("-", "_"), action="store_true")


def add_machine(parser: argparse.ArgumentParser) -> None:
    """Add ``--cpu`` beside the options of :func:`spineps.cli.options.add_processing`."""
    parser.add_argument("--cpu", "-cpu", dest="device", action="store_const", const="cpu", help="the same as --device cpu")


def add_dataset(parser: argparse.ArgumentParser) -> None:
    """Add the options of a run over a data set: ``directory``, ``rawdata_name``, ``ignore_bids_filter``,
    ``ignore_model_compatibility``, ``save_log`` and ``save_snaps_folder`` of the parsed arguments.
    """
    parser.add_argument(
        "--directory", "-i", "-d", "-directory", type=Path, required=True, metavar="FOLDER", help="BIDS data set, or any folder"
    )
    parser.add_argument(
        "--rawdata-name",
        "-rn",
        default=DEFAULT_RAWDATA,
        metavar="NAME",
        help="folder of the scans in the data set (default: %(default)s)",
    )
    _older(parser, "-raw_name", dest="rawdata_name")
    for short, name, what in (
        ("-ibf", "ignore-bids-filter", "take every NIfTI file outside of derivatives, whatever its name"),
        ("-imc", "ignore-model-compatibility", "take scans of kinds that the models were not made for"),
        ("-sl", "save-log", "also write what is said to a file"),
        ("-ssf", "save-snaps-folder", "also copy all pictures to one folder, snaps_seg"),
    ):
        parser.add_argument(f"--{name}", short, action="store_true", help=what)
        _older(parser, f"-{name.replace('-', '_')}", dest=name.replace("-", "_"), action="store_true")
    parser.set_defaults(model_by_default=PUBLISHED_DEFAULT)


def asked_models(args: argparse.Namespace) -> Asked:
    """The models that were asked for."""
    from spineps.zoo.choose import Asked

    by_default = getattr(args, "model_by_default", None)
    return Asked(args.model_semantic, args.model_instance, by_default, args.model_labeling)


def config_of(args: argparse.Namespace, chosen: Chosen) -> PipelineConfig:
    """Settings of a run from the options of this module and of :func:`spineps.cli.options.add_processing`."""
    config = options.processing_config(args)
    return replace(
        config,
        preprocess=PreprocessConfig(n4=chosen.n4 if args.n4 is None else args.n4, crop=args.crop),
        semantic=SemanticConfig(step_size=args.step_size, mirror=args.tta),
        instance=InstanceConfig(batch_size=args.batch_size),
        extras=ExtraConfig(
            softmax=args.save_softmax_logits,
            uncertainty=args.uncertainty or args.save_softmax_logits,
            model_mask=args.save_modelres_mask,
            stages=args.save_debug,
        ),
        force=args.force or getattr(args, "ignore_model_compatibility", False),
    )


def overrides_of(args: argparse.Namespace) -> Overrides:
    """What is to be computed again."""
    return Overrides(args.override_semantic, args.override_instance, args.override_postpair, args.override_ctd)


def derivative_of(args: argparse.Namespace) -> str:
    """Name of the results' folder.

    Raises
    ------
    UsageError
        If it is no plain name.
    """
    name: str = args.derivative_name
    if name != Path(name).name or name in ("", ".", ".."):
        raise UsageError(
            ErrorCode.USAGE, "--derivative-name is the name of one folder.", remedy="Give the place of the results with -o."
        )
    return name


def _older(target: Any, *names: str, **settings: Any) -> None:
    """Accept a spelling of the older generation; whatever it sets, the default is that of the newer one."""
    target.add_argument(*names, default=argparse.SUPPRESS, help=argparse.SUPPRESS, **settings)


def _switch(target: Any, name: str, *older_off: str, **settings: Any) -> None:
    """Add ``--name`` and ``--no-name``, and older spellings of the latter."""
    target.add_argument(f"--{name}", action=argparse.BooleanOptionalAction, **settings)
    for older in older_off:
        _older(target, older, dest=name.replace("-", "_"), action="store_false")
