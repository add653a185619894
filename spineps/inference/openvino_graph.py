"""Graphs of networks rearranged so that OpenVINO computes less, with the same numbers to the last bit.

- A vector of the CPU holds :data:`LANES` output channels; a convolution with fewer leaves it half empty. There, neighbours
  along the last axis become further channels: one convolution at every other place, its kernel longer by one.
- The 7x7x7 convolution that a published instance network begins with is cut off and computed only around what a cutout shows
  (:mod:`spineps.networks.published.stem` says why that is the same).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from spineps.geometry import Box, FloatArray

LANES: Final = 16
REACH: Final = 3
"""Voxels to each side that the kernel of a stem sees."""
_CUBE: Final = 2 * REACH + 1

Run = Callable[[FloatArray], FloatArray]
"""A batch of one to the outputs of a graph; they last until the next."""


@dataclass(frozen=True, slots=True, eq=False)
class _Convolution:
    """A convolution at every place of a 3D image, and the addition of its bias.

    Parameters
    ----------
    node, added : openvino.Node
        The two operations.
    weight : ndarray of float32, shape (C, channels, a, b, c)
        Kernels.
    bias : ndarray of float32, shape (C,)
        Of each output channel.
    """

    node: Any
    added: Any
    weight: FloatArray
    bias: FloatArray

    @classmethod
    def of(cls, node: Any) -> _Convolution | None:
        """The convolution that an operation of a graph is, or None."""
        if node.get_type_name() != "Convolution" or {
            *node.get_attributes()["strides"],
            *node.get_attributes()["dilations"],
        } != {1}:
            return None
        weight, readers = _constant(node, 1), list(node.output(0).get_target_inputs())
        if weight is None or weight.ndim != 5 or len(readers) != 1 or readers[0].get_node().get_type_name() != "Add":
            return None
        bias = _constant(readers[0].get_node(), 1)
        return None if bias is None or bias.size != len(weight) else cls(node, readers[0].get_node(), weight, bias.ravel())

    def over(self, source: Any, count: int = 1) -> Any:
        """The same of another source, of shape (1, count * C, P, I, R / count): neighbours along the last axis at once."""
        from openvino import opset13 as ops

        kernels = np.zeros((count, *self.weight.shape[:-1], self.weight.shape[-1] + count - 1), np.float32)
        for place in range(count):
            kernels[place, ..., place : place + self.weight.shape[-1]] = self.weight
        before, after = (list(self.node.get_attributes()[name]) for name in ("pads_begin", "pads_end"))
        after[-1] += count - 1
        spread = ops.constant(kernels.reshape(-1, *kernels.shape[2:]))
        found = ops.convolution(source, spread, [1, 1, count], before, after, [1, 1, 1])
        found.set_friendly_name(self.node.get_friendly_name())
        return ops.add(found, ops.constant(np.tile(self.bias, count).reshape(1, -1, 1, 1, 1)))


def side_by_side(graph: Any) -> None:
    """Fill the vectors of convolutions with few output channels.

    Where the length of the last axis is not known, outputs may be longer by less than a vector; what is beyond means nothing.
    """
    from openvino import opset13 as ops

    for node in graph.get_ordered_ops():
        found = _Convolution.of(node)
        if found is None or found.weight.shape[-1] == 1 or len(found.bias) > LANES // 2:
            continue
        count, length = LANES // len(found.bias), node.output(0).get_partial_shape()[4]
        if length.is_static and length.get_length() % count:
            continue
        last = ops.transpose(found.over(node.input(0).get_source_output(), count), np.array([0, 2, 3, 4, 1]))
        apart = ops.reshape(last, np.array([0, 0, 0, -1, len(found.bias)]), special_zero=True)
        found.added.output(0).replace(ops.transpose(apart, np.array([0, 4, 1, 2, 3])).output(0))


@dataclass(frozen=True, slots=True, eq=False)
class Stem:
    """The first convolution of a network.

    Parameters
    ----------
    graph : openvino.Model
        Of one sample of any size.
    channels : int
        Features that it gives.
    """

    graph: Any
    channels: int

    @staticmethod
    def fill(features: FloatArray, sample: FloatArray, run: Run) -> None:
        """Write the features, shape (C, P, I, R), of a sample, shape (channels, P, I, R); ``run`` runs the graph."""
        whole = Box.whole(features.shape[1:])  # type: ignore[arg-type]
        corner = sample[:, :1, :1, :1]
        shown = Box.around((sample != corner).any(axis=0))
        if min(whole.shape) < _CUBE:
            shown = whole
        else:
            cube = np.broadcast_to(corner, (len(sample), _CUBE, _CUBE, _CUBE))
            _surround(features, run(np.ascontiguousarray(cube[None]))[0, ..., :_CUBE])
        if shown is None:
            return
        seen, kept = (shown.grown([margin] * 3).intersect(whole) for margin in (2 * REACH, REACH))
        inner = run(np.ascontiguousarray(_part(sample, seen)[None]))[0]
        _part(features, kept)[...] = _part(inner, kept.shifted([-n for n in seen.start]))


def cut_off(graph: Any) -> Stem | None:
    """Take a 7x7x7 convolution off the beginning of a graph, whose input are its features then; None where there is none."""
    import openvino
    from openvino import opset13 as ops

    readers = list(graph.input(0).get_target_inputs())
    found = _Convolution.of(readers[0].get_node()) if len(readers) == 1 else None
    if found is None or found.weight.shape[2:] != (_CUBE, _CUBE, _CUBE):
        return None
    sample, features = (ops.parameter([1, count, -1, -1, -1], np.float32) for count in reversed(found.weight.shape[:2]))
    stem = openvino.Model([found.over(sample)], [sample])
    side_by_side(stem)
    found.added.output(0).replace(features.output(0))
    graph.add_parameters([features])
    graph.remove_parameter(graph.get_parameters()[0])
    return Stem(stem, len(found.bias))


def _constant(node: Any, which: int) -> FloatArray | None:
    """A copy of a constant input of an operation."""
    source = node.input(which).get_source_output().get_node()
    return np.array(source.get_data(), np.float32) if source.get_type_name() == "Constant" else None


def _part(features: FloatArray, box: Box) -> FloatArray:
    p, i, r = box.slices
    return features[:, p, i, r]


def _surround(features: FloatArray, cube: FloatArray) -> None:
    """Fill features with those of a sample of one value, of which those of a small cube are known."""
    found = cube
    for axis in (3, 2):
        found = np.take(found, _alike(features.shape[axis]), axis=axis)
    np.take(found, _alike(features.shape[1]), axis=1, out=features, mode="clip")


def _alike(side: int) -> NDArray[np.intp]:
    """For each place along a side of a cutout, the place in a cube that is as far from the faces."""
    place = np.arange(side)
    alike: NDArray[np.intp] = np.minimum(place, REACH) + np.maximum(place - (side - REACH - 1), 0)
    return alike
