"""Level names of vertebrae: evidence from masks and image, the exact weighing of all legal sequences, naming."""
