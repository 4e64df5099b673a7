"""
Where is FePO4?
===============

In a large map, a threshold of 2 or 3 standard errors finds FePO4 even where there is none. Here the
false discovery rate is controlled: at most 5 % of the detections are false.
"""

from hyperspy_assb.simulation import micro_battery

battery = micro_battery(shape=(32, 32), seed=1, signal_type="EELS_ASSB")
truth = battery.truth.after
pure = {p: truth.pure(p) for p in ("LiFePO4", "FePO4", "LAGP", "amorphous_LAGP", "carbon", "vacuum")}
d = battery.eels_after.quantify_delithiation(pure, show_progressbar=False)

found = d.find_delithiated(fdr=0.05)
print(found.summary())
found.plot()
