"""
Which phase, which orientation?
===============================

A precession diffraction scan, indexed against LiFePO4, FePO4 and LAGP.
"""

from hyperspy_assb.simulation import micro_battery

patterns = micro_battery(shape=(24, 32), seed=6).patterns_after
r = patterns.index_orientations(["lfp", "fp", "lagp"], show_progressbar=False)
print(r.summary())
r.plot()
