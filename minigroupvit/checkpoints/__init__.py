"""Weights in files: our format, the hub, the formats of the authors and of transformers."""
