"""
How wide is the interface?
==========================

The probe-corrected width of a LiFePO4 / LAGP interface, measured by EDX.
"""

from hyperspy_assb.simulation import InterfaceOptions, simulate_interface

s = simulate_interface(InterfaceOptions(width=6.0), rng=1, signal_type="EDS_TEM_ASSB").signal
profile = s.interface_profile(probe=1.5)
print(profile.summary())
profile.plot()
