"""Released weights, both ways: the authors' checkpoints and transformers' GroupViT.

In the order of reading: `names` (the table, and what a model of theirs is made of), `pickles` (files of torch.save, read
safely), `read`, `load`; then `write` for the way back.
"""
