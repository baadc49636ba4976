"""Texts: tokenizers, nouns of captions and prompts made of them."""
