"""Texts: tokenizers, nouns of captions, and prompts made from them."""
