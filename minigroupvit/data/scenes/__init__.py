"""The scenes: small made-up images with captions and exact masks."""
