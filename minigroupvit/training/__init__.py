"""Training: the loop, its schedule, and what it writes down."""
