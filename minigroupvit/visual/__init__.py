"""Figures and widgets of groups, masks and training, in one palette."""
