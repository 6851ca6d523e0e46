"""Coordinates, canvases, kernels, Fourier features, and the noise level by density; imports errors alone."""
