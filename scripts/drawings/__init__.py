"""The drawings of the scenes' objects, as code. `scripts/make_drawings.py` renders them."""
