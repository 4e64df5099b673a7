"""EELS, EDX and 4D-STEM analysis of all-solid-state batteries, as HyperSpy signal methods."""

__version__ = "0.1.0"
