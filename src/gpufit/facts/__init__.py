"""What the model is: raw configuration in, ``Architecture`` and ``TensorInventory`` out. Pure; no I/O, no torch."""
