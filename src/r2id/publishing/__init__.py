"""Publishing models: cards, the hub, ONNX;
imports errors, geometry, files, fields, networks, conditioning, diffusion and evaluation."""
