"""
Do the grains shrink?
=====================

Drift, then grains and boundaries of an image series against time. Frames are never resampled for
the statistics.
"""

from hyperspy_assb.simulation.series import SeriesConditions, simulate_series

series, truth = simulate_series(SeriesConditions(frames=10, size=160, boundary_growth=0.4), seed=1)
drift = series.correct_drift(show_progressbar=False)
print(drift.summary())
drift.plot()

# %%
grains = series.segment_grains(drift, show_progressbar=False)
print(grains.summary())
grains.plot()
