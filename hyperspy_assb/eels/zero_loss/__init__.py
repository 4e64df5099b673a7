"""The zero-loss peak: where it is, its shape, its removal."""
