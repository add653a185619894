"""MetaImage files (``.mha``, ``.mhd``), read by SimpleITK: a volume as stored, on its grid in NIfTI's directions."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from spineps.errors import ErrorCode, InputError
from spineps.geometry import Geometry
from spineps.io.load import require_size

_LPS_TO_RAS: Final = np.diag([-1.0, -1.0, 1.0, 1.0])
"""ITK counts to the left, posterior and superior, NIfTI to the right, anterior and superior."""


def read_metaimage(path: Path) -> tuple[NDArray[Any], Geometry]:
    """Read a volume.

    Parameters
    ----------
    path : Path
        File of one grey volume.

    Returns
    -------
    array : ndarray, shape of the grid
        Stored numbers.
    geometry : Geometry
        Grid in mm.

    Raises
    ------
    InputError
        INPUT_NOT_FOUND without a file, INPUT_TOO_LARGE, INPUT_SHAPE where it is not one grey volume, INPUT_CORRUPT where it
        cannot be read.
    """
    import SimpleITK

    if not path.is_file():
        raise InputError(ErrorCode.INPUT_NOT_FOUND, f"There is no file {path.name!r}.", remedy="Check the path.")
    reader = SimpleITK.ImageFileReader()
    reader.SetImageIO("MetaImageIO")
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
        size = reader.GetSize()
        if len(size) != 3 or reader.GetNumberOfComponents() != 1:
            raise InputError(
                ErrorCode.INPUT_SHAPE, f"{path.name!r} is not one grey volume.", remedy="Give an image of three axes."
            )
        require_size(size, path.name)
        image = reader.Execute()
    except RuntimeError as error:
        raise InputError(
            ErrorCode.INPUT_CORRUPT, f"{path.name!r} is no readable MetaImage.", remedy="Copy or download it again."
        ) from error
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    array: NDArray[Any] = SimpleITK.GetArrayFromImage(image).T
    return array, Geometry((size[0], size[1], size[2]), _LPS_TO_RAS @ affine)
