"""
Is there a peak in the voltammogram?
====================================

Resistance, and peaks with a detection limit, against white plus 1/f noise.
"""

from hyperspy_assb.simulation.series import simulate_voltammogram

cv = simulate_voltammogram(seed=2)
print(cv.resistance().summary())
peaks = cv.find_peaks(alpha=0.05)
print(peaks.summary())
peaks.plot()
