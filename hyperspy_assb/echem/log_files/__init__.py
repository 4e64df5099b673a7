"""Readers of the logs of potentiostats and of biasing holders."""
