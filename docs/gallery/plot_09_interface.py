"""
How wide is the interface?
==========================

The width of the olivine / LAGP interface by EDX, with the width of the probe taken out (probe-corrected width).
"""

from hyperspy_assb.simulation import micro_battery

s = micro_battery(shape=(32, 48), seed=6, edx_signal_type="EDS_TEM_ASSB").edx_after
p = s.quantify_phases(show_progressbar=False)
profile = s.interface_profile(boundary=p, phase="olivine", probe=1.0, reach=40)
print(profile.summary())
profile.plot()
