"""Released weights, loaded and exported: the authors' checkpoints and transformers' GroupViT.

In the order of reading: `names` (the table of names, and the architecture from the shapes), `pickles` (a safe reader of
torch.save's files), `read`, `load`; then `write`, the export.
"""
