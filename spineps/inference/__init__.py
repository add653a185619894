"""Running networks: device and precision, the sliding window, predictors for both phases."""
