"""Same seed, same voxels: on any number of threads, in any process, whatever the contrast and the orientation ask for."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest
import torch

from spineps.geometry import Reorientation
from spineps.phantom.appearance import paint
from spineps.phantom.contrasts import Contrast
from spineps.phantom.phantom import Phantom, make_phantom

SMALL = "make_phantom(7, vertebrae=2, spacing_mm=(2.0, 2.0, 4.0))"
GOLDEN_MEANS = {
    # Mean and standard deviation of paint() on the blocks below, seed 5. They change only together with a changelog line.
    Contrast.T2W: (0.2990, 0.2402),
    Contrast.T1W: (0.4052, 0.2294),
    Contrast.STIR: (0.2054, 0.2320),
    Contrast.WATER: (0.3470, 0.2064),
    Contrast.FAT: (0.1401, 0.1951),
    Contrast.RANDOM: (0.3978, 0.2442),
}


@pytest.fixture(scope="module")
def small() -> Phantom:
    return make_phantom(7, vertebrae=2, spacing_mm=(2.0, 2.0, 4.0))


def digest(phantom: Phantom) -> str:
    arrays = (phantom.scan.image, phantom.semantic.labels, phantom.instance.labels, phantom.scan.geometry.affine)
    return hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in arrays)).hexdigest()


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_any_number_of_threads(small: Phantom, threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        again = make_phantom(7, vertebrae=2, spacing_mm=(2.0, 2.0, 4.0))
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert digest(again) == digest(small)


def test_another_process(small: Phantom) -> None:
    code = (
        "import hashlib, numpy as np\n"
        "from spineps.phantom.phantom import make_phantom\n"
        f"p = {SMALL}\n"
        "arrays = (p.scan.image, p.semantic.labels, p.instance.labels, p.scan.geometry.affine)\n"
        "print(hashlib.sha256(b''.join(np.ascontiguousarray(a).tobytes() for a in arrays)).hexdigest())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == digest(small)


def test_another_seed_is_another_phantom(small: Phantom) -> None:
    assert digest(make_phantom(8, vertebrae=2, spacing_mm=(2.0, 2.0, 4.0))) != digest(small)


def test_contrast_changes_the_image_alone(small: Phantom) -> None:
    other = make_phantom(7, vertebrae=2, spacing_mm=(2.0, 2.0, 4.0), contrast=Contrast.T1W)
    assert np.array_equal(other.semantic.labels, small.semantic.labels)
    assert np.array_equal(other.instance.labels, small.instance.labels)
    assert not np.array_equal(other.scan.image, small.scan.image)


@pytest.mark.parametrize("axes", ["LPS", "RAS", "SAL"])
def test_orientation_turns_and_nothing_else(small: Phantom, axes: str) -> None:
    turned = make_phantom(7, vertebrae=2, spacing_mm=(2.0, 2.0, 4.0), orientation=tuple(axes))
    assert turned.scan.geometry.axes == tuple(axes)
    back = Reorientation.between(turned.scan.geometry.axes, ("P", "I", "R"))
    assert np.array_equal(back.apply(turned.scan.image), small.scan.image)
    assert np.array_equal(back.apply(turned.semantic.labels), small.semantic.labels)
    assert np.array_equal(back.apply(turned.instance.labels), small.instance.labels)
    assert back.apply_geometry(turned.scan.geometry).matches(small.scan.geometry, tolerance_mm=1e-9)


@pytest.mark.parametrize("contrast", list(Contrast))
def test_golden_paint(contrast: Contrast) -> None:
    blocks = np.arange(8 * 8 * 4, dtype=np.uint8).reshape(8, 8, 4) * 7 % 31
    tissue = np.kron(blocks, np.ones((6, 6, 3), np.uint8))
    image = paint(tissue, (1.0, 1.0, 2.0), np.random.default_rng(5), contrast)
    assert (image.mean(), image.std()) == pytest.approx(GOLDEN_MEANS[contrast], abs=2e-3)
