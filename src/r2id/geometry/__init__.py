"""Coordinates, canvases, Fourier features, and the noise level by density; imports errors alone."""
