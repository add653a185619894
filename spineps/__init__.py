"""Segmentation of the spine in MRI: semantic and instance masks, centroids and a picture from one sagittal scan."""
