"""Cross-sections of inner-shell edges."""
