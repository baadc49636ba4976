"""How fast the package is on a machine, beside transformers and beside the machine's own limit."""
