"""Models: cards, the registry, loading of the bundled ones."""
