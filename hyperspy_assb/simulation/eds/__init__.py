"""EDX of the virtual lamella."""
