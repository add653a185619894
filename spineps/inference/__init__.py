"""Running networks: device and precision, sliding window, batches of cutouts."""
