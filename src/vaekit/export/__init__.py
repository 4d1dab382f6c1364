"""Export of a model to ONNX networks, and verification of exports."""
