"""What can be trained on and measured on; imports errors, geometry, files and conditioning."""
