"""Training of the bundled models on phantoms."""
