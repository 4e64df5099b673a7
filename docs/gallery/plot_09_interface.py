"""
How wide is the interface?
==========================

The width of a LiFePO4 / LAGP interface by EDX, with the width of the probe taken out (probe-
corrected width).
"""

from hyperspy_assb.simulation import InterfaceOptions, simulate_interface

s = simulate_interface(InterfaceOptions(width=6.0), rng=1, signal_type="EDS_TEM_ASSB").signal
profile = s.interface_profile(probe=1.5)
print(profile.summary())
profile.plot()
