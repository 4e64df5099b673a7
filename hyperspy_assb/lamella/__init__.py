"""Every signal of one lamella in one frame."""
