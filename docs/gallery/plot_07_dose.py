"""
Which dose do I need?
=====================

The standard error of x against the number of electrons per pixel, predicted from the Fisher
information of one fitted map.
"""

import matplotlib.pyplot as plt

from hyperspy_assb.simulation import micro_battery

battery = micro_battery(shape=(32, 32), seed=1, signal_type="EELS_ASSB")
truth = battery.truth.after
pure = {p: truth.pure(p) for p in ("LiFePO4", "FePO4", "LAGP", "amorphous_LAGP", "carbon", "vacuum")}
d = battery.eels_after.quantify_delithiation(pure, show_progressbar=False)

print(f"It takes {d.dose_to_find(0.05):.2g} electrons per pixel to detect 5 % of FePO4.")
doses = [1e4, 3e4, 1e5, 3e5, 1e6, 3e6, 1e7]
table = d.predict_precision(doses)
_, ax = plt.subplots(layout="constrained")
ax.loglog(table["dose"], table["x_std"], marker="o")
ax.set_xlabel("electrons per pixel")
ax.set_ylabel("standard error of x")
