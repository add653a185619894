"""Digital phantoms: a procedural spine and its appearance in MRI."""
