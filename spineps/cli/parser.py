"""The argument parser of all commands: argparse, and a guard against misspelled options that begin with one dash."""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Sequence
from typing import Any, Final

_LIKE_AN_OPTION: Final = re.compile(r"-[a-zA-Z][a-z_]+")


class Parser(argparse.ArgumentParser):
    """An argument parser for options with one dash and many letters, as the published tool has them.

    To argparse ``-overide_semantic`` is the option ``-o`` with the value ``veride_semantic``, and ``-ibf``, given to a command
    that has no such option, an input called ``bf``. A word that looks like an option and is none is refused here. Values that
    are glued to their option go on working where they do not look like that (``-i/data/scan.nii.gz``).
    """

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse, after a look at the words that begin with one dash."""
        if args is not None and self._subparsers is None:  # a parser of commands leaves the options to theirs
            self._refuse_misspelled(args)
        return super().parse_known_args(args, namespace)

    def _refuse_misspelled(self, words: Sequence[str]) -> None:
        known = [option for option in self._option_string_actions if not option.startswith("--")]
        for word in words:
            if word == "--":
                return
            name = word.partition("=")[0]
            if not _LIKE_AN_OPTION.fullmatch(name) or any(option.startswith(name) for option in known):
                continue  # argparse takes the beginning of an option with one dash for the whole, as the published tool did
            close = difflib.get_close_matches(name, known, n=1)
            meant = f"did you mean {close[0]}?" if close else f"write '{name[:2]} {name[2:]}' for a value."
            self.error(f"there is no option {name}; {meant}")
