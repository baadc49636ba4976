"""Zero-shot semantic segmentation: the inference protocol and its steps."""
