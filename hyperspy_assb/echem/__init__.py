"""Voltammograms: reading logs, sweeps, current noise, resistance, peaks and what the beam changes; arrays alone."""
