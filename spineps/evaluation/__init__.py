"""Evaluation: the numbers of the papers, computed the way the papers say."""
