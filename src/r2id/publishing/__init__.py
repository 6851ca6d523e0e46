"""Publishing models: cards with figures, ONNX;
imports errors, geometry, files, fields, networks, conditioning, diffusion and evaluation."""
