"""
Which phases does EDX see?
==========================

Every X-ray spectrum as a column of olivine, LAGP, Li3V2(PO4)3 and carbon; pixels that no mixture
explains are marked.
"""

from hyperspy_assb.simulation import micro_battery

s = micro_battery(shape=(24, 32), seed=6, edx_signal_type="EDS_TEM_ASSB").edx_after
p = s.quantify_phases(show_progressbar=False)
print(p.summary())
p.plot()
