"""Data sets: the embedded scenes, and captioned photographs."""
