"""
Where is the zero-loss peak?
============================

The zero-loss peak (ZLP) moves from pixel to pixel. Its position is estimated in each, with a
standard error, and passed to the fits: counts are never shifted.
"""

from hyperspy_assb.simulation import micro_battery

s = micro_battery(shape=(24, 24), seed=2, signal_type="EELS_ASSB").eels_before
zero_loss = s.estimate_zero_loss()
print(zero_loss.summary())
zero_loss.plot()
