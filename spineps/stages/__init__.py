"""The stages of the pipeline, each a function of its input, its settings and its network."""
