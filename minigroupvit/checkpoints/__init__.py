"""Checkpoints: our format, the Hugging Face hub, and the formats of the authors and of transformers."""
