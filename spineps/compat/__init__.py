"""The names of the published SPINEPS package, both generations, with their arguments, return values and files.

Everything here is mapped onto our own functions; :mod:`spineps.api` is the interface for new code. Names are offered by
``spineps`` itself (``from spineps import get_semantic_model``) and by the published submodules (``from spineps.seg_run import
segment_image``), which lie in :mod:`spineps.compat.modules`. What differs is listed in ``docs/compatibility.md``.
"""
