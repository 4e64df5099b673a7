"""
Fit every low-loss spectrum
===========================

Zero-loss peak, plural scattering, plasmon, the 5 eV band and the edges of the elements in one
model, fitted to all pixels at once by Poisson likelihood.
"""

import hyperspy_assb
from hyperspy_assb.simulation import micro_battery

s = micro_battery(shape=(16, 16), seed=2, signal_type="EELS_ASSB").eels_after
m = s.create_low_loss_model(["Li", "Fe", "P"])
fit = m.multifit(show_progressbar=False)
print(m.fit_quality.summary())

# %%
# Residuals of all pixels, in standard deviations. What the model misses stands out as a line.
hyperspy_assb.plot_residuals(m)

# %%
# Any parameter is a map.
fit.plot("FePO4ValenceBand", "intensity")
