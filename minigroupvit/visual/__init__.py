"""Pictures of groups, masks and training, in one visual language."""
