"""Families' blocks as programs: one operation a line, in the order and with the names of transformers' own code."""
