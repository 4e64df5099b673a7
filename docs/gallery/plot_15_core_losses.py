"""
Do the core losses agree?
=========================

x of LixFePO4 from O K and Fe L2,3 on DualEELS: the pre-edge of O K and the shift of Fe L3. The low loss of each pixel
gives its thickness, energy shift and resolution.
"""

import numpy as np

from hyperspy_assb.simulation import EELSConditions, core_loss_conditions, simulate_core_loss, simulate_spectra
from hyperspy_assb.simulation.battery import spectra_to_signal

# A wedge of LiFePO4 and FePO4 with a boundary in the middle, on a bed of LAGP.
row, column = np.mgrid[:16, :24]
share, nm = np.clip((column - 8) / 8, 0, 1), 60 + 20 * np.sin(row / 3)
olivine, bed = nm * (row < 12), nm * (row >= 12)
columns = {"LiFePO4": olivine * share, "FePO4": olivine * (1 - share), "LAGP": bed}

low_conditions = EELSConditions(dispersion=0.5, n_channels=256)
core_conditions = core_loss_conditions(low_conditions)
shift = np.random.default_rng(0).normal(0, 0.4, row.shape)  # eV, of both halves
low = spectra_to_signal(simulate_spectra(columns, low_conditions, 1, zero_loss_shift=shift), low_conditions)
core = spectra_to_signal(
    simulate_core_loss(columns, core_conditions, 2, zero_loss_shift=shift),
    core_conditions,
    pixel_size=5.0,
    signal_type="EELS_ASSB",
)

pure = {"LiFePO4": (share == 1) & (olivine > 0), "FePO4": (share == 0) & (olivine > 0), "LAGP": bed > 0}
d = core.quantify_fine_structure(pure, low, show_progressbar=False)
print(d.summary())
d.plot()

# %%
# The edges of the phases, above their background:
d.plot_edges()
