"""The scenes: small synthetic images with captions and exact masks."""
