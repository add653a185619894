"""Models: cards, folders of weights, export."""
