"""
What dose does a question take?
===============================

The standard error of x against the number of electrons a pixel, predicted from the Fisher information of one fitted map.
"""

from hyperspy_assb.simulation import micro_battery

battery = micro_battery(shape=(24, 24), seed=1, signal_type="EELS_ASSB")
truth = battery.truth.after
pure = {p: truth.pure(p) for p in ("LiFePO4", "FePO4", "LAGP", "amorphous_LAGP", "carbon", "vacuum")}
d = battery.eels_after.quantify_delithiation(pure, show_progressbar=False)

print(f"{d.dose_to_find(0.05):.2g} electrons a pixel find 5 % of FePO4")
precision = d.predict_precision(1e6)
print(precision.summary())
precision.plot()
