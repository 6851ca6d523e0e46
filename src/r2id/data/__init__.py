"""Data sets of images and latents; imports errors, geometry, files and conditioning."""
