"""Where each frame lies."""
