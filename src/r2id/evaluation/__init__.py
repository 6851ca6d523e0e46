"""Figures of how good a model is; imports errors, geometry, runtime, files, networks, diffusion and data."""
