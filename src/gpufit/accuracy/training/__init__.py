"""Rows of measured training: what was run, and which figure of the estimate its metric is."""
