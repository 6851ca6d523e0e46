"""Files: atomic writing, locks, images of any size, latents, model cards, the hub;
imports errors, geometry and runtime."""
