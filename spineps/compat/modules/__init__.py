"""The submodules of the published package, by their names; each hands on names of :mod:`spineps.compat`."""
