"""Published name for the centres."""

from __future__ import annotations

from spineps.compat.phases import predict_centroids_from_both

__all__ = ["predict_centroids_from_both"]
