"""Figures that say how good a model is, and the baselines to hold beside them."""
