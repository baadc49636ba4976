"""Metrics that say how good a model is, and the baselines and controls to hold beside them."""
