"""
Two phases, or a solid solution?
================================

LiFePO4 and FePO4 side by side, or one phase with x in between? The distribution of x is compared
with both, with the errors of every pixel.
"""

from hyperspy_assb.simulation import micro_battery

battery = micro_battery(shape=(32, 32), seed=1, signal_type="EELS_ASSB")
truth = battery.truth.after
pure = {p: truth.pure(p) for p in ("LiFePO4", "FePO4", "LAGP", "amorphous_LAGP", "carbon", "vacuum")}
d = battery.eels_after.quantify_delithiation(pure, show_progressbar=False)

populations = d.fit_populations()
print(populations.summary())
populations.plot()
