"""What a command says of a run: its settings, its findings and its files."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from spineps.cli.console import Console
from spineps.config import PipelineConfig

if TYPE_CHECKING:
    from spineps.outputs.save import SavedFiles
    from spineps.volume import Result

_EXTRAS = {"softmax": "probabilities", "uncertainty": "uncertainty", "model_mask": "mask on the network's grid"}


def show_settings(console: Console, config: PipelineConfig) -> None:
    """Say the settings to a user who asked for them."""
    console.detail(f"settings {json.dumps(config.as_dict())}")


def show_saved(console: Console, result: Result, saved: SavedFiles) -> None:
    """Say what was found, and name the files."""
    seconds = ", ".join(f"{name} {value:.1f}" for name, value in result.provenance["seconds"].items())
    console.detail(f"seconds {seconds}")
    console.findings(result.findings)
    vertebrae = ", ".join(vertebra.name or str(vertebra.label) for vertebra in result.vertebrae)
    console.say(f"{len(result.vertebrae)} vertebrae from top to bottom: {vertebrae or 'none'}")
    for role, path in (
        ("semantic mask", saved.semantic),
        ("instance mask", saved.instance),
        ("centroids", saved.centroids),
        ("levels", saved.levels),
        ("points", saved.points),
        ("points as in VerSe", saved.verse),
        ("picture", saved.snapshot),
        ("page", saved.page),
        ("measurements", saved.measures),
        *((_EXTRAS[role], path) for role, path in saved.extras.items()),
        ("record", saved.record),
    ):
        if path is not None:
            console.result(f"{role}: {path}")
