"""A run's network for others: ONNX, torch.export and safetensors files, each with a card that says how equal it is."""
