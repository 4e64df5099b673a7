"""Image series and voltammograms of a lamella in operation, with their truth; no code of the analysis is used."""

from hyperspy_assb.simulation.series.image_series import SeriesConditions, SeriesTruth
from hyperspy_assb.simulation.series.signals import simulate_series, simulate_voltammogram
from hyperspy_assb.simulation.series.voltammogram import VoltammogramConditions

__all__ = [
    "SeriesConditions",
    "SeriesTruth",
    "VoltammogramConditions",
    "simulate_series",
    "simulate_voltammogram",
]
