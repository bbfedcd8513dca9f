"""A shadow of torch's autograd: tensors with shapes and no data, a ledger of their bytes, and the graph they leave.

The closed form of a training step is a program. A block of transformers' modelling code is written down operation by
operation (``gpufit.memory.training.blocks``); every operation knows which tensors autograd saves for it and what its
backward allocates. Walking such a program costs microseconds an operation and needs no torch.
"""
