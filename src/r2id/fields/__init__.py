"""A latent as a function of coordinates; imports errors and geometry."""
