"""Images with captions: in memory, on disk, streamed."""
