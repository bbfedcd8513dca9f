"""What llama.cpp needs of one GPU: the model buffer, the cache's buffer, the compute buffer, and what to ask for.

Read from the llama.cpp that llama-cpp-python 0.3.36 carries (2026-11); each constant names its file. The compute
buffer is found as ggml finds it: by allocating the tensors of the graph one after the other (``allocator``, ``graph``).
"""
