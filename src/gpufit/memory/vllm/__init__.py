"""What vLLM needs of one GPU: weights per rank, the profile run's peak, the cache's pages, graphs, what to ask.

Read from vLLM's own source at 0.6.4, 0.8.2, 0.11.0, 0.13.0, 0.16.0, 0.17.0, 0.18.0, 0.20.0, 0.24.0 and 0.33.0 (2026);
each constant names the file it is in. ``estimate`` is the door; the others are pure parts of it.
"""
