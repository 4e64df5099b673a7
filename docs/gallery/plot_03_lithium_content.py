"""
How much lithium is left?
=========================

x of LixFePO4 in each pixel, with its uncertainty and a status, calibrated on pixels of one phase.
"""

from hyperspy_assb.simulation import micro_battery

battery = micro_battery(shape=(32, 32), seed=1, signal_type="EELS_ASSB")
truth = battery.truth.after
pure = {p: truth.pure(p) for p in ("LiFePO4", "FePO4", "LAGP", "amorphous_LAGP", "carbon", "vacuum")}

d = battery.eels_after.quantify_delithiation(pure, show_progressbar=False)
print(d.summary())
d.plot()
